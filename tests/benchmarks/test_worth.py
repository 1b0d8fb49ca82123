"""How a measure is said to follow perplexity."""

import numpy as np
import pytest
from benchmarks.worth import MEASURES, READERS, summary

pytestmark = pytest.mark.slow


def person(name, gain, follows=1.0):
    """Somebody whose perplexity and every measure get better by so much from each reader to the next."""
    readers = {}
    for number, reader in enumerate(READERS):
        better = gain * min(number, 2)
        bits = {"bits_per_character": 2 - follows * better, "style": 2 - follows * better}
        readers[reader] = {"perplexity": 20 * np.exp(-better)} | bits
        readers[reader] |= {each: 0.2 + follows * better for each in MEASURES if each not in bits}
    return {"user": name, "kind": name, "readers": readers}


def test_what_rises_with_every_gain_follows_perplexity_and_what_falls_does_not():
    people = [person(str(number), 0.01 * number) for number in range(1, 8)]
    found = summary(people)["measures"]
    assert {found[each]["follows"]["rank"] for each in MEASURES} == {1.0}
    against = summary([person(str(number), 0.01 * number, follows=-1) for number in range(1, 8)])["measures"]
    assert against["style"]["follows"]["rank"] == -1.0
    assert found["perplexity"]["own_better"] == 7


def test_who_has_no_measure_is_left_out_of_it_alone():
    people = [person(str(number), 0.01 * number) for number in range(1, 6)]
    for reader in READERS:
        people[0]["readers"][reader]["style"] = None
    found = summary(people)
    assert found["people"] == 5
    assert found["measures"]["style"]["people"] == 4
    assert found["measures"]["saved_1"]["people"] == 5
