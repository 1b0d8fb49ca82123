import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.errors import InvalidInput, TextError, TooLittleText
from sharedllm.text.passages import Passage
from sharedllm.text.splits import split_text
from sharedllm.text.windows import passage_ids, text_windows, tokenize, windows

DIARY = "".join(f"On day {number} nothing happened that is worth a line.\n" for number in range(2_000))


def code_points(text: str) -> list[int]:
    return [ord(character) for character in text]


def words(text: str) -> list[int]:
    return [len(word) for word in text.split()]


@given(st.lists(st.integers(0, 2**31), max_size=300), st.integers(1, 50))
def test_windows_are_the_ids_in_order_without_the_tail(ids, length):
    cut = windows(ids, length)
    assert cut.dtype == np.int64
    assert cut.shape == (len(ids) // length, length)
    assert cut.ravel().tolist() == ids[: cut.size]


def test_a_split_becomes_a_flat_array_and_windows():
    split = split_text(DIARY)
    text = tokenize("alice", split, code_points, window=32)
    assert text.train.dtype == np.int32
    assert text.train.tolist() == code_points(split.train)
    assert text.validation.shape == (len(split.validation) // 32, 32)
    assert text.heldout[0].tolist() == code_points(split.heldout[:32])
    assert (text.user, text.sha256, text.repeats) == ("alice", split.sha256, split.repeats)


def test_windows_begin_as_the_tokenizer_begins_a_text():
    split = split_text(DIARY)

    def opened(text: str) -> list[int]:
        return [1, 2, *code_points(text)]

    text = tokenize("alice", split, opened, window=32)
    assert text.opening == (1, 2)
    assert text.train.tolist() == code_points(split.train)
    assert text.validation.shape == (len(split.validation) // 30, 32)
    assert (text.validation[:, :2] == [1, 2]).all()
    assert text.heldout[:, 2:].ravel().tolist() == code_points(split.heldout)[: 30 * len(text.heldout)]
    assert np.array_equal(text_windows(split.heldout, opened, 32), text.heldout)


def test_a_token_that_the_base_does_not_have_is_told_with_whose_text_it_is_in():
    def encode(text: str) -> list[int]:
        if text:
            raise InvalidInput("The base has no embedding for token 9, which is 'x'", remedy="Leave it out.")
        return []

    with pytest.raises(TextError, match=r"The text of 'alice' cannot be read: .* token 9.*Leave it out"):
        tokenize("alice", split_text(DIARY), encode)


@pytest.mark.slow
def test_a_long_text_is_encoded_in_pieces_that_keep_its_lines():
    split = split_text(DIARY * 40)
    longest = 0

    def encode(piece: str) -> list[int]:
        nonlocal longest
        longest = max(longest, len(piece))
        return words(piece)

    text = tokenize("alice", split, encode)
    assert longest <= 1_000_000 < len(split.train)
    assert text.train.tolist() == words(split.train)


@pytest.mark.parametrize("characters", [2_000, 5_000, 20_000, 48_000])
def test_too_little_text_counts_in_tokens_and_what_it_asks_for_is_enough(characters):
    with pytest.raises(TooLittleText) as refusal:
        tokenize("alice", split_text(DIARY[:characters]), words)
    assert "The text of 'alice' has " in refusal.value.message
    assert "each takes at least 1,024" in refusal.value.message
    asked = re.fullmatch(
        r"Give about [\d,]+ tokens of text like it, some ([\d,]+) characters \([\d,]+ words of English\).",
        refusal.value.remedy,
    )
    assert asked is not None
    tokenize("alice", split_text(DIARY[: int(asked[1].replace(",", ""))]), words)


def test_the_minimum_follows_the_window():
    text = tokenize("alice", split_text(DIARY[:20_000]), words, window=32)
    assert len(text.validation) >= 4
    assert len(text.heldout) >= 4


def test_many_messages_in_a_row_are_joined_in_time_that_grows_as_they_do():
    said = [Passage("x" * 1_000, "other", begins=number == 0) for number in range(20_000)]
    began = time.process_time()
    ids = passage_ids(said, lambda text: [], 0, lambda turns: [len(turns), len(turns[0].text)])
    assert ids.tolist() == [1, 20_000 * 1_001 - 1]
    assert time.process_time() - began < 30
