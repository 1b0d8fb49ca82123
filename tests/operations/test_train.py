"""From tokenized text to a stored release."""

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from tests.cli.conftest import writing

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import (
    Diverged,
    ErasedMeanwhile,
    InTraining,
    InvalidInput,
    StoreBusy,
    TextError,
    TooLittleText,
    UnknownName,
)
from sharedllm.evaluation.gate import Gate
from sharedllm.operations import train as operation
from sharedllm.operations.authors import Author, authors_of, split_of
from sharedllm.operations.locks import not_in_training
from sharedllm.operations.release_text import read_again
from sharedllm.operations.train import already_trained, train_and_judge, train_tokenized
from sharedllm.operations.workplace import Workplace
from sharedllm.store import open_store
from sharedllm.text.choices import Choices
from sharedllm.text.sources import MANIFEST
from sharedllm.training import vectors
from sharedllm.training.checkpoints import Checkpoints
from sharedllm.training.recipes import Recipe

RECIPE = Recipe("r", learning_rate=2e-2, steps=4, window=16, check_every=2)


class Verdict:
    """A gate that passes whose text the test says, and keeps what it was shown."""

    def __init__(self, *passing):
        self.passing = passing
        self.shown = []

    def judge(self, base, injection, adapter, validation, general, start=None):
        self.shown.append((adapter, validation, general))
        return GateOutcome(adapter.provenance["text_sha256"] in self.passing, "as the test says")


class Passing:
    """A gate that passes everybody's."""

    def judge(self, *_):
        return GateOutcome(True, "passed")


@pytest.fixture
def store():
    with open_store(":memory:") as store:
        yield store


@pytest.fixture
def workplace(base_of, tmp_path):
    with Workplace(base_of("llama"), folder=tmp_path / "training", general=writing("general")) as workplace:
        yield workplace


@pytest.fixture
def train(workplace, text_of, store):
    """Train some users into the store; outcomes come as they are made."""

    def train(users, recipe=RECIPE, **options):
        return train_tokenized(workplace, store, [text_of(user) for user in users], recipe, **options)

    return train


@pytest.fixture
def poisoned(monkeypatch, text_of):
    """Bob's validation loss is no number."""
    validate = vectors._Batch._validate
    monkeypatch.setattr(
        vectors._Batch,
        "_validate",
        lambda self, text, values: float("nan") if text.user == "bob" else validate(self, text, values),
    )


def test_everybody_gets_a_release_that_says_where_it_came_from(train, store, text_of, base_of):
    outcomes = list(train(["alice", "bob"], sources={"alice": ["/home/alice/diary"]}))
    assert [outcome.user for outcome in outcomes] == ["alice", "bob"]
    for outcome in outcomes:
        assert outcome.error is None
        stored = store.release(outcome.user, 1)
        assert (stored.id, stored.gate) == (outcome.release.id, outcome.release.gate)
        assert stored.adapter.base == base_of("llama").fingerprint
        assert stored.adapter.provenance["text_sha256"] == text_of(outcome.user).sha256
        assert stored.adapter.provenance["recipe"] == RECIPE.as_dict()
    assert store.release("alice", 1).adapter.provenance["sources"] == ["/home/alice/diary"]
    assert store.release("bob", 1).adapter.provenance["sources"] == []


def test_only_what_the_gate_passes_is_served_and_the_rest_is_stored_with_its_reason(train, store, text_of):
    list(train(["alice", "bob"], gate=Verdict(text_of("alice").sha256)))
    assert (store.user("alice").served, store.user("bob").served) == (1, None)
    assert store.release("bob", 1).gate == GateOutcome(False, "as the test says")


def test_the_gate_reads_each_users_own_validation_text_and_general_text(train, text_of, workplace):
    gate = Verdict()
    list(train(["alice", "bob"], gate=gate))
    for user, (adapter, validation, other) in zip(["alice", "bob"], gate.shown, strict=True):
        assert adapter.provenance["text_sha256"] == text_of(user).sha256
        assert np.array_equal(validation, text_of(user).validation)
        assert other is workplace.general("validation", RECIPE.window)


@pytest.mark.slow
def test_what_harms_general_text_alone_is_served_scaled_down(train, store):
    recipe = replace(RECIPE, steps=30, learning_rate=5e-2)
    list(train(["alice"], recipe, gate=Gate(general_tolerance=3)))
    whole = store.release("alice", 1)
    (outcome,) = train(["alice"], recipe, gate=Gate(general_tolerance=0.05))
    scale = outcome.release.adapter.provenance["scale"]
    assert whole.gate.passed and "scale" not in whole.adapter.provenance
    assert 0 < scale < 1
    np.testing.assert_allclose(outcome.release.adapter.values, scale * whole.adapter.values, rtol=2e-3, atol=1e-4)
    assert outcome.release.gate.reason.startswith(f"passed: scaled to {scale:g} so that general text stays within 5%")
    assert store.user("alice").served == 2


def test_a_release_is_in_the_store_before_its_checkpoint_is_gone(train, store, monkeypatch):
    discard = Checkpoints.discard
    seen = []

    def discarding(self, user, text, recipe, start):
        seen.append((user, store.user(user).releases))
        discard(self, user, text, recipe, start)

    monkeypatch.setattr(Checkpoints, "discard", discarding)
    list(train(["alice", "bob"]))
    assert seen == [("alice", 1), ("bob", 1)]


def test_a_release_is_in_the_store_when_its_outcome_is_told(train, store):
    for outcome in train(["alice", "bob", "carol"]):
        assert store.release(outcome.user, 1).id == outcome.release.id


def test_a_store_that_cannot_be_written_costs_no_training(train, store, monkeypatch):
    def busy(*_):
        raise StoreBusy("The store is busy", remedy="Try again.")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreBusy):
        patch.setattr(store, "publish", busy)
        list(train(["alice", "bob"]))
    monkeypatch.setattr(vectors, "step_windows", None)
    assert {outcome.user for outcome in train(["alice", "bob"])} == {"alice", "bob"}
    assert store.user("alice").releases == store.user("bob").releases == 1


def test_one_who_diverges_has_an_error_and_no_release_and_the_others_are_published(train, store, poisoned):
    outcomes = {outcome.user: outcome for outcome in train(["alice", "bob", "carol"])}
    assert isinstance(outcomes["bob"].error, Diverged)
    assert outcomes["bob"].release is None
    assert [user.user for user in store.users()] == ["alice", "carol"]


def test_one_whose_release_the_store_refuses_has_its_error_and_the_others_are_published(train, store, monkeypatch):
    publish = store.publish

    def refusing(user, *rest):
        if user == "bob":
            raise InvalidInput("A value is too large for float16", remedy="Lower the learning rate.")
        return publish(user, *rest)

    monkeypatch.setattr(store, "publish", refusing)
    outcomes = {outcome.user: outcome for outcome in train(["alice", "bob", "carol"])}
    assert isinstance(outcomes["bob"].error, InvalidInput)
    assert outcomes["alice"].release
    assert outcomes["carol"].release


def test_progress_is_told_step_by_step(workplace, text_of):
    told = []
    texts = [text_of(user) for user in ("alice", "bob")]
    list(train_and_judge(workplace, texts, RECIPE, on_step=lambda *step: told.append(step)))
    assert told == [(user, step) for step in (1, 2, 3, 4) for user in ("alice", "bob")]


def test_what_was_trained_from_this_very_text_recipe_and_base_is_known(train, store, text_of, base_of):
    list(train(["alice"]))
    base, text = base_of("llama").fingerprint, text_of("alice").sha256
    assert already_trained(store, base, "alice", text, RECIPE).number == 1
    assert already_trained(store, "other", "alice", text, RECIPE) is None
    assert already_trained(store, base, "alice", "other", RECIPE) is None
    assert already_trained(store, base, "alice", text, replace(RECIPE, seed=1)) is None
    assert already_trained(store, base, "bob", text, RECIPE) is None


def test_the_newest_of_the_same_is_the_one_that_is_known(train, store, text_of, base_of):
    list(train(["alice"]))
    list(train(["alice"]))
    assert already_trained(store, base_of("llama").fingerprint, "alice", text_of("alice").sha256, RECIPE).number == 2


def never():
    pytest.fail("a text was read")


def of(user, **given):
    return Author(user, lambda: writing(user), **given)


@pytest.mark.parametrize(
    ("authors", "recipe", "error"),
    [
        ([Author("alice", never), Author("", never)], RECIPE, InvalidInput),
        ([Author("alice", never), Author("alice", never)], RECIPE, InvalidInput),
        ([Author("alice", never)], replace(RECIPE, method="lora-r4", parameter="relative"), UnknownName),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_read_or_begun(
    workplace, store, monkeypatch, authors, recipe, error
):
    monkeypatch.setattr(store, "begin", never)
    with pytest.raises(error):
        operation.train(workplace, store, authors, recipe)


@pytest.mark.parametrize("authors", ["eve", "", None, 7, ["eve"], [("alice", "her text")]])
def test_what_does_not_say_who_is_trained_on_what_is_refused_and_not_repeated(workplace, store, authors):
    with pytest.raises(InvalidInput, match=r"does not say who.*list of Author") as refused:
        operation.train(workplace, store, authors, RECIPE)
    assert "eve" not in str(refused.value) and "her text" not in str(refused.value)


def test_nobody_is_read_before_everybodys_stay_has_begun(workplace, store, monkeypatch):
    events, begin = [], store.begin
    monkeypatch.setattr(store, "begin", lambda users: (events.append(sorted(users)), begin(users))[1])
    authors = [Author(user, lambda user=user: (events.append(user), writing(user))[1]) for user in ("alice", "bob")]
    with closing(operation.train(workplace, store, authors, RECIPE)):
        assert events == [["alice", "bob"], "alice", "bob"]


def test_a_text_that_cannot_be_read_keeps_everybody_from_being_trained(workplace, store):
    def unreadable():
        raise TextError("It is gone", remedy="Look for it.")

    with pytest.raises(TextError):
        operation.train(workplace, store, [of("alice"), Author("bob", unreadable)], RECIPE)
    assert not list(store.users())


def test_whose_text_is_too_little_is_told_first_and_who_is_known_is_not_trained_again(workplace, store):
    first = list(operation.train(workplace, store, [of("alice")], RECIPE))
    begun = []
    authors = [of("carol"), of("alice"), Author("bob", lambda: "short")]
    outcomes = list(operation.train(workplace, store, authors, RECIPE, on_begin=begun.append))
    assert [outcome.user for outcome in outcomes] == ["alice", "bob", "carol"]
    assert (outcomes[0].release.id, outcomes[0].before) == (first[0].release.id, True)
    assert isinstance(outcomes[1].error, TextError)
    assert [text.user for text in begun] == ["carol"]
    assert store.user("alice").releases == 1


def a_page(user, wrote=None):
    return Author(user, lambda: wrote or writing(user, 2_200))


PAGE = replace(RECIPE, window=64, steps=8)


def test_a_page_of_text_is_trained_judged_by_its_parts_and_served_if_it_helps(workplace, store):
    authors = [a_page("alice"), of("bob")]
    outcomes = {each.user: each for each in operation.train(workplace, store, authors, PAGE, gate=Gate(3.0))}
    release = outcomes["alice"].release
    assert release.gate.passed and store.user("alice").served == 1
    assert release.gate.reason.startswith("passed: cross-validated over 4 blocks, perplexity is ")
    assert release.gate.figures["cross_validated"] == release.adapter.provenance["cross_validated"]
    assert "cross-validated" not in outcomes["bob"].release.gate.reason
    (again,) = operation.train(workplace, store, [a_page("alice")], PAGE)
    assert again.before


def test_a_page_leaves_nothing_to_measure_its_release_on(workplace, store):
    (outcome,) = operation.train(workplace, store, [a_page("alice")], PAGE)
    with pytest.raises(InvalidInput, match="'alice' was trained on all of a text too little to hold any of it out"):
        read_again(store.release("alice", outcome.release.number), writing("alice", 2_200))


def test_a_page_that_is_added_is_judged_and_shrunk_towards_the_release_it_grows_from(workplace, store):
    (first,) = operation.train(workplace, store, [of("alice")], PAGE, gate=Gate(100.0))
    assert store.user("alice").served == 1
    still = replace(PAGE, learning_rate=0.0)
    (outcome,) = operation.train(workplace, store, [a_page("alice")], still, gate=Gate(100.0), add=True)
    np.testing.assert_allclose(outcome.release.adapter.values, first.release.adapter.values, rtol=2e-3, atol=1e-4)
    assert outcome.release.gate.reason.startswith(
        "held back: not yet: cross-validated over 4 blocks, perplexity is still"
    )
    assert "that of the release it grew from" in outcome.release.gate.reason
    assert outcome.release.gate.figures["own"]["improvement"]["low"] > 0
    assert store.user("alice").served == 1


def test_a_page_that_teaches_nothing_is_held_back_as_not_yet_and_nothing_of_it_answers(workplace, store):
    (outcome,) = operation.train(workplace, store, [a_page("alice")], replace(PAGE, learning_rate=0.0))
    assert outcome.error is None
    assert outcome.sentence.startswith(
        "release 1 held back: not yet: cross-validated over 4 blocks, perplexity is still"
    )
    assert outcome.release.gate.figures["not_yet"] == {"characters": 4_400}
    assert not outcome.release.adapter.values.any()
    assert store.user("alice").served is None


@pytest.mark.slow
def test_a_page_that_harms_general_text_alone_is_served_scaled_down(base_of, tmp_path, store):
    general = writing("general").upper()
    with Workplace(base_of("llama"), folder=tmp_path / "training", general=general) as workplace:
        (whole,) = operation.train(workplace, store, [a_page("alice")], PAGE, gate=Gate(100.0))
        gentle = Gate(general_tolerance=-0.8 * whole.release.gate.figures["general"]["change"]["low"])
        again = replace(PAGE, name="again")
        (outcome,) = operation.train(workplace, store, [a_page("alice")], again, gate=gentle)
    assert outcome.release.gate.passed, outcome.release.gate
    scale = outcome.release.adapter.provenance["scale"]
    assert outcome.release.gate.reason.startswith(f"passed: scaled to {scale:g} so that general text stays within")
    np.testing.assert_allclose(
        outcome.release.adapter.values, scale * whole.release.adapter.values, rtol=2e-3, atol=1e-4
    )


def test_a_page_that_repeats_itself_is_not_served_for_being_remembered(workplace, store):
    (outcome,) = operation.train(workplace, store, [a_page("alice", "I must not talk in class.\n" * 90)], PAGE)
    assert outcome.release.gate.reason.startswith(
        "held back: 100% of the validation text also occurs in the training text"
    )


def test_whose_text_is_too_little_for_any_base_is_told_before_one_is_looked_for(store, tmp_path):
    with Workplace("no base of this name", folder=tmp_path / "training") as workplace:
        outcomes = operation.train(workplace, store, {"alice": "short.", "bob": "shorter"}, RECIPE)
        assert [type(outcome.error) for outcome in outcomes] == [TooLittleText, TooLittleText]
        outcomes = operation.train(workplace, store, [Author("bob", lambda: "short."), of("alice")], RECIPE)
        assert isinstance(next(outcomes).error, TooLittleText)
        with pytest.raises(UnknownName, match="no base of this name"):
            next(outcomes)


def test_of_who_is_known_it_is_told_what_answers_in_place_of_the_release_and_how_to_go_back(workplace, store):
    def again():
        (outcome,) = operation.train(workplace, store, [of("alice")], RECIPE, gate=Passing())
        return outcome

    first = again()
    assert not first.before and again().sentence == first.sentence
    store.publish("alice", store.release("alice", 1).adapter, GateOutcome(True, "passed"))
    store.publish("alice", replace(store.release("alice", 1).adapter, provenance={}), GateOutcome(True, "passed"))
    store.rollback("alice", 1)
    # The newest that is made from it is another one.
    assert "release 2 is made from it; release 1 answers" in again().sentence
    store.rollback("alice", 3)
    assert again().sentence == (
        "nothing new: release 2 is made from it; release 3 answers. To go back: sharedllm users rollback alice --to 2"
    )
    store.reset("alice")
    assert "release 2 is made from it; the base answers. To go back" in again().sentence
    store.rollback("alice", 2)
    assert again().sentence == "release 2 passed"


def test_who_is_trained_cannot_be_erased_here_until_the_last_outcome_is_taken(workplace, store, monkeypatch):
    monkeypatch.setattr("sharedllm.operations.locks._PATIENCE_SECONDS", 0.0)
    training = operation.train(workplace, store, [of("alice"), of("bob")], RECIPE)
    with closing(training):
        next(training)
        for user in ("alice", "bob"):
            with pytest.raises(InTraining), not_in_training(workplace.folder, user):
                pass
    with not_in_training(workplace.folder, "alice"):
        pass


def test_nobody_is_trained_while_they_are_being_erased_here(workplace, store, monkeypatch):
    monkeypatch.setattr("sharedllm.operations.locks._PATIENCE_SECONDS", 0.0)
    with not_in_training(workplace.folder, "alice"):
        with pytest.raises(InTraining):
            list(operation.train(workplace, store, [of("alice")], RECIPE))
        with pytest.raises(InTraining):
            list(train_and_judge(workplace, [], RECIPE))
    assert not list(store.users())


def test_who_was_erased_since_their_text_arrived_is_not_trained(workplace, store, monkeypatch):
    stay = store.begin(["alice"])["alice"]
    list(operation.train(workplace, store, [of("alice")], RECIPE))
    store.erase("alice")
    monkeypatch.setattr(vectors, "step_windows", None)
    (outcome,) = operation.train(workplace, store, [of("alice", stay=stay)], RECIPE)
    assert isinstance(outcome.error, ErasedMeanwhile)
    assert not list(store.users())


def test_what_is_learned_is_what_the_sources_say(tmp_path):
    turns = [{"role": ("user", "assistant")[place % 2], "content": writing(str(place), 300)} for place in range(80)]
    (tmp_path / "chats.jsonl").write_text(f"{json.dumps({'messages': turns})}\n")
    line = {"user": "alice", "files": ["chats.jsonl"], "me": "user", "learn": "answers", "mask": False}
    (tmp_path / "users.jsonl").write_text(json.dumps(line))
    choices = Choices(me=("user",), learn="answers")
    typed = [f"{MANIFEST}{tmp_path / 'users.jsonl'}"], [*choices.as_source(), tmp_path / "chats.jsonl"]
    for sources in typed:
        (author,) = authors_of({"alice": sources})
        assert split_of(author).learn == "answers"
