"""A person's replies, and somebody else's in the same places."""

import time

import numpy as np
import pytest
from tests import models

from sharedllm.base.conversations import learned_ids
from sharedllm.base.tokens import Tokens
from sharedllm.evaluation.replies import find_replies
from sharedllm.text.passages import Passage

TALK = [
    Passage("hi there", "other", begins=True),
    Passage("hello you", "own"),
    Passage("how is it going", "other"),
    Passage("well, and you?", "own"),
    Passage("what a long day it was", "other", begins=True),
    Passage("it was", "own"),
]


@pytest.fixture(scope="module")
def tokens():
    return Tokens(models.tokenizer(), models.VOCABULARY)


def said(tokens, window):
    """What of a window is predicted."""
    return tokens.decode([int(id) for id in window if id >= 0]).strip()


def test_own_replies_and_others_stand_after_the_same_words(tokens):
    found = find_replies(TALK, lambda turns: learned_ids(tokens, turns), 128)
    assert [said(tokens, each) for each in found.own] == ["hello you", "well, and you?", "it was"]
    assert [said(tokens, each) for each in found.other] == ["how is it going", "hi there", "hi there"]
    for own, other in zip(found.own, found.other, strict=True):
        before = int(np.flatnonzero(own >= 0)[0])
        assert before == int(np.flatnonzero(other >= 0)[0])
        np.testing.assert_array_equal(own[:before], other[:before])


def test_of_a_long_conversation_the_end_is_read(tokens):
    found = find_replies(TALK, lambda turns: learned_ids(tokens, turns), 40)
    assert found.own.shape[1] == 40
    assert said(tokens, found.own[0]) == "hello you"


def test_where_nobody_replies_there_is_nothing_to_compare(tokens):
    converse = lambda turns: learned_ids(tokens, turns)  # noqa: E731
    assert find_replies([Passage("a text", "text")], converse, 64) is None
    assert find_replies(TALK[:2], converse, 64) is None


def test_a_long_conversation_takes_time_that_grows_as_it_does():
    many = [Passage("x" * 1_000, "other", begins=number == 0) for number in range(20_000)]
    turns = [passage for _ in range(20_000) for passage in (Passage("yes", "own"), Passage("and now?", "other"))]
    heard = []

    def converse(turns):
        heard.append([len(turn.text) for turn in turns])
        return [~1] * 4 + [2] * 2

    began = time.process_time()
    find_replies([*many, *turns], converse, 64)
    assert time.process_time() - began < 30
    assert heard[0] == [20_000 * 1_001 - 1, 3]
    assert max(map(len, heard)) == 9
