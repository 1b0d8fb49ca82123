"""How far two texts are apart in style."""

import json

import numpy as np
import pytest

from sharedllm.errors import InvalidInput
from sharedllm.evaluation.style import Reference, distance

PEOPLE = {
    "short": "I see. He ran! The dog sat. I like it. ",
    "long": "the man who was seen by the people of the town, and by the king, had a house in the hills, ",
    "plain": "a dog and a man and the sea and the town. ",
}


@pytest.fixture
def reference():
    return Reference.of(text * 20 for text in PEOPLE.values())


def test_the_words_are_the_most_frequent_of_the_reference_and_everybody_counts_alike():
    found = Reference.of(["the the the a", "the a a a\n" * 100, "b the, a"])
    assert found.words[:2] == ("a", "the")
    assert found.signs == (",",)
    assert found.people == 3


def test_delta_is_the_mean_difference_of_standardised_features():
    """Two people of two words: shares 1 and 0 of each differ by 2 / sqrt(2) deviations of the reference."""
    found = Reference.of(["aa aa", "bb bb"])
    tallies = np.stack([found.tally("aa aa"), found.tally("bb bb")])
    # Lengths are alike and say nothing.
    assert found.delta(tallies[:1], tallies[1:]) == pytest.approx([2**0.5])


def test_the_same_style_is_nearer_than_another(reference):
    real = [PEOPLE["short"]] * 4
    same, other = [PEOPLE["short"] + "I ran. "] * 4, [PEOPLE["long"]] * 4
    assert distance(reference, real, real).estimate == 0
    assert 0 < distance(reference, real, same).estimate < distance(reference, real, other).estimate
    nearer = distance(reference, real, other, same)
    assert nearer.low > 0
    assert nearer.estimate == pytest.approx(
        distance(reference, real, other).estimate - distance(reference, real, same).estimate
    )


def test_what_is_pieced_together_is_compared_as_a_whole(reference):
    pieces = [PEOPLE["short"], PEOPLE["long"], PEOPLE["plain"]]
    assert distance(reference, pieces, pieces[::-1]).estimate == pytest.approx(0)


def test_a_text_in_another_language_is_not_measured(reference):
    assert distance(reference, ["Вот и всё. "] * 3, ["Вот так. "] * 3) is None


def test_a_reference_is_stored_and_read_back(reference):
    again = Reference.from_dict(json.loads(json.dumps(reference.as_dict())))
    real, written = [PEOPLE["short"]] * 3, [PEOPLE["long"]] * 3
    assert distance(again, real, written).estimate == pytest.approx(
        distance(reference, real, written).estimate, rel=1e-3
    )


def test_too_little_is_refused(reference):
    with pytest.raises(InvalidInput, match="places"):
        distance(reference, ["a"], ["b"])
    with pytest.raises(InvalidInput, match="places"):
        distance(reference, ["a", "b"], ["b"])
    with pytest.raises(InvalidInput, match="reference"):
        Reference.of(["one"])
