"""New text is added to the release that answers, of whose own text nothing is there any more."""

import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from tests.cli.conftest import writing

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import ErasedMeanwhile, InvalidInput, NotServed, ResetToBase, UnknownUser, WrongBase
from sharedllm.operations.authors import Author
from sharedllm.operations.erase import erase
from sharedllm.operations.grow import KEPT_HASHES, begun_from, gain_behind, texts_behind, tokens_behind, with_origin
from sharedllm.operations.known import already_trained
from sharedllm.operations.train import train
from sharedllm.store.contract import Release
from sharedllm.training.recipes import Recipe

RECIPE = Recipe("r", learning_rate=2e-2, steps=6, window=64, check_every=3)
OTHER = replace(RECIPE, seed=1)


class Passing:
    """A gate that passes everybody's, or says no, and keeps what each one grew from."""

    def __init__(self, passes=True):
        self.passes, self.starts = passes, []

    def judge(self, base, injection, adapter, validation, general, start=None):
        self.starts.append(start)
        return GateOutcome(self.passes, "as the test says")


@pytest.fixture
def store(people):
    return people.store


@pytest.fixture
def add(people):
    """Add text to somebody's release; what became of it."""

    def add(text, user="alice", recipe=RECIPE, gate=None, **options):
        gate = gate or Passing()
        (outcome,) = train(people.workplace, people.store, {user: text}, recipe, add=True, gate=gate, **options)
        return outcome

    return add


@pytest.fixture
def alice(people):
    """Alice's first release, of whose text nothing is left."""
    (outcome,) = train(people.workplace, people.store, {"alice": writing("alice")}, RECIPE, gate=Passing())
    return outcome.release


def tries(of, words):
    """Text of somebody's hand, another each time."""
    return writing(f"{of} {words}")


# What is grown


def test_training_goes_on_from_the_row_that_answers(alice, add, people, store):
    still = replace(RECIPE, steps=1, learning_rate=0.0, check_every=0)
    added = add(tries("alice", "later"), recipe=still).release
    assert np.array_equal(store.release("alice", added.number).adapter.values, alice.adapter.values)
    assert store.user("alice").served == added.number == 2


def test_a_release_says_what_it_grew_from(alice, add):
    second = add(tries("alice", "second")).release
    third = add(tries("alice", "third")).release
    texts = [each.adapter.provenance["text_sha256"] for each in (alice, second, third)]
    tokens = [each.adapter.provenance["tokens"] for each in (alice, second, third)]
    assert "grew_from" not in alice.adapter.provenance
    assert second.adapter.provenance["grew_from"] == {
        "release": 1,
        "id": alice.id,
        "texts": texts[:1],
        "tokens": tokens[0],
    }
    assert third.adapter.provenance["grew_from"] == {
        "release": 2,
        "id": second.id,
        "texts": texts[:2],
        "tokens": sum(tokens[:2]),
    }
    assert texts_behind(third) == texts
    assert tokens_behind(third) == sum(tokens)


def test_the_gate_is_shown_what_it_grew_from(alice, add):
    gate = Passing()
    add(tries("alice", "second"), gate=gate)
    assert [start.adapter.provenance for start in gate.starts] == [alice.adapter.provenance]


def gated(release, figures, tokens=100, origin=None):
    provenance = {"tokens": tokens, **({"grew_from": origin} if origin else {})}
    adapter = replace(release.adapter, provenance=provenance)
    return replace(release, adapter=adapter, gate=GateOutcome(True, "passed", figures))


def test_what_a_release_had_gained_is_what_is_left_of_its_text(alice):
    own = {"base": 20.0, "adapter": 10.0}
    assert gain_behind(gated(alice, {"own": own})) == pytest.approx(math.log(2))
    assert gain_behind(gated(alice, {})) is None
    # The text before is read 20 % better than when it had gained 0.5 nats, and there is three times as much of it.
    old = {"old_gain": 0.5, "old_change": {"estimate": 0.2}}
    grown = gated(alice, {"own": own, "grown": old}, origin={"tokens": 300})
    assert gain_behind(grown) == pytest.approx((math.log(2) + 3 * (0.5 - math.log(0.8))) / 4)
    for untold in ({"own": own, "grown": {"old_gain": None, "old_change": None}}, {"own": own}):
        assert gain_behind(gated(alice, untold, origin={"tokens": 300})) == pytest.approx(math.log(2))


def test_the_gate_is_told_what_the_release_before_had_gained(people, add):
    (first,) = people.train("alice")
    people.store.rollback("alice", 1, override_reason="for the test")
    gate = Passing()
    add(tries("alice", "second"), gate=gate)
    assert [start.gain for start in gate.starts] == [gain_behind(first.release)]


def test_nothing_of_the_old_text_is_read(people, add):
    (first,) = people.train("alice")
    people.file("alice").unlink()
    people.store.rollback("alice", first.release.number, override_reason="for the test")
    assert add(tries("alice", "second")).release.adapter.provenance["grew_from"]["release"] == 1


def test_what_does_not_improve_on_the_release_before_is_held_back(alice, add, store):
    assert not add(tries("alice", "second"), gate=Passing(False)).release.gate.passed
    assert store.user("alice").served == 1


def test_hashes_of_texts_long_ago_are_dropped(alice):
    release = alice
    for week in range(KEPT_HASHES + 3):
        provenance = with_origin({"text_sha256": f"{week:064}", "tokens": 10}, release)
        release = Release(f"{week}", "alice", week + 2, replace(alice.adapter, provenance=provenance), alice.gate, None)
    assert len(release.adapter.provenance["grew_from"]["texts"]) == KEPT_HASHES
    assert tokens_behind(release) == alice.adapter.provenance["tokens"] + 10 * (KEPT_HASHES + 3)


def test_of_a_release_that_came_as_a_file_neither_texts_nor_tokens_are_known(alice):
    imported = replace(alice.adapter, provenance={"imported": {}, "foreign": {"text_sha256": "a", "tokens": 5}})
    release = replace(alice, adapter=imported)
    assert (texts_behind(release), tokens_behind(release)) == ([], None)


# What is known


def test_the_same_text_is_not_added_twice(alice, add, store):
    second = add(tries("alice", "second")).release
    for recipe in (RECIPE, OTHER):
        again = add(tries("alice", "second"), recipe=recipe)
        assert (again.before, again.release.number, again.instead) == (True, second.number, "")
    add(tries("alice", "third"))
    for text in (writing("alice"), tries("alice", "second")):
        again = add(text)
        assert (again.before, again.release.number) == (True, 3)
    assert store.user("alice").releases == 3


def test_what_was_held_back_is_not_tried_again_from_the_same_release(alice, add, store):
    held = add(tries("alice", "second"), gate=Passing(False)).release
    again = add(tries("alice", "second"))
    assert (again.before, again.release.number) == (True, held.number)
    assert not add(tries("alice", "second"), recipe=OTHER, gate=Passing(False)).before
    add(tries("alice", "third"))
    assert not add(tries("alice", "second")).before
    assert store.user("alice").served == 5


def test_what_was_rolled_back_is_known_and_does_not_come_back_by_itself(alice, add, store):
    add(tries("alice", "second"))
    store.rollback("alice", 1)
    again = add(tries("alice", "second"))
    assert (again.before, again.release.number, again.instead) == (True, 2, "release 1")


def test_a_text_alone_is_not_a_text_that_was_added(alice, add, people, store):
    added = add(tries("alice", "second")).release
    text, base = added.adapter.provenance["text_sha256"], people.workplace.fingerprint
    assert already_trained(store, base, "alice", text, RECIPE) is None
    (alone,) = train(people.workplace, store, {"alice": tries("alice", "second")}, RECIPE, gate=Passing())
    assert not alone.before
    assert "grew_from" not in alone.release.adapter.provenance


# What cannot be added to


def test_who_has_no_release_that_answers_is_told_what_to_do(alice, add, store, people):
    assert isinstance(add(writing("bob"), user="bob").error, UnknownUser)
    store.revoke("alice", "left")
    error = add(tries("alice", "second")).error
    assert isinstance(error, NotServed)
    assert "users restore" in error.remedy
    store.restore("alice")
    store.reset("alice")
    assert isinstance(add(tries("alice", "second")).error, ResetToBase)
    (carol,) = train(people.workplace, store, {"carol": writing("carol")}, RECIPE, gate=Passing(False))
    error = add(tries("carol", "second"), user="carol").error
    assert isinstance(error, NotServed)
    assert f"release {carol.release.number}" in str(error) or "held back" in str(error)


@pytest.mark.parametrize(
    ("stray", "said"), [({"base": "0" * 64}, "--base"), ({"format": "ia3"}, "--format ia3"), ({"values": 3}, "values")]
)
def test_a_release_of_another_base_or_format_is_not_added_to(alice, add, store, stray, said):
    if "values" in stray:
        stray = {"values": np.zeros(stray["values"], np.float32)}
    store.publish("alice", replace(alice.adapter, **stray), GateOutcome(True, "passed"))
    outcome = add(tries("alice", "second"))
    assert isinstance(outcome.error, WrongBase)
    assert said in str(outcome.error)
    assert store.user("alice").releases == 2


def test_others_go_on_where_one_cannot_be_added_to(alice, people, store):
    texts = {"bob": writing("bob"), "alice": tries("alice", "second")}
    outcomes = {each.user: each for each in train(people.workplace, store, texts, RECIPE, add=True, gate=Passing())}
    assert isinstance(outcomes["bob"].error, UnknownUser)
    assert outcomes["alice"].release.number == 2


# What happens meanwhile


def test_nobody_who_is_erased_meanwhile_comes_back(alice, people, store):
    def read():
        store.erase("alice")
        return tries("alice", "second")

    (outcome,) = train(people.workplace, store, [Author("alice", read)], RECIPE, add=True, gate=Passing())
    assert isinstance(outcome.error, UnknownUser)

    class Erasing(Passing):
        def judge(self, *shown):
            store.erase("bob")
            return super().judge(*shown)

    list(train(people.workplace, store, {"bob": writing("bob")}, RECIPE, gate=Passing()))
    texts = {"bob": tries("bob", "second")}
    (outcome,) = train(people.workplace, store, texts, RECIPE, add=True, gate=Erasing())
    assert isinstance(outcome.error, ErasedMeanwhile)
    with pytest.raises(UnknownUser):
        store.user("bob")


def test_an_erasure_takes_the_checkpoint_of_what_was_growing(alice, people, store):
    outcomes = train(people.workplace, store, {"alice": tries("alice", "second")}, RECIPE, add=True, gate=Passing())

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt), closing(outcomes):
        patch.setattr(Passing, "judge", stop)
        next(outcomes)
    receipt = erase(store, "alice", folder=people.workplace.folder)
    assert receipt.counts["checkpoints of training"] == 1


def test_what_came_in_between_is_not_left_out(alice, add, store):
    class Publishing(Passing):
        def judge(self, *shown):
            store.publish("alice", alice.adapter, GateOutcome(True, "passed"))
            return super().judge(*shown)

    error = add(tries("alice", "second"), gate=Publishing()).error
    assert isinstance(error, InvalidInput)
    assert "began to answer" in str(error)
    assert store.user("alice").served == 2


def test_what_is_begun_from_is_what_answers_now(alice, people, store):
    values = alice.adapter.values + 1
    store.publish("alice", replace(alice.adapter, values=values), GateOutcome(False, "held back: no"))
    begun = begun_from(store, "alice", people.workplace.fingerprint, RECIPE)
    assert begun.id == alice.id
    assert isinstance(begun.adapter, Adapter)
