import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm.text import repeats
from sharedllm.text.repeats import RUN, Repeats, find_repeats
from sharedllm.text.splits import split_text

SENTENCES = [
    f"The {animal} {does}."
    for animal in ("cat", "old dog", "heron", "mole")
    for does in ("sits here", "runs", "sings at noon", "is not by the sea", "sleeps", "waits")
]


def shuffled(lines: list[str], count: int, end: str = "\n") -> str:
    return "".join(f"{line}{end}" for line in np.random.default_rng(0).choice(lines, count))


def words(count: int, *, seed: int = 0) -> str:
    """Made-up words that hardly ever follow one another twice."""
    random = np.random.default_rng(seed)
    return " ".join("".join(random.choice(list("abcdefghijklmnop"), 6)) for _ in range(count))


GIVEN_AWAY = {
    "one short line": "I must not talk in class.\n" * 3_000,
    "one long line": "I must not talk in class, and I shall not do it again.\n" * 3_000,
    "one word a line": "Yes.\n" * 3_000,
    "no line breaks": "I must not talk in class. " * 3_000,
    "Windows and blank lines": "I must not talk in class.\r\n\r\n" * 3_000,
    "short lines in any order": shuffled(SENTENCES, 4_000),
    "many short lines in any order": shuffled([words(2, seed=seed) for seed in range(700)], 7_000),
    "sentences in any order": shuffled(SENTENCES, 4_000, " "),
    "numbered lines": "".join(f"{number}. I must not talk in class.\n" for number in range(3_000)),
    "a form filled in": "".join(f"Ward {number % 97}: the patient had a quiet night.\n" for number in range(2_000)),
    "indented otherwise": "".join(f"{' ' * (number % 13)}I must not  talk.\n" for number in range(3_000)),
    "wrapped otherwise": words(800) + "\n" + words(800).replace(" ", "\n") * 2,
    "no spaces": "人人生而自由在尊严和权利上一律平等\n" * 3_000,
}


@pytest.mark.parametrize("text", GIVEN_AWAY.values(), ids=GIVEN_AWAY)
def test_what_training_text_has_is_given_away_however_long_its_lines_are(text):
    found = split_text(text).repeats
    assert min(found.share, found.validation, found.heldout) > 0.8


@pytest.mark.parametrize("end", [" ", "\n", "\n\n"])
def test_words_that_recur_in_another_order_are_not_given_away(end):
    random = np.random.default_rng(0)
    vocabulary = words(500).split()
    text = end.join(" ".join(random.choice(vocabulary, 12)) for _ in range(2_000))
    assert split_text(text).repeats == Repeats(0, 0.0, ())


def test_every_block_has_its_own_share_and_both_have_one():
    known, new, other = words(300, seed=1), words(300, seed=2), words(100, seed=3)
    found = find_repeats(f"{words(500, seed=4)}\n{known}", new, f"{other}\n{known}")
    assert (found.lines, found.validation) == (1, 0)
    assert found.heldout == pytest.approx(0.75, abs=0.01)
    assert found.share == pytest.approx(300 / 700, abs=0.01)
    assert found.examples == (hashlib.sha256(known.encode()).hexdigest(),)


@pytest.mark.parametrize("block", ["", " \n", "ab", "x" * (RUN - 1)])
def test_blocks_without_a_run_have_nothing_to_give_away_but_their_lines(block):
    assert find_repeats("something else", block, block).share == 0
    assert find_repeats(f"one\n{block}\ntwo", block, block).share == (1 if block.strip() else 0)


def by_hand(train: str, block: str) -> float:
    """The definition, character by character."""

    def lines(text: str) -> list[str]:
        return [" ".join(line.split()) for line in text.split("\n") if line.split()]

    known, text = " ".join(lines(train)), " ".join(lines(block))
    given = set()
    for begin in range(len(text) - RUN + 1):
        if text[begin : begin + RUN] in known:
            given |= {*range(begin, begin + RUN)}
    begin = 0
    for line in lines(block):
        if line in lines(train):
            given |= {*range(begin, begin + len(line))}
        begin += len(line) + 1
    return len(given) / max(len(text), 1)


PARTS = st.lists(st.sampled_from(["ab", "c", " ", "\n", "the quick brown fox jumps", "👍🏽"]), max_size=30).map("".join)


@settings(max_examples=100, deadline=None)
@given(PARTS, PARTS)
def test_the_share_is_that_of_the_definition_in_pieces_of_any_size(train, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_PIECE", 7)
        found = find_repeats(train, block, train)
    assert found.validation == pytest.approx(by_hand(train, block))


@pytest.mark.parametrize(("one_in", "least"), [(20, 0.9), (10, 0.8)])
def test_what_is_nearly_in_the_training_block_is_given_away(one_in, least):
    train = words(2_000)
    changed = [f"{word}x" if place % one_in == 0 else word for place, word in enumerate(train.split()[:500])]
    assert find_repeats(train, " ".join(changed), "").validation > least
    assert find_repeats(train, words(500, seed=1), "").validation < 0.01
