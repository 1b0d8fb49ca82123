"""What an adapter is worth beside perplexity."""

import math

import numpy as np
import pytest
import torch

from sharedllm.evaluation.perplexity import Losses
from sharedllm.evaluation.prediction import Predicted
from sharedllm.operations.evaluate import _replies
from sharedllm.operations.worth import Worth
from sharedllm.text.passages import Passage
from sharedllm.text.splits import split_passages


def losses(*bits):
    return Losses(np.array(bits) * math.log(2), 4)


@pytest.fixture
def worth():
    """Two windows of eight characters and two places with replies of ten, under the base and under alice's row."""
    counts = np.array([4, 4])
    hits = {None: [[1, 1, 2], [1, 1, 1]], "alice": [[2, 2, 3], [1, 2, 2]]}
    predicted = {
        reader: Predicted(counts, np.array(each), counts * 5, 20 - np.array(each), counts * 0)
        for reader, each in hits.items()
    }
    replies = {None: (losses(20, 30), losses(10, 20)), "alice": (losses(10, 15), losses(20, 10))}
    characters = np.array([8, 8])
    return Worth(
        {None: losses(16, 16), "alice": losses(8, 8)},
        characters,
        predicted,
        [],
        {},
        None,
        replies,
        (np.array([10, 10]), np.array([10, 10])),
    )


def test_every_measure_is_a_ratio_over_windows_and_its_change_is_paired(worth):
    assert worth.of("bits_per_character", None).estimate == pytest.approx(2)
    assert worth.of("bits_per_character", "alice", None).estimate == pytest.approx(-1)
    assert worth.of("next_word_1", "alice").estimate == 3 / 8
    assert worth.of("next_word_3", "alice", None).estimate == 2 / 8
    assert worth.of("saved_3", None).estimate == 3 / 40
    assert worth.of("saved_1", "alice", None).estimate == pytest.approx(1 / 40)


def test_replies_are_told_by_their_bits_and_by_how_many_are_likelier_than_others(worth):
    assert worth.of("reply_bits", None).estimate == pytest.approx(2.5)
    assert worth.of("reply_bits", "alice", None).estimate == pytest.approx(-1.25)
    assert worth.of("reply_chosen", None).estimate == 0
    assert worth.of("reply_chosen", "alice").estimate == 0.5
    assert worth.of("reply_chosen", "alice", None).estimate == 0.5


def test_what_was_not_measured_is_none(worth):
    assert worth.of("style", "alice") is None
    assert Worth(worth.losses, worth.characters, {}, [], {}, None).of("reply_bits", None) is None


def test_replies_of_held_out_conversations_are_read_by_every_reader(base_of, inject):
    base = base_of("llama", torch.float64)
    talk = [
        passage
        for number in range(60)
        for passage in (
            Passage(f"what is {number} and {number * 7}?", "other", begins=True),
            Passage(f"that would be {number * 8}, as far as I can see", "own"),
            Passage("thanks" * (number % 3 + 1), "other"),
            Passage("any time!", "own"),
        )
    ]
    found = _replies(base, inject(base), {None: None, "alice": None}, split_passages(talk, user="alice"), 96)
    assert found is not None
    places, losses = found
    assert places.own.shape == places.other.shape
    assert losses[None][0].nats.tolist() == losses["alice"][0].nats.tolist()
    assert (losses[None][1].nats > 0).all()
