import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.compression.int8 import quantise
from sharedllm.errors import ErasedMeanwhile, InvalidInput, NotServed, UnknownUser
from sharedllm.evaluation.gate import Gate
from sharedllm.operations import compress as operation
from sharedllm.operations.compress import WORST_RATIO, compress, decide

PERPLEXITY = st.floats(1, 1e6)


@pytest.mark.parametrize(
    ("none", "raw", "int8", "kept", "reason"),
    [
        (20, 10, 11, "int8", "1.100 times"),
        (20, 10, 15, "int8", "25.0% less than no adapter"),
        (20, 10, 15.01, "raw", "more than 1.5"),
        (12, 10, 12, "raw", "no better than no adapter (12 against 12)"),
        (12, 10, 13, "raw", "no better than no adapter"),
        (20, 10, 9, "int8", "0.900 times"),
        (10, 20, 15, "raw", "no better than no adapter"),
    ],
)
def test_both_conditions_must_hold(none, raw, int8, kept, reason):
    decision = decide(none, raw, int8)
    assert decision.kept == kept
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("user", "none", "raw", "int8"), [("novelist", 113, 113, 156), ("scientist", 130, 130, 218)], ids=str
)
def test_the_documents_own_failures_stay_raw(user, none, raw, int8):
    assert decide(none, raw, int8).kept == "raw"


def test_the_documents_programmer_may_be_int8():
    """Whose no-adapter perplexity is recorded only as high."""
    assert decide(1e4, 6922, 8100).kept == "int8"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("position", "name"), [(0, "no adapter"), (1, "the raw adapter"), (2, "the int8 adapter")])
def test_what_was_not_measured_stays_raw_and_is_named(bad, position, name):
    measured = [20.0, 10.0, 11.0]
    measured[position] = bad
    decision = decide(*measured)
    assert decision.kept == "raw"
    assert f"the perplexity of {name}" in decision.reason


@given(PERPLEXITY, PERPLEXITY, PERPLEXITY)
def test_int8_is_kept_exactly_when_both_hold(none, raw, int8):
    decision = decide(none, raw, int8)
    assert (decision.kept == "int8") == (int8 <= WORST_RATIO * raw and int8 < none)
    assert decision.reason.startswith("int8 is kept" if decision.kept == "int8" else "raw stays")


@pytest.fixture
def alice(people):
    people.train("alice")
    return people


def test_what_survives_becomes_the_release_that_answers_with_the_way_back_to_its_integers(alice):
    before = alice.store.served("alice")
    found = compress(alice.workplace, alice.store, "alice")
    after = alice.store.served("alice")
    assert (found.kept, found.release.id, found.published.id) == ("int8", before.id, after.id)
    packed = quantise(before.adapter.values, alice.workplace.injection("norm").layout.widths)
    assert after.adapter.provenance["compression"]["scales"] == pytest.approx(packed.scales.tolist())
    assert found.raw.perplexity < found.none.perplexity
    with pytest.raises(InvalidInput, match="int8 already"):
        compress(alice.workplace, alice.store, "alice")


def test_what_is_decided_against_is_not_stored(alice, monkeypatch):
    monkeypatch.setattr(operation, "WORST_RATIO", 0.5)
    found = compress(alice.workplace, alice.store, "alice")
    assert (found.kept, found.published, alice.store.user("alice").releases) == ("raw", None, 1)


def test_the_gate_has_the_last_word(alice, monkeypatch):
    monkeypatch.setattr(Gate, "decide", lambda *losses: GateOutcome(False, "held back: a test says so", {}))
    found = compress(alice.workplace, alice.store, "alice")
    assert (found.kept, found.published.number, alice.store.user("alice").served) == ("raw", 2, 1)
    assert found.reason.startswith("raw stays: the gate holds int8 back")


def test_nobody_is_begun_for_who_is_not_there_or_has_nothing_that_answers(alice, monkeypatch):
    monkeypatch.setattr(type(alice.workplace), "base", property(lambda _: pytest.fail("the base was loaded")))
    with pytest.raises(UnknownUser):
        compress(alice.workplace, alice.store, "bob")
    alice.store.revoke("alice", "asked to")
    with pytest.raises(NotServed):
        compress(alice.workplace, alice.store, "alice")


def test_whoever_is_erased_meanwhile_does_not_come_back(alice, monkeypatch):
    measure = operation._measure
    monkeypatch.setattr(operation, "_measure", lambda *given: (alice.store.erase("alice"), measure(*given))[1])
    with pytest.raises((ErasedMeanwhile, UnknownUser)):
        compress(alice.workplace, alice.store, "alice")
    assert not list(alice.store.users())
