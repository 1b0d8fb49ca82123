import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.text.test_splits import LINES

from sharedllm.errors import InvalidInput, TextError, TooLittleText
from sharedllm.text.folds import FOLDS, tokenize_to_train
from sharedllm.text.splits import split_text
from sharedllm.text.windows import MIN_WINDOWS, tokenize

TEXTS = st.lists(st.tuples(LINES, st.integers(1, 400)), min_size=1, max_size=12).map(
    lambda parts: "".join(part * times for part, times in parts)
)
LITTLE = TEXTS.map(lambda text: (text * (2_000 // len(text) + 1))[:8_000])


def diary(characters, begin=0):
    """Lines that all differ."""
    lines = (hashlib.sha256(str(number).encode()).hexdigest()[:50] for number in range(begin, begin + characters))
    return "\n".join(line for line, _ in zip(lines, range(characters // 51 + 1), strict=False))[:characters]


def code_points(text):
    return [ord(character) for character in text]


@settings(max_examples=60, deadline=None)
@given(LITTLE, st.integers(16, 512))
def test_every_block_is_tested_by_what_is_at_a_distance_from_it_and_all_is_trained_on_in_the_end(text, window):
    found = tokenize_to_train("alice", split_text(text), code_points, window=window)
    if not found.folds:
        assert len(found.validation) >= MIN_WINDOWS
        return
    assert found.train.tolist() == code_points(text)
    assert len(found.validation) == len(found.heldout) == 0
    assert found.characters == len(text)
    assert len({fold.windows.shape for fold in found.folds}) == 1
    rest = found.train.tolist()
    for fold in found.folds:
        block, around = fold.windows.ravel().tolist(), fold.train.tolist()
        assert len(fold.windows) >= 2
        assert 16 <= fold.windows.shape[1] <= window or window == fold.windows.shape[1]
        assert found.window <= window and 2 * found.window <= len(around) + 1
        assert len(around) + len(block) + 100 <= len(text)
        # Blocks come in the order of the text, and nothing comes twice.
        at = next(i for i in range(len(rest)) if rest[i : i + len(block)] == block)
        rest = rest[at + len(block) :]


def test_a_block_and_what_is_beside_it_are_left_out_of_what_tests_it():
    text = "".join(chr(0x4E00 + number) for number in range(4_000))
    found = tokenize_to_train("alice", split_text(text), code_points, window=256)
    for fold in found.folds:
        first, last = fold.windows.min(), fold.windows.max()
        assert not ((fold.train > first - 100) & (fold.train < last + 100)).any()
    read = np.concatenate([fold.windows.ravel() for fold in found.folds])
    assert len(set(read.tolist())) == len(read) > 0.95 * len(text)


def test_text_that_is_enough_is_split_as_ever():
    split = split_text(diary(60_000))
    found, expected = (each("alice", split, code_points, window=256) for each in (tokenize_to_train, tokenize))
    assert not found.folds
    assert all(
        np.array_equal(getattr(found, name), getattr(expected, name)) for name in ("train", "validation", "heldout")
    )


def test_the_content_alone_fixes_the_folds():
    first, again = (tokenize_to_train("alice", split_text(diary(5_000)), code_points) for _ in range(2))
    assert len(first.folds) == FOLDS
    for one, other in zip(first.folds, again.folds, strict=True):
        assert np.array_equal(one.train, other.train) and np.array_equal(one.windows, other.windows)


def test_sequences_begin_as_the_tokenizer_begins_a_text():
    found = tokenize_to_train("alice", split_text(diary(3_000)), lambda text: [1, 2, *code_points(text)])
    for fold in found.folds:
        assert (fold.windows[:, :2] == [1, 2]).all()
        assert not {1, 2} & set(fold.train.tolist())


def test_what_the_others_give_away_of_each_block_is_counted():
    assert tokenize_to_train("alice", split_text(diary(3_000)), code_points).repeats.share == 0
    repeats = tokenize_to_train("alice", split_text(diary(1_500) * 2), code_points).repeats
    assert repeats.validation == repeats.share > 0.9
    assert repeats.heldout == 0
    assert repeats.lines > 20


def test_a_text_of_too_few_tokens_says_how_much_is_needed():
    with pytest.raises(TooLittleText) as refusal:
        tokenize_to_train("alice", split_text(diary(2_000)), lambda text: [7] * (len(text) // 40))
    assert "The text of 'alice' has 50 tokens" in refusal.value.message
    assert "Give text like it of some" in refusal.value.remedy


def test_a_token_that_the_base_lacks_is_told_with_whose_text_it_is_in():
    def encode(text):
        if len(text) == 2_000:
            raise InvalidInput("The base has no embedding for token 9", remedy="Leave it out.")
        return code_points(text)

    with pytest.raises(TextError, match=r"The text of 'alice' cannot be read: .* token 9"):
        tokenize_to_train("alice", split_text(diary(2_000)), encode)
