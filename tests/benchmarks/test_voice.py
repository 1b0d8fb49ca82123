"""What is learned as an answer is the same text as before, behind questions that nobody learns and nobody is asked."""

from itertools import pairwise

from benchmarks.voice import ASKED, LEARNED_BEHIND, voiced

from sharedllm.text.passages import own_words
from sharedllm.text.splits import split_text

SPLIT = split_text("".join(f"On day {number} nothing happened that is worth a line.\n" for number in range(400)))


def test_a_share_of_the_training_text_is_answers_and_every_word_is_learned_once():
    train = voiced(SPLIT, 0.25).blocks[0]
    answers = [passage for passage in train if passage.role == "own"]
    assert "".join(passage.text for passage in train if passage.learned) == SPLIT.train
    assert 0.2 < len(own_words(answers)) / len(SPLIT.train) < 0.3
    for question, answer in pairwise(train):
        assert (question.role == "other") == (answer.role == "own")


def test_the_other_blocks_are_as_they_were():
    assert voiced(SPLIT, 0.5).blocks[1:] == SPLIT.blocks[1:]


def test_nobody_is_asked_what_they_learned_behind():
    assert set(ASKED).isdisjoint(LEARNED_BEHIND)
