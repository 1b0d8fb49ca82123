"""A base with a prior is made of people who agreed to it, measured on people outside it, and found by its name."""

import hashlib
import json
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.cli.conftest import writing

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.base.frames import PRIOR, read_frames
from sharedllm.base.loading import load_base
from sharedllm.base.made import made_bases
from sharedllm.base.resolve import resolve_base
from sharedllm.errors import (
    BaseError,
    Diverged,
    InTraining,
    InvalidInput,
    ManifestError,
    MissingExtra,
    TrainingError,
    UnknownName,
    UnknownUser,
)
from sharedllm.evaluation.perplexity import base_losses, spread
from sharedllm.operations.adapt import adapt
from sharedllm.operations.erase import erase
from sharedllm.operations.priors import training_folder
from sharedllm.operations.workplace import Workplace
from sharedllm.store import open_store
from sharedllm.text.windows import text_windows
from sharedllm.training.prior import PriorRecipe
from sharedllm.training.private import privacy_spent

RECIPE = PriorRecipe(rank=2, steps=6, people=3, window=32, warmup=1, learning_rate=1e-2)


def is_outside(user):
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:8], "big") % 10 == 0


NAMES = [f"user-{number}" for number in range(40)]
OUTSIDE = [user for user in NAMES if is_outside(user)][:2]
USERS = sorted([*[user for user in NAMES if not is_outside(user)][:4], *OUTSIDE])
INSIDE = [user for user in USERS if user not in OUTSIDE]


def line(user, text=None, **more):
    return {"user": user, "text": text or f"what {user} says. {writing(user, 600)}", "shared": True, **more}


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


@pytest.fixture
def manifest(tmp_path):
    def manifest(*lines):
        path = tmp_path / "people.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        return path

    return manifest


@pytest.fixture
def people(manifest):
    return manifest(*map(line, USERS))


@pytest.fixture
def place(base_of, tmp_path):
    with Workplace(base_of("llama"), folder=tmp_path / "training", general=writing("general")) as workplace:
        yield workplace


@pytest.fixture
def store_with():
    """A store in which somebody has a release."""
    with ExitStack() as stack:

        def store_with(user):
            store = stack.enter_context(open_store(":memory:"))
            store.publish(user, Adapter("norm", "base-1", np.ones(4, np.float32)), GateOutcome(True, "passed"))
            return store

        yield store_with


def kept(folder):
    """Files that are kept of a training; empty locks are not."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_new_base_is_found_by_its_name_and_says_who_is_in_it(place, people):
    made = adapt(place, people, "ours", RECIPE)
    assert resolve_base("ours") == made.folder == made_bases()["ours"]
    about = json.loads((made.folder / PRIOR).read_text())
    assert about == made.about
    assert [each["user"] for each in about["contributors"]] == INSIDE
    text = line(INSIDE[0])["text"]
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    assert about["contributors"][0] == {"user": INSIDE[0], "text_sha256": sha256, "characters": len(text)}
    assert (about["name"], about["bare"]) == ("ours", place.fingerprint)
    assert (about["recipe"]["rank"], about["recipe"]["steps"]) == (2, 6)
    assert about["seconds"] > 0
    base = load_base("ours", dtype=torch.float32, device="cpu")
    assert base.fingerprint != place.fingerprint
    assert all(frame.into.shape[0] == 2 for frame in read_frames(made.folder / "frames.safetensors").values())
    assert not kept(place.folder)


@pytest.mark.slow
def test_what_it_gains_is_measured_on_people_outside_it_each_of_whom_counts_alike(place, people):
    figures = adapt(place, people, "ours", RECIPE).about["figures"]
    prior = load_base("ours", dtype=torch.float32, device="cpu")
    windows = [spread(text_windows(line(user)["text"], place.base.encode, 32), 16) for user in OUTSIDE]
    before, after = ([base_losses(base, each).nats_per_token for each in windows] for base in (place.base, prior))
    outside = figures["outside"]
    assert outside["count"] == len(OUTSIDE)
    assert outside["base_perplexity"] == pytest.approx(np.exp(np.mean(before)))
    assert outside["prior_perplexity"] == pytest.approx(np.exp(np.mean(after)))
    gain = 1 - np.exp(np.mean(np.array(after) - before))
    assert outside["improvement"]["estimate"] == pytest.approx(gain)
    assert outside["improvement"]["windows"] == len(OUTSIDE)
    assert figures["general"]["improvement"]["low"] <= figures["general"]["improvement"]["high"]


def test_without_anybody_outside_it_says_that_nothing_was_measured(place, manifest):
    assert adapt(place, manifest(*map(line, INSIDE)), "ours", RECIPE).about["figures"]["outside"] is None


def test_who_wrote_less_than_a_window_is_left_out_and_it_is_said(place, manifest):
    made = adapt(place, manifest(*map(line, USERS), line("terse", "a few words")), "ours", RECIPE)
    assert list(made.left_out) == ["terse"]
    assert "11 tokens" in made.left_out["terse"]
    assert "terse" not in [each["user"] for each in made.about["contributors"]]


@contextmanager
def stopping(step):
    """A workplace's bar that interrupts the training once so many steps are taken."""
    taken = 0

    @contextmanager
    def bar(what, total):
        def advance(amount):
            nonlocal taken
            taken += amount if "training" in what else 0
            if taken == step:
                raise KeyboardInterrupt

        yield advance

    yield bar


@pytest.mark.slow
def test_an_interrupted_one_goes_on_to_the_same_base(base_of, place, people, tmp_path):
    whole = adapt(place, people, "whole", RECIPE)
    with stopping(4) as bar:
        place.bar = bar
        with pytest.raises(KeyboardInterrupt):
            adapt(place, people, "ours", RECIPE)
    assert list(made_bases()) == ["whole"]
    steps = []

    @contextmanager
    def counting(what, total):
        yield lambda amount: steps.append(amount) if "training" in what else None

    place.bar = counting
    made = adapt(place, people, "ours", RECIPE)
    assert steps == [5, 1]
    assert load_base(str(made.folder)).fingerprint == load_base(str(whole.folder)).fingerprint
    assert not kept(place.folder)


def test_what_a_call_killed_at_its_very_end_left_of_its_training_goes_when_it_is_called_again(
    place, people, monkeypatch
):
    def drop(folder, **_):
        if made_bases():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sharedllm.operations.adapt.shutil.rmtree", drop)
        adapt(place, people, "ours", RECIPE)
    assert list(made_bases()) == ["ours"]
    assert kept(training_folder(place.folder, "ours"))
    with pytest.raises(InvalidInput, match="'ours' already"):
        adapt(place, people, "ours", RECIPE)
    assert not kept(place.folder)


def test_no_text_is_written_anywhere_but_the_manifest(place, people, tmp_path):
    with stopping(4) as bar:
        place.bar = bar
        with pytest.raises(KeyboardInterrupt):
            adapt(place, people, "ours", RECIPE)
    assert kept(training_folder(place.folder, "ours"))
    words = [line(user)["text"][20:60].encode() for user in USERS]
    found = [path for path in kept(tmp_path) if any(each in path.read_bytes() for each in words)]
    assert found == [people]


def test_somebody_who_did_not_agree_is_named_by_line_before_any_work(place, manifest, data):
    for refused in ({"shared": False}, {"shared": None}):
        lines = [line(user) for user in USERS]
        lines[2] |= refused
        with pytest.raises(ManifestError, match=r"Line 3 .*" + USERS[2]):
            adapt(place, manifest(*lines), "ours", RECIPE)
    del lines[2]["shared"]
    with pytest.raises(ManifestError, match="agreed") as refusal:
        adapt(place, manifest(*lines), "ours", RECIPE)
    assert '"shared": true' in refusal.value.remedy
    assert not made_bases()
    assert not place.folder.exists()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line("user-1")], "in common"),
        ([line("user-1"), line("user-2", "a few words")], "in common"),
        ([line("user-1"), line("user-2"), line("user-1", "again")], "Lines 1 and 3"),
    ],
)
def test_a_manifest_that_no_prior_can_be_made_of_leaves_nothing(place, manifest, lines, said):
    with pytest.raises(InvalidInput, match=said):
        adapt(place, manifest(*lines), "ours", RECIPE)
    assert not made_bases()
    assert not kept(place.folder)


def test_a_base_that_has_a_prior_is_refused(base_of, people, tmp_path):
    with Workplace(base_of("adapted"), folder=tmp_path / "training", general=writing("general")) as place:
        with pytest.raises(BaseError, match="has a prior already"):
            adapt(place, people, "ours", RECIPE)
        assert not place.folder.exists()


@pytest.mark.parametrize("name", ["smollm2-135m", "../ours", "", ".ours", "owner/model", "ours.gguf", "a" * 65])
def test_a_name_that_is_taken_or_none_is_refused(place, people, name):
    with pytest.raises(InvalidInput, match="name"):
        adapt(place, people, name, RECIPE)
    assert not place.folder.exists()


def test_a_name_is_not_given_twice(place, people):
    made = adapt(place, people, "ours", RECIPE)
    before = (made.folder / PRIOR).read_bytes()
    with pytest.raises(InvalidInput, match="'ours' already"):
        adapt(place, people, "ours", PriorRecipe(rank=2, steps=2, window=32))
    assert (made.folder / PRIOR).read_bytes() == before


def test_a_training_that_diverges_leaves_no_base(place, people):
    with pytest.raises(Diverged):
        adapt(place, people, "ours", PriorRecipe(rank=2, steps=60, window=32, warmup=0, learning_rate=1e12))
    assert not made_bases()


def test_one_process_makes_a_prior_at_a_time(place, people):
    def another(what, total):
        place.bar = quiet
        if what == "training the prior":
            with pytest.raises(TrainingError, match="Another process"):
                adapt(place, people, "ours", RECIPE)
        place.bar = another
        return quiet(what, total)

    quiet, place.bar = place.bar, another
    adapt(place, people, "ours", RECIPE)


@pytest.mark.slow
def test_nobody_is_erased_while_a_prior_is_made(place, people):
    @contextmanager
    def erasing(what, total):
        with open_store(":memory:") as store, pytest.raises(InTraining, match="under way"):
            erase(store, INSIDE[0], folder=place.folder)
        yield lambda amount: None

    place.bar = erasing
    adapt(place, people, "ours", RECIPE)


@pytest.mark.slow
def test_erasing_a_contributor_marks_the_prior_which_is_then_made_anew_without_them(place, people, manifest):
    made, gone = adapt(place, people, "ours", RECIPE), INSIDE[1]
    with open_store(":memory:") as store:
        receipt = erase(store, gone, folder=place.folder)
        assert [(each.what, each.where) for each in receipt.derived] == [("prior", "ours")]
        assert receipt.derived[0].outcome.startswith("to be rebuilt")
        assert receipt.counts["contributions to priors"] == 1
        again = erase(store, gone, folder=place.folder)
        assert again.as_dict() == receipt.as_dict()
        # Another contributor's erasure lists it as well.
        assert [each.where for each in erase(store, INSIDE[0], folder=place.folder).derived] == ["ours"]
    about = json.loads((made.folder / PRIOR).read_text())
    assert about["to_be_rebuilt"] is True
    assert gone not in (made.folder / PRIOR).read_text()
    assert load_base("ours").fingerprint
    left = [user for user in USERS if user not in (gone, INSIDE[0])]
    anew = adapt(place, manifest(*map(line, left)), "ours", RECIPE)
    assert [each["user"] for each in anew.about["contributors"]] == [user for user in left if user not in OUTSIDE]
    assert "to_be_rebuilt" not in anew.about
    assert not kept(place.folder)


def test_an_unfinished_prior_is_dropped_with_a_contributor_and_stays_when_another_goes(place, people):
    with stopping(4) as bar:
        place.bar = bar
        with pytest.raises(KeyboardInterrupt):
            adapt(place, people, "ours", RECIPE)
    training = training_folder(place.folder, "ours")
    with open_store(":memory:") as store:
        with pytest.raises(UnknownUser):
            erase(store, "somebody else", folder=place.folder)
        assert kept(training)
        receipt = erase(store, INSIDE[0], folder=place.folder)
    assert [(each.what, each.outcome) for each in receipt.derived] == [("unfinished prior", "dropped")]
    assert not training.exists()


@pytest.mark.slow
def test_a_prior_whose_contributors_cannot_be_listed_is_said_to_be_left_in_the_receipt(place, people, store_with):
    made = adapt(place, people, "ours", RECIPE)
    (made.folder / PRIOR).write_text("{}")
    with pytest.raises(BaseError, match="names no contributors"):
        adapt(place, people, "ours", RECIPE)
    (derived,) = erase(store_with("alice"), "alice", folder=place.folder).derived
    assert derived.outcome.startswith("still to do: ")


@pytest.mark.slow
def test_an_unfinished_prior_of_other_texts_is_begun_again(place, people, manifest):
    with stopping(4) as bar:
        place.bar = bar
        with pytest.raises(KeyboardInterrupt):
            adapt(place, people, "ours", RECIPE)
    changed = manifest(*(line(user, f"now {user} says {writing(user + '!', 500)}") for user in USERS))
    place.bar = Workplace("unused").bar
    made = adapt(place, changed, "ours", RECIPE)
    anew = adapt(place, changed, "anew", RECIPE)
    assert load_base(str(made.folder)).fingerprint == load_base(str(anew.folder)).fingerprint


def test_an_unknown_base_is_named_with_those_made_here(place, people):
    adapt(place, people, "ours", RECIPE)
    with pytest.raises(UnknownName, match="ours"):
        resolve_base("theirs")


@pytest.mark.slow
def test_a_private_prior_says_its_epsilon_and_what_the_noise_costs(place, people):
    pytest.importorskip("opacus")
    plain = adapt(place, people, "plain", RECIPE)
    made = adapt(place, people, "ours", replace(RECIPE, noise=1.0))
    privacy = made.about["privacy"]
    spent = privacy_spent(1.0, RECIPE.rate(len(INSIDE)), RECIPE.steps, len(INSIDE))
    assert (privacy["epsilon"], privacy["delta"]) == (spent.epsilon, spent.delta)
    assert made.about["recipe"]["noise"] == 1.0
    assert privacy["figures_without_noise"] == plain.about["figures"]
    assert made.about["figures"] != plain.about["figures"]
    assert "privacy" not in plain.about
    assert not kept(place.folder)


def test_a_private_prior_without_what_accounts_for_it_is_refused_before_any_work(place, people, monkeypatch):
    monkeypatch.setattr("sharedllm.extras._is_there", lambda module: False)
    with pytest.raises(MissingExtra, match="Differential privacy"):
        adapt(place, people, "ours", replace(RECIPE, noise=1.0))
    assert not place.folder.exists()


def test_a_text_that_changes_meanwhile_is_named_and_nothing_is_made(place, people):
    @contextmanager
    def changing(what, total):
        if what == "training the prior":
            people.write_text(people.read_text().replace("says", "SAYS"))
        yield lambda amount: None

    place.bar = changing
    with pytest.raises(ManifestError, match="has changed"):
        adapt(place, people, "ours", RECIPE)
    assert not made_bases()
