"""People's adapters on text that they never saw."""

from dataclasses import replace

import numpy as np
import pytest
from tests.operations.conftest import QUICK

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import CorruptAdapter, InvalidInput, TextError, UnknownName, UnknownUser, WrongBase
from sharedllm.operations.evaluate import evaluate


@pytest.fixture
def three(people):
    people.train("alice", "bob", "carol")
    return people


def test_everybodys_text_is_read_by_everybody_and_by_the_base(three):
    found = evaluate(three.workplace, three.store, ["alice", "bob"])
    assert found.confusion.texts == ["alice", "bob"]
    assert found.confusion.readers == [None, "alice", "bob"]
    assert list(found.general) == [None, "alice", "bob"]
    assert {user: release.number for user, release in found.releases.items()} == {"alice": 1, "bob": 1}
    for user in ("alice", "bob"):
        assert found.confusion.improvement(user, user).low > 0
        assert found.heldout[user].shape[1] == QUICK.window
    assert str(found) == repr(found) == repr(found.confusion)
    assert f"'bob' {found.confusion.perplexity('alice', 'bob'):.2f}" in str(found)


def test_others_read_the_texts_too_in_the_order_in_which_they_came(three):
    found = evaluate(three.workplace, three.store, ["bob"], others=1)
    assert (found.others, found.confusion.readers) == (["alice"], [None, "bob", "alice"])
    assert list(found.general) == [None, "bob"]
    three.store.revoke("alice", "asked to")
    assert evaluate(three.workplace, three.store, ["bob"], others=7).others == ["carol"]


def test_one_of_the_others_that_is_damaged_is_left_out_by_name(three, monkeypatch):
    served = three.store.served

    def damaged(user):
        if user == "alice":
            raise CorruptAdapter("It is damaged", remedy="Train again.")
        return served(user)

    monkeypatch.setattr(three.store, "served", damaged)
    found = evaluate(three.workplace, three.store, ["bob"], others=7)
    assert (found.others, list(found.damaged)) == (["carol"], ["alice"])


def test_a_release_can_be_named_and_where_the_text_is_now(three, tmp_path):
    three.train("alice", recipe=replace(QUICK, seed=1))
    moved = three.file("alice").rename(tmp_path / "moved.txt")
    found = evaluate(three.workplace, three.store, {"alice": [str(moved)]}, numbers={"alice": 1})
    assert found.releases["alice"].number == 1
    with pytest.raises(TextError):
        evaluate(three.workplace, three.store, ["alice"])


def test_the_bar_is_told_of_every_window_that_was_read(three, base_of):
    told = []

    class Bar:
        def __init__(self, what, total):
            told.append([what, total, 0])

        def __enter__(self):
            return lambda amount: told[-1].__setitem__(2, told[-1][2] + amount)

        def __exit__(self, *_):
            return None

    three.workplace.bar = Bar
    evaluate(three.workplace, three.store, ["alice", "bob"], others=1)
    ((what, total, done),) = told
    assert (what, done) == ("measuring", total)


@pytest.mark.parametrize(
    ("users", "numbers", "error"),
    [([], {}, InvalidInput), (["dave"], {}, UnknownUser), (["alice"], {"alice": 7}, UnknownName)],
)
def test_what_cannot_be_measured_is_refused_before_a_base_is_loaded(three, monkeypatch, users, numbers, error):
    monkeypatch.setattr(type(three.workplace), "base", property(lambda _: pytest.fail("the base was loaded")))
    with pytest.raises(error):
        evaluate(three.workplace, three.store, users, numbers=numbers)


def test_another_text_than_was_trained_on_is_refused(three, tmp_path):
    with pytest.raises(InvalidInput, match="may have been trained on"):
        evaluate(three.workplace, three.store, {"alice": [str(three.file("bob"))]})


def test_an_adapter_of_another_base_is_refused(three):
    release = three.store.served("alice")
    other = Adapter("norm", "another", np.zeros(3, np.float32), release.adapter.provenance)
    three.store.publish("alice", other, GateOutcome(True, "made up"))
    with pytest.raises(WrongBase):
        evaluate(three.workplace, three.store, ["alice"])


def test_formats_are_measured_apart(three):
    three.train("alice", recipe=replace(QUICK, method="ia3"))
    three.store.rollback("alice", 2, override_reason="a test")
    with pytest.raises(InvalidInput, match="different formats"):
        evaluate(three.workplace, three.store, ["alice", "bob"])
