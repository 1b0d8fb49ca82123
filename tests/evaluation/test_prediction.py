"""What is foretold of people's words, to the keystroke."""

import math

import numpy as np
import pytest
from tests import models
from transformers import PreTrainedTokenizerFast

from sharedllm.base.tokens import Tokens, Vocabulary
from sharedllm.evaluation.perplexity import Losses
from sharedllm.evaluation.prediction import bits_per_character, characters, places, predict
from sharedllm.evaluation.suggestions import WordSpelling


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(models.tokenizer(), models.VOCABULARY)


@pytest.fixture(scope="module")
def spelling(tokens) -> WordSpelling:
    return WordSpelling(tokens, Vocabulary(models.tokenizer()))


class Believer:
    """Is sure of how a text goes on, under the first row that of one text, under the second that of another."""

    def __init__(self, *believed: list[int]) -> None:
        self.rows, self._believed, self._ids = len(believed), believed, []

    def read(self, ids):
        self._ids = list(ids)
        return np.stack(
            [[self._sure(row, ids[:place]) for place in range(1, len(ids) + 1)] for row in range(self.rows)]
        )

    def after(self, asked):
        return np.stack([self._sure(row, [*self._ids[:begin], *path]) for row, begin, path in asked])

    def _sure(self, row, ids):
        logits = np.zeros(models.VOCABULARY)
        believed = self._believed[row]
        if len(ids) < len(believed) and believed[: len(ids)] == list(ids):
            logits[believed[len(ids)]] = 50
        return logits


def window_of(tokens, text):
    return np.array([tokens.encode(text)], np.int64)


def test_a_word_foretold_is_one_keystroke_with_the_space_behind_it(tokens, spelling):
    """The first word may be the rest of one and the last may be cut off: cat, the and dog count."""
    text = window_of(tokens, "the cat, the dog\nand")
    (sure,) = predict(Believer(text[0].tolist()), spelling, text, first=1)
    assert sure.words.tolist() == [3]
    assert sure.hits.tolist() == [[3, 3, 3]]
    assert sure.keys.tolist() == [len("cat, ") + len("the ") + len("dog\n")]
    # A tap and a comma and a space; a tap that writes the space, too; a tap and a line break.
    assert sure.typed.tolist() == [[3 + 1 + 2] * 3]


def test_nothing_is_saved_where_nothing_is_foretold(tokens, spelling):
    text = window_of(tokens, "the cat, the dog\nand")
    (lost,) = predict(Believer([]), spelling, text, first=1)
    assert lost.hits.tolist() == [[0, 0, 0]]
    assert lost.typed.tolist() == [lost.keys.tolist() * 3]


def test_letters_are_typed_until_the_word_is_offered(tokens, spelling):
    """Who believes in a car is of no use for c and a, and is right after the t no more than anybody."""
    text = window_of(tokens, "a catalogue was")
    reader = Believer(text[0].tolist(), tokens.encode("a catalysts was"))
    sure, misled = predict(reader, spelling, text, first=1)
    assert (sure.typed[0, 0], misled.typed[0, 0]) == (1, len("catalogue "))
    assert misled.keys.tolist() == [len("catalogue ")]


def test_what_others_wrote_is_read_and_not_foretold(tokens, spelling):
    text = window_of(tokens, "a cat here, a dog there. So")
    begin = len("a cat here,")
    text[0, :begin] = ~text[0, :begin]
    (sure,) = predict(Believer(tokens.encode("a cat here, a dog there. So")), spelling, text, first=1)
    assert sure.words.tolist() == [3]
    assert sure.keys.tolist() == [len("a dog there. ")]
    assert characters(spelling, text, 1).tolist() == [len(" a dog there. So")]


def test_characters_are_counted_and_not_bytes(tokens, spelling):
    text = window_of(tokens, "añ我.")
    assert characters(spelling, text, 1).tolist() == [3]
    losses = Losses(np.array([6 * math.log(2)]), text.shape[1] - 1)
    assert bits_per_character(losses, characters(spelling, text, 1)) == pytest.approx(2)


def test_where_characters_are_composed_keystrokes_mean_nothing(tokens, spelling):
    (sure,) = predict(Believer([]), spelling, window_of(tokens, "我爱你们 a b"), first=1)
    assert (sure.words.tolist(), sure.composed.tolist(), sure.types) == ([4], [3], False)


def test_a_place_says_what_tokens_begin_with():
    """Where tokens begin with a space, a word is offered from before it, whatever the word's own tokens are."""
    tokenizer: PreTrainedTokenizerFast = models.sentencepiece()
    tokens = Tokens(tokenizer, len(tokenizer))
    spelling = WordSpelling(tokens, Vocabulary(tokenizer))
    window = np.array(tokens.encode("a the z\nman said it"), np.int64)
    found = {place.written.word: place for place in places(spelling, window, tokens.unpredicted)}
    assert list(found) == ["a", "the", "z", "man", "said"]
    assert [found[word].written.gap for word in found] == [b" ", b" ", b" ", b"", b" "]
    assert [found[word].spaced for word in found] == [True, True, False, True, True]
