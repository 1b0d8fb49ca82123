"""Who answers: the user's own release, or the base where the caller allows it, and never anybody else's."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import CorruptAdapter, InvalidUserId, NotServed, ResetToBase, StoreBusy, UnknownUser, WrongBase
from sharedllm.operations.route import route
from sharedllm.store import open_store
from sharedllm.store.memory import MemoryStore

BETTER = GateOutcome(True, "improves")
WORSE = GateOutcome(False, "no better than the base")


def adapter(base="base-1"):
    return Adapter("norm", base, np.array([0.5], np.float32))


@pytest.fixture
def store():
    """Alice is served, Bob was held back, Carol is revoked, Dave belongs to another base."""
    store = open_store(":memory:")
    store.publish("alice", adapter(), BETTER)
    store.publish("bob", adapter(), WORSE)
    store.publish("carol", adapter(), BETTER)
    store.revoke("carol", "contract ended")
    store.publish("dave", adapter("base-2"), BETTER)
    return store


def test_whoever_was_put_back_to_the_base_is_answered_by_it_without_a_fallback(store):
    store.reset("alice")
    decision = route(store, "alice")
    assert (decision.kind, decision.release, type(decision.refusal)) == ("base", None, ResetToBase)
    assert decision.reason == "The base answers. 'alice' was put back to the base"
    store.reset("carol")
    with pytest.raises(NotServed, match="contract ended"):
        route(store, "carol")


REFUSED = [
    ("nobody", UnknownUser, "no user 'nobody'"),
    ("bob", NotServed, "held back: no better than the base"),
    ("carol", NotServed, "revoked: contract ended"),
    ("dave", WrongBase, "made for base 'base-2', not 'base-1'"),
]


@pytest.mark.parametrize("fallback", [False, True])
def test_a_served_user_is_answered_by_their_own_release(store, fallback):
    decision = route(store, "alice", base="base-1", fallback=fallback)
    assert (decision.kind, decision.user, decision.release.number) == ("own", "alice", 1)
    assert decision.reason == "Release 1 of 'alice' answers."


@pytest.mark.parametrize(("user", "error", "why"), REFUSED)
def test_without_a_fallback_a_refusal_is_an_error(store, user, error, why):
    with pytest.raises(error, match=why):
        route(store, user, base="base-1")


@pytest.mark.parametrize(("user", "error", "why"), REFUSED)
def test_with_a_fallback_the_base_answers_and_says_why(store, user, error, why):
    decision = route(store, user, base="base-1", fallback=True)
    assert (decision.kind, decision.user, decision.release) == ("base", user, None)
    assert decision.reason.startswith("The base answers. ")
    assert why in decision.reason


@pytest.mark.parametrize(("user", "error", "why"), REFUSED)
def test_on_a_base_with_a_prior_it_is_the_prior_that_answers_in_a_releases_place(store, user, error, why):
    decision = route(store, user, base="base-1", prior=True, fallback=True)
    assert (decision.kind, decision.release, type(decision.refusal)) == ("prior", None, error)
    assert decision.reason.startswith("The prior answers. ")
    assert why in decision.reason
    with pytest.raises(error, match=why):
        route(store, user, base="base-1", prior=True)
    assert route(store, "alice", base="base-1", prior=True).kind == "own"


def test_any_base_is_accepted_where_none_is_asked_for(store):
    assert route(store, "dave").release.adapter.base == "base-2"


def test_a_damaged_release_is_refused_or_replaced_by_the_base(store):
    entry = store._users["alice"]
    entry.records[1] = dataclasses.replace(entry.records[1], deviations=b"\x00\x01")
    with pytest.raises(CorruptAdapter, match="Release 1 of 'alice' is damaged"):
        route(store, "alice")
    decision = route(store, "alice", fallback=True)
    assert (decision.kind, decision.release) == ("base", None)
    assert "is damaged" in decision.reason


def test_no_fallback_hides_a_bad_id_or_a_store_that_does_not_answer(store):
    class Busy(MemoryStore):
        def served(self, user):
            raise StoreBusy("The store is busy", remedy="Wait.")

    with pytest.raises(InvalidUserId):
        route(store, "", fallback=True)
    with pytest.raises(StoreBusy):
        route(Busy(), "alice", fallback=True)


@settings(max_examples=60, deadline=None)
@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["pass", "fail", "revoke", "restore", "erase", "rollback"]), st.sampled_from("ab")),
        max_size=12,
    )
)
def test_whatever_happens_nobody_gets_anothers_release_or_one_that_failed(actions):
    store = open_store(":memory:")
    for action, user in actions:
        try:
            match action:
                case "pass" | "fail":
                    store.publish(user, adapter(), BETTER if action == "pass" else WORSE)
                case "revoke":
                    store.revoke(user, "why")
                case _:
                    getattr(store, action)(user)
        except (UnknownUser, NotServed):
            pass
        for asker in "ab":
            decision = route(store, asker, fallback=True)
            assert decision.user == asker
            assert (decision.release is None) == (decision.kind == "base")
            if decision.release is not None:
                assert decision.release.user == asker
                assert decision.release.gate.passed
                assert store.user(asker).state == "active"


def test_of_fingerprints_so_much_is_told_as_tells_them_apart(store):
    one, other = "a1" * 32, "b2" * 32
    store.publish("erin", adapter(one), BETTER)
    with pytest.raises(WrongBase) as refused:
        route(store, "erin", base=other)
    assert f"made for base {one[:12]!r}, not {other[:12]!r}" in refused.value.message
