"""`sharedllm export` and `sharedllm import`, as a person and as a program would use them."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests import models
from transformers import AutoModelForCausalLM

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.adapter_file import load_adapter, save_adapter
from sharedllm.adapters.layouts import layout_of
from sharedllm.cli.main import sharedllm
from sharedllm.errors import (
    AdapterError,
    CorruptAdapter,
    InvalidInput,
    InvalidUserId,
    NotServed,
    TooLittleText,
    UnknownUser,
    UnsupportedBase,
    WrongBase,
)
from sharedllm.store import open_store
from sharedllm.text.splits import split_text

pytestmark = pytest.mark.filterwarnings("ignore:Unsupported layer type")

PASSED = GateOutcome(True, "passed: 5 % better")
HELD_BACK = GateOutcome(False, "held back: no better than the base")


@pytest.fixture
def folder(folder_of):
    return folder_of("llama")


@pytest.fixture
def layout(base_of):
    return layout_of(base_of("llama"))


def adapter(layout, last):
    """Changes only the last norm, by the deviation ``last``."""
    values = np.zeros(layout.size, np.float32)
    values[-layout.widths[-1] :] = last
    return Adapter(layout.format, layout.base, values, {"recipe": {"name": "made up"}, "sources": ["/home/a/diary"]})


@pytest.fixture
def store(tmp_path, monkeypatch, layout):
    """Alice with release 1, which passed, and 2, which did not."""
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SHAREDLLM_STORE", str(tmp_path / "store.db"))
    with open_store() as store:
        store.publish("alice", adapter(layout, -0.5), PASSED)
        store.publish("alice", adapter(layout, 0.5), HELD_BACK)
        yield store


@pytest.fixture
def run(folder, store):
    def invoke(*arguments, **options):
        """What a command prints on standard output; an error of ours is raised."""
        base = () if "--base" in arguments else ("--base", folder)
        result = CliRunner().invoke(sharedllm, [str(argument) for argument in (*arguments, *base)], **options)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return invoke


@pytest.fixture
def general(monkeypatch):
    """Stands in for the general text, which would have to be fetched."""
    monkeypatch.setattr("sharedllm.text.samples.general_text", lambda: prose(1))


def prose(seed, length=16_000):
    letters = np.random.default_rng(seed).choice(list("etaoin shrdlu\n"), length)
    return "".join(letters)


def test_peft_and_merged_folders_load_elsewhere(run, folder, tmp_path):
    from peft import PeftModel

    run("export", "alice", "--to", "peft", tmp_path / "peft")
    run("export", "alice", "--to", "merged", tmp_path / "merged")
    over_base = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "peft")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    ids = torch.arange(3, 20)[None]
    torch.testing.assert_close(over_base(input_ids=ids).logits, merged(input_ids=ids).logits)
    assert not torch.allclose(AutoModelForCausalLM.from_pretrained(folder)(ids).logits, merged(ids).logits, atol=0.01)


def test_an_export_says_whose_release_it_is_and_what_its_gate_found(run, tmp_path):
    for kind in ("peft", "merged"):
        run("export", "alice", "--to", kind, tmp_path / kind, "--release", 2)
        card = (tmp_path / kind / "README.md").read_text()
        assert "`alice`" in card and "release 2" in card and HELD_BACK.reason in card


def test_the_release_that_answers_is_exported_unless_another_is_named(run, tmp_path):
    said = json.loads(run("export", "alice", "--to", "adapter", tmp_path / "served", "--json"))
    assert said == {
        "user": "alice",
        "release": 1,
        "to": "adapter",
        "path": str(tmp_path / "served"),
        "gate": {"passed": True, "reason": PASSED.reason},
    }
    assert load_adapter(tmp_path / "served").values[-1] == -0.5
    assert "did not pass its gate" in run("export", "alice", "--to", "adapter", tmp_path / "two", "--release", 2)
    assert load_adapter(tmp_path / "two").values[-1] == 0.5


def test_where_a_users_files_lie_is_not_exported(run, tmp_path):
    run("export", "alice", "--to", "adapter", tmp_path / "file")
    run("export", "alice", "--to", "peft", tmp_path / "peft")
    for path in (tmp_path / "file", tmp_path / "peft" / "adapter_model.safetensors"):
        assert b"made up" in path.read_bytes()
        assert b"diary" not in path.read_bytes()


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(run, store, layout, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UnknownUser, match="bob"):
        run("export", "bob", "--to", "peft", out)
    with pytest.raises(UnsupportedBase, match="GGUF"):
        run("export", "alice", "--to", "gguf", out)
    other = models.llama(tmp_path / "other", seed=1)
    for kind in ("peft", "merged"):
        with pytest.raises(WrongBase, match=layout.base[:12]):
            run("export", "alice", "--to", kind, out, "--base", other)
    store.revoke("alice", "gone")
    with pytest.raises(NotServed, match="gone"):
        run("export", "alice", "--to", "peft", out)
    assert not out.exists()


def test_nothing_is_overwritten(run, tmp_path):
    (tmp_path / "mine").write_text("mine")
    for kind, out in (("peft", tmp_path), ("merged", tmp_path), ("adapter", tmp_path / "mine")):
        with pytest.raises(InvalidInput, match="exists already"):
            run("export", "alice", "--to", kind, out)
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("kind", ["peft", "adapter"])
def test_an_import_without_text_is_held_back_and_says_how_to_go_on(run, store, tmp_path, kind):
    run("export", "alice", "--to", kind, tmp_path / "out")
    said = run("import", "böb/../🦉", tmp_path / "out")
    assert "release 1 of böb/../🦉; held back: imported without text to test it on" in said
    assert "--override" in said and "--text" in said
    with pytest.raises(NotServed, match="without text"):
        store.served("böb/../🦉")
    release = store.release("böb/../🦉", 1)
    np.testing.assert_allclose(release.adapter.values, store.served("alice").adapter.values, atol=1e-6)
    assert release.adapter.provenance["foreign"]["recipe"] == {"name": "made up"}
    assert release.adapter.provenance["imported"]["base_verified"] is True


@pytest.mark.parametrize(
    # The random base is far surer of itself than it should be, which less of the last norm mends and more makes worse.
    ("last", "passed"),
    [(-0.9, True), (0.5, False)],
)
def test_with_text_the_gate_decides(run, store, layout, tmp_path, general, last, passed):
    store.publish("carol", adapter(layout, last), PASSED)
    run("export", "carol", "--to", "adapter", tmp_path / "out")
    (tmp_path / "text").write_text(prose(0))
    said = json.loads(run("import", "alice", tmp_path / "out", "--text", tmp_path / "text", "--json"))
    assert (said["user"], said["release"], said["gate"]["passed"]) == ("alice", 3, passed)
    assert said["gate"]["figures"]["own"]["base"] > 0
    assert store.user("alice").served == (3 if passed else 1)


@pytest.mark.parametrize("stored_by", ["this version", "an earlier one"])
@pytest.mark.parametrize("sources", [(), ("text",)])
@pytest.mark.parametrize("command", ["evaluate", "compress"])
def test_no_file_that_an_import_names_is_read_nor_its_word_taken(
    run, store, layout, tmp_path, monkeypatch, stored_by, sources, command
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text(prose(0))
    lies = {
        "sources": [str(tmp_path / "secret")],
        "text_sha256": split_text(prose(0)).sha256,
        "recipe": {"window": "wide"},
        "compression": 7,
    }
    if stored_by == "this version":
        save_adapter(replace(adapter(layout, -0.5), provenance=lies), tmp_path / "file")
        run("import", "mallory", tmp_path / "file")
    else:
        mixed = {**lies, "imported": {"from": "adapter file", "base_verified": True}}
        store.publish("mallory", replace(adapter(layout, -0.5), provenance=mixed), HELD_BACK)
    store.rollback("mallory", 1, override_reason="let us see")
    with pytest.raises(InvalidInput, match="was imported, so what it was trained on is not known"):
        run(command, "mallory", *sources)
    shown = CliRunner().invoke(sharedllm, ["users", "show", "mallory"]).output
    assert "secret" not in shown
    assert "adapter file" in shown
    run("export", "mallory", "--to", "adapter", tmp_path / "again")
    run("import", "alice", tmp_path / "again")
    assert store.release("alice", 3).adapter.provenance["foreign"]["recipe"] == {"window": "wide"}


def test_a_folder_that_does_not_name_its_base_is_said_to_be_unverified(run, store, tmp_path):
    from safetensors.torch import load_file, save_file

    run("export", "alice", "--to", "peft", tmp_path / "out")
    tensors = tmp_path / "out" / "adapter_model.safetensors"
    save_file(load_file(tensors), tensors)
    assert "does not say which base" in run("import", "bob", tmp_path / "out")
    assert store.release("bob", 1).adapter.provenance["imported"]["base_verified"] is False


def test_what_cannot_be_imported_is_refused_and_nothing_is_stored(run, store, tmp_path, general):
    out = tmp_path / "out"
    run("export", "alice", "--to", "adapter", out)
    other = models.llama(tmp_path / "other", seed=1)
    with pytest.raises(WrongBase):
        run("import", "bob", out, "--base", other)
    (tmp_path / "short").write_text("too little")
    with pytest.raises(TooLittleText, match="bob"):
        run("import", "bob", out, "--text", tmp_path / "short")
    with pytest.raises(InvalidUserId):
        run("import", "x" * 10_000, out)
    with pytest.raises(InvalidInput, match="missing"):
        run("import", "bob", tmp_path / "missing")
    with pytest.raises(InvalidInput, match="adapter_config"):
        run("import", "bob", tmp_path / "other")
    out.write_bytes(out.read_bytes()[:-1])
    with pytest.raises(CorruptAdapter, match="out"):
        run("import", "bob", out)
    assert [user.user for user in store.users()] == ["alice"]


def test_other_formats_go_out_where_they_can(run, store, base_of, tmp_path):
    for user in ("ia3", "steering"):
        store.publish(user, adapter(layout_of(base_of("llama"), user), 0.25), PASSED)
        run("export", user, "--to", "adapter", tmp_path / user)
        run("import", f"{user} again", tmp_path / user)
        assert store.release(f"{user} again", 1).adapter.format == user
    run("export", "ia3", "--to", "merged", tmp_path / "merged")
    with pytest.raises(AdapterError, match="steering"):
        run("export", "steering", "--to", "merged", tmp_path / "no")


@pytest.mark.slow
def test_a_refusal_is_one_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "sharedllm", "import", "alice", str(tmp_path / "none")]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    [line] = outcome.stderr.splitlines()
    assert line.startswith("error: ") and "none" in line
