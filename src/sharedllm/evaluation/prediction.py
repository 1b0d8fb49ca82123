"""How well people's words are foretold: the next word, keystrokes saved, and bits per character.

The unit of the first two is a word as people read it (`evaluation.words`), however many tokens it has. A model offers
the likeliest words that begin with what is typed of one, after all that stands before it in its window; spelling, case
and all have to be right. *Next-word accuracy* is the share of words that are the first, or among the first three,
before any letter is typed.

*Keystrokes saved* is ``(keys - keys with suggestions) / keys`` (Trnka and McCoy 2008, "Evaluating Word Prediction:
Framing Keystroke Savings", section 1), by a person who types without mistakes and takes the word as soon as it is
offered. Typing takes a keystroke for each character; a line break, and what a keyboard would have two keys pressed for,
is one as well. Suggestions are there before the first letter and after each. To take one is a keystroke, which also
writes the space behind the word where there is one. Where letters are no keystrokes, as in scripts whose characters an
input method composes, this measures nothing.

*Bits per character* are ``nats / (ln 2 * characters)``, of the characters that the predicted tokens stand for
(Graves 2013, section 3): perplexity that does not depend on how a tokenizer cuts a text.

Cost: one reading of the text for each row, and about ten tokens more for each word and row, all rows in one batch.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sharedllm.evaluation.perplexity import Losses, Windows
from sharedllm.evaluation.suggestions import MOST, NextLogits, Offered, Path, WordSpelling, WrittenWord, offered
from sharedllm.evaluation.words import without_spaces, words

Counts = npt.NDArray[np.int64]

_AT_ONCE = 96
"""Words that are searched for together: as many tokens in a pass, and what was read for them in memory."""


class TextReader(Protocol):
    """What reads texts, and what may follow a part of them, under several rows.

    Attributes:
        rows: how many.
    """

    rows: int

    def read(self, ids: Sequence[int]) -> npt.NDArray[np.floating[Any]]:
        """Read a text, which `after` refers to; logits of the token after each of its tokens.

        Returns:
            ``[rows, tokens, vocabulary]``.
        """
        ...

    def after(self, asked: Sequence[tuple[int, int, Path]]) -> npt.NDArray[np.floating[Any]]:
        """Logits of the token after a part of that text and some tokens more.

        Args:
            asked: of each, under which row, how many tokens of the text, and which come after these, at least one.

        Returns:
            ``[asked, vocabulary]``.
        """
        ...


@dataclass(frozen=True, eq=False)
class Predicted:
    """What one row foretold of each window.

    Attributes:
        words: that were to be foretold, int64 ``[windows]``.
        hits: of these, how many were among the first, the first two, … before any letter, int64 ``[windows, 3]``.
        keys: characters of these words and of what stands behind each up to the next, int64 ``[windows]``.
        typed: keystrokes with one suggestion, two, …, int64 ``[windows, 3]``.
        composed: of the words, how many are characters of scripts without spaces, int64 ``[windows]``.
    """

    words: Counts
    hits: Counts
    keys: Counts
    typed: Counts
    composed: Counts

    @property
    def types(self) -> bool:
        """Whether keystrokes mean anything: most of the words are written with letters."""
        return bool(2 * self.composed.sum() < self.words.sum())


@dataclass(frozen=True)
class Place:
    """A word of a window and where it is offered.

    Attributes:
        begin: how many tokens of the window come before.
        written: the word.
        behind: characters between it and the next.
        spaced: the first of these is a space.
    """

    begin: int
    written: WrittenWord
    behind: int
    spaced: bool

    def keystrokes(self, letters: int | None) -> int:
        """With a suggestion that is there after so many letters; None if there is none."""
        if letters is None:
            return len(self.written.word) + self.behind
        return letters + 1 + self.behind - self.spaced


def read_text(window: npt.NDArray[np.int64]) -> tuple[list[int], npt.NDArray[np.bool_]]:
    """The ids of a window, and which of them are somebody's own and predicted: the others stand as ``~id``."""
    own = window >= 0
    return np.where(own, window, ~window).tolist(), own


def characters(spelling: WordSpelling, windows: Windows, first: int) -> Counts:
    """Characters that each window's predicted tokens stand for, int64 ``[windows]``.

    Args:
        spelling: of the base.
        windows: int64 ``[n, window]``.
        first: tokens at the beginning of a window that are not predicted.
    """
    found = []
    for window in windows:
        ids, own = read_text(window)
        raw = spelling.raw([id for id, each in zip(ids[first:], own[first:], strict=True) if each])
        # Each character has one byte that does not continue another.
        found.append(sum(byte & 0xC0 != 0x80 for byte in raw))
    return np.array(found, np.int64)


def places(spelling: WordSpelling, window: npt.NDArray[np.int64], first: int) -> Iterator[Place]:
    """The words of a window that are to be foretold: whole ones, all of whose tokens are predicted.

    Args:
        spelling: of the base.
        window: int64 ``[tokens]``.
        first: tokens at its beginning that are not predicted.
    """
    ids, own = read_text(window)
    ends = np.cumsum([len(spelling.raw([id])) for id in ids]).tolist()
    starts = [0, *ends[:-1]]
    data = spelling.raw(ids)
    text = data.decode(errors="surrogateescape")
    at = np.cumsum([0, *(len(each.encode(errors="surrogateescape")) for each in text)]).tolist()
    for word, after in pairwise(words(text)):
        # The first may be the rest of a word, and the last one, which is no `word` here, the beginning of one.
        if not word.start:
            continue
        start, end = at[word.start], at[word.stop]
        # Tokens begin with the space before a word; one that ends with it gives away that no such token follows.
        begin = bisect_right(starts, start - (text[word.start - 1] == " ")) - 1
        last = bisect_right(starts, end - 1)
        if begin < max(first, 1) or not own[begin:last].all():
            continue
        whole = bisect_right(ends, end)
        behind = sum(own[bisect_right(starts, at[each]) - 1] for each in range(word.stop, after.start))
        written = WrittenWord(data[starts[begin] : start], text[word], tuple(ids[begin:whole]))
        yield Place(begin, written, int(behind), bool(behind) and text[word.stop] == " ")


def predict(
    reader: TextReader,
    spelling: WordSpelling,
    windows: Windows,
    *,
    first: int,
    on_window: Callable[[int], Any] | None = None,
) -> list[Predicted]:
    """Foretell the words of every window under every row.

    Args:
        reader: of the base's rows.
        spelling: of the base.
        windows: int64 ``[n, window]``.
        first: tokens at the beginning of a window that are not predicted.
        on_window: told when one is done.

    Returns:
        one a row, in their order.
    """
    rows, count = reader.rows, len(windows)
    numbers, keys, composed = (np.zeros(count, np.int64) for _ in range(3))
    hits, typed = (np.zeros((rows, count, MOST), np.int64) for _ in range(2))
    for number, window in enumerate(windows):
        found = list(places(spelling, window, first))
        numbers[number] = len(found)
        keys[number] = sum(place.keystrokes(None) for place in found)
        composed[number] = sum(without_spaces(place.written.word[0]) for place in found)
        for row, place, each in _offered(reader, spelling, read_text(window)[0], found):
            hits[row, number] += [each.first < most for most in range(1, MOST + 1)]
            typed[row, number] += [place.keystrokes(letters) for letters in each.letters]
        if on_window:
            on_window(1)
    return [Predicted(numbers, hits[row], keys, typed[row], composed) for row in range(rows)]


def _offered(
    reader: TextReader, spelling: WordSpelling, ids: list[int], found: Sequence[Place]
) -> Iterator[tuple[int, Place, Offered]]:
    """When each word is offered under each row; many are searched for at once, and read on for in one pass."""
    if not found:
        return
    known = reader.read(ids)
    waiting = ((row, place) for place in found for row in range(reader.rows))
    searches: list[tuple[int, Place, Generator[Path, NextLogits, Offered], Path]] = []
    while True:
        for row, place in islice(waiting, _AT_ONCE - len(searches)):
            search = offered(spelling, place.written)
            searches.append((row, place, search, next(search)))
        if not searches:
            return
        asked = []
        for row, place, search, wanted in searches:
            path = wanted
            try:
                # What the text itself goes on with is read already.
                while path == tuple(ids[place.begin : place.begin + len(path)]):
                    path = search.send(known[row, place.begin + len(path) - 1])
            except StopIteration as ended:
                yield row, place, ended.value
            else:
                asked.append((row, place, search, path))
        searches = []
        read: Any = reader.after([(row, place.begin, path) for row, place, _, path in asked]) if asked else []
        for (row, place, search, _), logits in zip(asked, read, strict=True):
            try:
                searches.append((row, place, search, search.send(logits)))
            except StopIteration as ended:
                yield row, place, ended.value


def bits_per_character(losses: Losses, characters: Counts) -> float:
    """``nats / (ln 2 * characters)`` over all windows.

    Args:
        losses: of the windows.
        characters: of each.
    """
    return float(losses.nats.sum() / (math.log(2) * characters.sum()))
