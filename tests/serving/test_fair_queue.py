import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.errors import QueueFull
from sharedllm.serving.fair_queue import FairQueue


def anybody(owner, item):
    return True


def any_size(item):
    return True


def test_owners_take_turns_and_each_keeps_their_order():
    queue = FairQueue(10, 10)
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.put(item[0], item)
    assert [queue.take(anybody, any_size) for _ in range(7)] == ["a1", "b1", "c1", "a2", "b2", "a3", None]


def test_an_owner_who_may_not_is_passed_over_and_keeps_their_place():
    queue = FairQueue(10, 10)
    for item in ("a1", "b1"):
        queue.put(item[0], item)
    assert queue.take(lambda owner, _: owner != "a", any_size) == "b1"
    assert queue.take(lambda owner, _: owner != "a", any_size) is None
    assert queue.take(anybody, any_size) == "a1"


def test_what_does_not_fit_is_waited_for_by_all_who_come_after_it():
    queue = FairQueue(10, 10)
    for item in ("a1", "b1", "c1"):
        queue.put(item[0], item)
    assert queue.take(anybody, lambda item: item != "a1") is None
    assert queue.take(lambda owner, _: owner != "a", lambda item: item != "a1") == "b1"
    assert [queue.take(anybody, any_size) for _ in range(2)] == ["a1", "c1"]


def test_who_is_refused_is_not_in_the_queue():
    queue = FairQueue(3, 2)
    for item in ("a1", "a2"):
        queue.put("a", item)
    with pytest.raises(QueueFull):
        queue.put("a", "a3")
    queue.put("b", "b1")
    with pytest.raises(QueueFull):
        queue.put("c", "c1")
    assert sorted(queue) == ["a1", "a2", "b1"]


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["put", "take", "remove"])), max_size=60))
def test_nothing_is_lost_and_the_length_is_right(calls):
    queue, inside, number = FairQueue(1000, 1000), [], 0
    for owner, call in calls:
        if call == "put":
            number += 1
            queue.put(owner, (owner, number))
            inside.append((owner, number))
        elif call == "take":
            item = queue.take(lambda each, _, owner=owner: each == owner, any_size)
            mine = [each for each in inside if each[0] == owner]
            assert item == (mine[0] if mine else None)
            inside = [each for each in inside if each != item]
        else:
            gone = queue.remove(lambda item, owner=owner: item[0] == owner)
            assert gone == [each for each in inside if each[0] == owner]
            inside = [each for each in inside if each not in gone]
        assert len(queue) == len(inside)
        assert sorted(queue) == sorted(inside)
