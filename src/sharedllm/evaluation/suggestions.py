"""Which words a model offers at a place of a text, after some of their letters: the likeliest, found exactly.

A word is spelled by several tokens, and it has ended only when something comes that does not continue it. Its
probability is that of its likeliest spelling times that of all that ends it there. Spellings are searched best first
(Hart, Nilsson and Raphael 1968, without a heuristic): a spelling is never likelier than its beginning, so what is taken
from the queue comes in the order of its probability. Whether the word that was written is among the first few needs
nothing that is less likely than it, and that is known from the text itself.
"""

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from sharedllm.base.loading import Base
from sharedllm.base.tokens import Tokens, Vocabulary
from sharedllm.evaluation.words import APOSTROPHES, in_word, without_spaces, word_at

MOST = 3
"""Suggestions that are looked for."""

LOOKS = 64
"""Beginnings of words that are read on from for one list of suggestions; what takes more is not offered."""

Path = tuple[int, ...]
"""Tokens after the context."""

NextLogits = npt.NDArray[np.floating[Any]]
"""Of the token after a path, ``[vocabulary]``."""

_CONTINUATION = (b"\x80", b"\xc0")
_WITHOUT_SPACES, _LETTER = "\u4e00", "a"


@dataclass(frozen=True)
class WrittenWord:
    """A word of a text, at the place where it is to be offered.

    Attributes:
        gap: what lies between the context and the word, in bytes: mostly the space before it, which tokens begin with.
        word: what was written.
        path: the text's own tokens from the context on, up to the one with the word's last character.
    """

    gap: bytes
    word: str
    path: Path


@dataclass(frozen=True)
class Offered:
    """When a word that was written was among the words offered.

    Attributes:
        first: how many words are likelier at its beginning, before any letter; `MOST` stands for that and more.
        letters: by how many suggestions there are, 1 to `MOST`, after how many letters it is one of them; None if only
            once all of them are typed.
    """

    first: int
    letters: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class _Continuations:
    """What each token makes of the beginning of a word.

    Attributes:
        open: ids that leave open what the word is.
        ending: ids with which it is certain.
        group: of each of these, the number of its ending.
        endings: by number, how many characters are dropped of what there is of the word (an apostrophe that turns out
            to be a quotation mark) and what is added to it.
        numbers: of the endings.
    """

    open: npt.NDArray[np.int64]
    ending: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    endings: Sequence[tuple[int, str]]
    numbers: dict[tuple[int, str], int]


class WordSpelling:
    """How the tokens of a base spell words. Control tokens spell none."""

    def __init__(self, tokens: Tokens, vocabulary: Vocabulary) -> None:
        self._rows, self._vocabulary = tokens.rows, vocabulary
        self._controls = frozenset(tokens.controls.values())
        self._known: dict[tuple[str, bytes, bytes, bytes], _Continuations] = {}

    def raw(self, ids: Sequence[int]) -> bytes:
        """The bytes that tokens add to a text; none of control tokens."""
        return b"".join(self._vocabulary.raw(id) for id in ids if id not in self._controls)

    @cached_property
    def _in_order(self) -> tuple[list[bytes], list[int]]:
        """The bytes of all tokens that have some, sorted, and the tokens' ids."""
        found = sorted((raw, id) for id in range(self._rows) if (raw := self.raw([id])))
        return [raw for raw, _ in found], [id for _, id in found]

    def continuations(self, gap: bytes, raw: bytes, typed: bytes) -> _Continuations:
        """What each token makes of a word of which there are ``raw`` bytes, the gap before it included.

        Args:
            gap: before the word.
            raw: what there is.
            typed: what it must begin with, the gap included.
        """
        missing, lacking = typed[len(raw) :], gap[len(raw) :]
        text, pending = _decoded(raw[len(gap) :]) or ("", b"")
        # Beginnings that go on alike are one case; as long as something is missing, that is part of it.
        kind = text if missing else _kind(text)
        key = kind, pending, lacking, missing
        if key not in self._known:
            self._known[key] = self._continuations(*key)
        return self._known[key]

    def _continuations(self, kind: str, pending: bytes, lacking: bytes, missing: bytes) -> _Continuations:
        open, ending, group = [], [], []
        numbers: dict[tuple[int, str], int] = {}
        for id in self._beginning(missing) if missing else self._anything(pending):
            added = self._vocabulary.raw(id)
            decoded = _decoded(pending + added[len(lacking) :]) if len(added) >= len(lacking) else ("", b"")
            if decoded is None:
                continue
            text = kind + decoded[0]
            length, certain = word_at(text)
            if certain and length:
                ended = max(0, len(kind) - length), text[len(kind) : length]
                ending.append(id)
                group.append(numbers.setdefault(ended, len(numbers)))
            elif not certain:
                open.append(id)
        opened, ended_with, grouped = (np.array(each, np.int64) for each in (open, ending, group))
        return _Continuations(opened, ended_with, grouped, list(numbers), numbers)

    def _beginning(self, missing: bytes) -> list[int]:
        """Tokens that begin with what is missing, or are a part of it."""
        shorter = (missing[:length] for length in range(1, len(missing)))
        found = [id for each in shorter for id in self._between(each, each + b"\0")]
        return found + self._between(missing, _after(missing))

    def _anything(self, pending: bytes) -> Sequence[int]:
        """Tokens that can come next: after part of a character, those that go on with it."""
        return self._between(*_CONTINUATION) if pending else self._in_order[1]

    def _between(self, first: bytes, last: bytes | None) -> list[int]:
        raws, ids = self._in_order
        end = len(raws) if last is None else bisect_left(raws, last)
        return ids[bisect_left(raws, first) : end]


_spelling: "WeakKeyDictionary[Any, WordSpelling]" = WeakKeyDictionary()


def spelling_of(base: Base) -> WordSpelling:
    """How a base's tokens spell words; made once for a base, since it looks at every token."""
    if base.model not in _spelling:
        _spelling[base.model] = WordSpelling(base.tokens, Vocabulary(base.tokenizer))
    return _spelling[base.model]


class _Search:
    """Suggestions at one place of a text. What was read once is kept for more letters."""

    def __init__(self, spelling: WordSpelling, written: WrittenWord) -> None:
        self._spelling, self._written = spelling, written
        self._read: dict[Path, tuple[NextLogits, float]] = {}

    def offered(self) -> Generator[Path, NextLogits, Offered]:
        """Say when the word is offered; gives paths and is sent the logits after them, each once."""
        least = yield from self._likelihood()
        first = MOST
        letters: list[int | None] = [None] * MOST
        for typed in range(len(self._written.word)):
            likelier = yield from self._likelier(self._written.word[:typed], least)
            if not typed:
                first = likelier
            letters = [typed if known is None and likelier < count else known for count, known in enumerate(letters, 1)]
            if letters[0] is not None:
                break
        return Offered(first, tuple(letters))

    def _likelihood(self) -> Generator[Path, NextLogits, float]:
        """Log-probability of the word, spelled as the text spells it."""
        gap, found, so_far = self._written.gap, -np.inf, 0.0
        for length in range(len(self._written.path) + 1):
            path = self._written.path[:length]
            logits, total = yield from self._logits(path)
            raw = self._spelling.raw(path)
            text, _ = _decoded(raw[len(gap) :]) or ("", b"")
            then = self._spelling.continuations(gap, raw, gap)
            number = then.numbers.get((0, self._written.word[len(text) :]))
            if number is not None:
                found = max(found, so_far + _log_sum(logits[then.ending[then.group == number]]) - total)
            if length < len(self._written.path):
                so_far += float(logits[self._written.path[length]]) - total
        return float(found)

    def _likelier(self, typed: str, least: float) -> Generator[Path, NextLogits, int]:
        """How many words that begin so are likelier than the one written, up to `MOST`."""
        beginning = self._written.gap + typed.encode()
        order = itertools.count()
        queue: list[tuple[float, int, str | None, Path]] = [(0.0, next(order), None, ())]
        better: set[str] = set()
        looks = 0
        while queue and len(better) < MOST:
            unlikely, _, word, path = heapq.heappop(queue)
            if word == self._written.word:
                break
            if word is not None:
                better.add(word)
                continue
            if looks == LOOKS:
                return MOST
            looks += 1
            found = yield from self._after(path, -unlikely, beginning, typed, least)
            for likelihood, ended, longer in found:
                heapq.heappush(queue, (-likelihood, next(order), ended, longer))
        return len(better)

    def _after(
        self, path: Path, likelihood: float, beginning: bytes, typed: str, least: float
    ) -> Generator[Path, NextLogits, list[tuple[float, str | None, Path]]]:
        """Words and longer beginnings after one that are likelier than the word written."""
        logits, total = yield from self._logits(path)
        raw, gap = self._spelling.raw(path), self._written.gap
        text, _ = _decoded(raw[len(gap) :]) or ("", b"")
        then = self._spelling.continuations(gap, raw, beginning)
        found: list[tuple[float, str | None, Path]] = []
        if len(then.ending):
            with np.errstate(divide="ignore"):
                masses = np.log(np.bincount(then.group, np.exp(logits[then.ending].astype(np.float64) - total)))
            for number in _largest(masses, least - likelihood, MOST + 1):
                dropped, added = then.endings[number]
                word = text[: len(text) - dropped] + added
                if word.startswith(typed):
                    found.append((likelihood + float(masses[number]), word, path))
        each = logits[then.open].astype(np.float64) - total
        for number in _largest(each, least - likelihood, LOOKS):
            found.append((likelihood + float(each[number]), None, (*path, int(then.open[number]))))
        return found

    def _logits(self, path: Path) -> Generator[Path, NextLogits, tuple[NextLogits, float]]:
        if path not in self._read:
            logits = yield path
            self._read[path] = logits, _log_sum(logits)
        return self._read[path]


def offered(spelling: WordSpelling, written: WrittenWord) -> Generator[Path, NextLogits, Offered]:
    """Say when a word that was written is among the words offered.

    It gives paths, each a few tokens after the context, and is to be sent the logits of the token after each.

    Args:
        spelling: of the base.
        written: the word and where.
    """
    return _Search(spelling, written).offered()


def _decoded(raw: bytes) -> tuple[str, bytes] | None:
    """The characters of these bytes and the beginning of one more; None if they are not UTF-8."""
    try:
        return raw.decode(), b""
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        return raw[: error.start].decode(), raw[error.start :]


def _kind(text: str) -> str:
    """What stands for every beginning of a word that goes on like this one."""
    if not text:
        return ""
    if text[-1] in APOSTROPHES:
        return _LETTER + text[-1]
    if in_word(text[-1]):
        return _WITHOUT_SPACES if without_spaces(text[0]) else _LETTER
    return text


def _after(beginning: bytes) -> bytes | None:
    """The first bytes that come after all that begin so."""
    kept = beginning.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


def _largest(values: npt.NDArray[np.float64], above: float, count: int) -> npt.NDArray[np.int64]:
    """Where the largest values are, at most so many and all above a bound."""
    found = np.flatnonzero(values > above)
    if len(found) > count:
        found = found[np.argpartition(values[found], -count)[-count:]]
    return found


def _log_sum(logits: NextLogits) -> float:
    """Logarithm of the sum of the exponentials."""
    wide = logits.astype(np.float64)
    most = wide.max()
    return float(most + np.log(np.exp(wide - most).sum()))
