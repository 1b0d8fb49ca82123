"""Which words are offered: searched best first, and found by trying everything."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from sharedllm.evaluation.suggestions import MOST, WordSpelling, WrittenWord, offered
from sharedllm.evaluation.words import word_at

TOKENS = ["<end>", " ", "a", "b", " a", " b", "ab", " ab", "'", ".", "a.", "我", "爱我", b"\xe7\x88", b"\xb1", "\u0301"]
RAW = [each if isinstance(each, bytes) else each.encode() for each in TOKENS]
LONGEST = 5


@pytest.fixture(scope="module")
def spelling():
    tokens = SimpleNamespace(rows=len(RAW), controls={"<end>": 0})
    return WordSpelling(tokens, SimpleNamespace(raw=lambda id: RAW[id]))


def logits_after(path, seed):
    return np.random.default_rng([seed, *path]).normal(0, 2.5, len(RAW))


def log_probabilities(path, seed):
    logits = logits_after(path, seed)
    return logits - np.log(np.exp(logits).sum())


def every_word(gap, seed):
    """Each word that comes within a few tokens, its probability by its likeliest spelling, and the most left out."""
    found, left = {}, -math.inf
    paths = [((), 0.0)]
    for _ in range(LONGEST):
        longer = []
        for path, likelihood in paths:
            endings = {}
            for id, each in enumerate(log_probabilities(path, seed)):
                if id == 0:
                    continue
                raw = b"".join(RAW[each] for each in (*path, id))
                if raw[: len(gap)] != gap[: len(raw)]:
                    continue
                try:
                    text = raw[len(gap) :].decode()
                except UnicodeDecodeError as error:
                    if error.end < len(raw) - len(gap) or "unexpected end" not in error.reason:
                        continue
                    text = raw[len(gap) : len(gap) + error.start].decode()
                size, certain = word_at(text)
                if certain and size:
                    endings.setdefault(text[:size], []).append(each)
                elif not certain:
                    longer.append(((*path, id), likelihood + each))
            for word, each in endings.items():
                found[word] = max(found.get(word, -math.inf), likelihood + np.log(np.exp(each).sum()))
        paths = longer
    left = max((likelihood for _, likelihood in paths), default=-math.inf)
    return found, left


def run(search, seed):
    asked = []
    try:
        path = next(search)
        while True:
            asked.append(path)
            path = search.send(logits_after(path, seed))
    except StopIteration as ended:
        return ended.value, asked


def spell(gap, word):
    """The first way to spell a word after its gap."""
    whole = gap + word.encode()
    for length in range(1, 5):
        for path in itertools.product(range(1, len(RAW)), repeat=length):
            if b"".join(RAW[id] for id in path) == whole:
                return path
    raise AssertionError(word)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("gap", "word"), [(b" ", "a"), (b" ", "ab"), (b"", "b"), (b"", "aba"), (b"", "我"), (b" ", "爱")]
)
def test_a_word_is_offered_exactly_when_it_is_among_the_likeliest_of_all(spelling, gap, word, seed):
    every, left = every_word(gap, seed)
    found, asked = run(offered(spelling, WrittenWord(gap, word, spell(gap, word))), seed)
    assert len(asked) == len(set(asked)), "nothing is read twice"
    known = max(every[word], left)
    for count, letters in enumerate(found.letters, 1):
        for typed in range(len(word) if letters is None else letters + 1):
            others = [each for each in every if each != word and each.startswith(word[:typed])]
            likelier = sum(every[each] > known for each in others)
            ties = sum(every[each] > every[word] for each in others)
            # Words of more tokens than were tried are less likely than `left`, so that most cases are certain.
            if typed == letters:
                assert likelier < count
            else:
                assert ties >= count or left > every[word]
    likelier = sum(each > every[word] for other, each in every.items() if other != word)
    if left <= every[word]:
        assert found.first == min(likelier, MOST)


def test_a_sure_model_needs_no_letter_and_a_wrong_one_all_of_them(spelling):
    def answer(sure):
        search = offered(spelling, WrittenWord(b" ", "ab", (TOKENS.index(" ab"),)))
        try:
            path = next(search)
            while True:
                logits = np.full(len(RAW), -20.0)
                logits[TOKENS.index(sure) if not path else TOKENS.index(".")] = 20
                path = search.send(logits)
        except StopIteration as ended:
            return ended.value

    assert answer(" ab").letters == (0, 0, 0)
    assert answer(" ab").first == 0
    assert answer(" b").letters == (1, 0, 0)
    assert answer(" b").first == 1
