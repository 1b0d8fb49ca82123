import numpy as np
import pytest
import torch

from sharedllm.errors import InvalidInput
from sharedllm.serving.table import BASE_SLOT, Table

WIDTH = 6


def values(seed):
    return np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float16).astype(np.float32)


@pytest.fixture
def table():
    return Table(WIDTH, 4, torch.device("cpu"))


def test_a_row_holds_exactly_the_values_of_its_release(table):
    slot = table.acquire("a", "ann", values(1))
    assert slot != BASE_SLOT
    assert torch.equal(table.rows[slot].float(), torch.from_numpy(values(1)))
    assert not table.rows[BASE_SLOT].any()


def test_a_release_that_is_there_is_not_copied_again(table):
    assert table.acquire("a", "ann", values(1)) == table.acquire("a", "ann", values(1))
    assert (table.hits, table.misses) == (1, 1)


def test_the_row_used_longest_ago_makes_room(table):
    for name in "abc":
        table.acquire(name, name, values(1))
        table.give_back(name)
    table.acquire("a", "ann", values(1))
    table.give_back("a")
    table.acquire("d", "ann", values(2))
    assert [name in table for name in "abcd"] == [True, False, True, True]


def test_a_row_in_use_is_never_overwritten(table):
    slots = {name: table.acquire(name, name, values(number)) for number, name in enumerate("abc")}
    with pytest.raises(InvalidInput, match="in use"):
        table.acquire("d", "ann", values(9))
    table.acquire("a", "ann", values(0))
    table.give_back("a")
    # Held twice, given back once.
    with pytest.raises(InvalidInput, match="in use"):
        table.acquire("d", "ann", values(9))
    for number, name in enumerate("abc"):
        assert torch.equal(table.rows[slots[name]].float(), torch.from_numpy(values(number)))


def test_a_forgotten_row_is_zeros_at_once_or_when_nobody_holds_it(table):
    slot = table.acquire("a", "ann", values(1))
    other = table.acquire("b", "bob", values(2))
    table.forget("ann")
    assert table.rows[slot].any()
    table.give_back("a")
    assert not table.rows[slot].any()
    assert "a" not in table
    table.give_back("b")
    assert table.rows[other].any()
    table.forget("bob")
    assert not table.rows.any()
    table.forget("never there")


def test_values_that_float16_cannot_hold_are_refused(table):
    for wrong in (np.full(WIDTH, 0.1, np.float32), np.full(WIDTH, np.inf, np.float32)[:3], values(1)[:-1]):
        with pytest.raises(InvalidInput, match="release a"):
            table.acquire("a", "ann", wrong)
    assert len(table) == 0
