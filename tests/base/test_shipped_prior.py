"""The prior that comes with this package: what is in it, who is in it, and that it is the same base everywhere."""

import hashlib
import json
from pathlib import Path

import pytest

from sharedllm.base import resolve
from sharedllm.base.frames import read_frames
from sharedllm.base.resolve import BUILT_IN, SHIPPED_PRIORS, ShippedPrior, resolve_base
from sharedllm.errors import BaseError
from sharedllm.text.public_people import sources
from sharedllm.text.samples import SAMPLES

FOLDER = Path(resolve.__file__).parent


def contributors(name):
    about = json.loads((FOLDER / SHIPPED_PRIORS[name].frames).with_suffix(".json").read_text())
    return {each["user"]: each["text_sha256"] for each in about["contributors"]}


def listed(role):
    return {
        f"{source.kind}/{person.name}": person.sha256
        for source in sources()
        for person in source.people
        if person.role == role
    }


@pytest.mark.parametrize("name", SHIPPED_PRIORS)
def test_its_frames_are_the_pinned_ones_and_a_few_megabytes(name):
    path = FOLDER / SHIPPED_PRIORS[name].frames
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHIPPED_PRIORS[name].sha256
    assert path.stat().st_size < 8_000_000
    assert {len(frame.into) for frame in read_frames(path).values()} == {16}


@pytest.mark.parametrize("name", SHIPPED_PRIORS)
def test_whoever_is_in_it_is_listed_with_their_text(name):
    inside = contributors(name)
    assert len(inside) >= 400
    assert inside.items() <= listed("prior").items()


@pytest.mark.parametrize("name", SHIPPED_PRIORS)
def test_nobody_whose_text_is_in_a_figure_is_in_it(name):
    inside, outside = contributors(name), listed("figures")
    assert not inside.keys() & outside.keys()
    assert not set(inside.values()) & {*outside.values(), *(sample.sha256 for sample in SAMPLES.values())}
    assert len({user.partition("/")[0] for user in outside} - {user.partition("/")[0] for user in inside}) >= 2


@pytest.fixture
def shipped(monkeypatch, tmp_path, folder_of):
    """A small built-in base with the frames of another small one."""
    adapted = folder_of("adapted")
    frames = tmp_path / "small.safetensors"
    frames.write_bytes((adapted / "frames.safetensors").read_bytes())
    frames.with_suffix(".json").write_text((adapted / "prior.json").read_text())
    prior = ShippedPrior("small", str(frames), hashlib.sha256(frames.read_bytes()).hexdigest())
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(BUILT_IN, "small", BUILT_IN[resolve.BARE_BASE])
    monkeypatch.setitem(SHIPPED_PRIORS, "small-people", prior)
    bare, plainly = adapted.parent / "bare", resolve.resolve_base
    monkeypatch.setattr(resolve, "resolve_base", lambda name: bare if name == "small" else plainly(name))
    return adapted, frames


def test_it_is_folded_into_the_bare_base_once(shipped):
    adapted, _ = shipped
    folder = resolve_base("small-people")
    assert resolve.fingerprint(folder) == resolve.fingerprint(adapted)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve_base("small-people") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_a_folder_that_was_changed_is_made_again(shipped):
    folder = resolve_base("small-people")
    (folder / "config.json").write_text("{}")
    assert resolve.fingerprint(resolve_base("small-people")) == resolve.fingerprint(shipped[0])


def test_frames_that_are_not_the_pinned_ones_are_refused(shipped):
    shipped[1].write_bytes(shipped[1].read_bytes() + b"\0")
    with pytest.raises(BaseError, match=r"small\.safetensors"):
        resolve_base("small-people")
