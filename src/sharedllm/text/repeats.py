"""What a training block gives away of a block that is kept from it: the share of it that stands in both."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RUN = 24
"""Characters in a row that count as a copy. Fewer are phrases that everybody has: of the sample novelist's unseen text
58 % stands in runs of 12 that training text has, 22 % in runs of 16, and 3 % in runs of 24; of the programmer's 17 %,
which is how programs are written."""

REPEATS_TOLD = 0.25
"""Share of a block given away by training text from which on people are told. The sample users have 3 % to 20 %; of a
hundred real people, half of the 25 authors of libraries have more, and 3 of the other 74."""

REPEATS_HELD_BACK = 0.5
"""Share of the validation block given away above which the gate holds back: most of what it reads was then trained on,
and an adapter that only remembers would pass. Of the hundred people one has more, who wrote by a template."""

_PIECE = 1 << 20
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Repeats:
    """What of the validation and held-out blocks the training block holds too, word for word.

    A character is given away if it stands in `RUN` characters in a row that the training block has, wherever its lines
    end and however its words are spaced, or in a whole line that it has, of whatever length.

    Attributes:
        lines: how many whole lines of the two blocks are given away, each occurrence counted.
        share: of the two blocks' characters, from 0 to 1; white space in a row is one character.
        examples: SHA-256, in hex, of the first three different lines: enough to find them, and no word is kept.
        validation: the share of the validation block alone, which the gate reads.
        heldout: the share of the held-out block alone, which reports are about.
    """

    lines: int
    share: float
    examples: tuple[str, ...]
    validation: float = 0.0
    heldout: float = 0.0


def find_repeats(train: str, validation: str, heldout: str) -> Repeats:
    """Look for the text of two blocks in the training block, in time that grows with the text alone."""
    known = set(_lines(train))
    blocks = [_Block(block, known) for block in (validation, heldout)]
    for piece in _pieces(" ".join(_lines(train))):
        for block in blocks:
            block.look_in(piece)
    given = [block.given_away() for block in blocks]
    lengths = [len(block.text) for block in blocks]
    repeated = [line for block in blocks for line in block.repeated]
    examples = tuple(hashlib.sha256(line.encode()).hexdigest() for line in list(dict.fromkeys(repeated))[:3])
    shares = [part / max(length, 1) for part, length in zip(given, lengths, strict=True)]
    return Repeats(len(repeated), sum(given) / max(sum(lengths), 1), examples, *shares)


def flattering(repeats: Repeats) -> bool:
    """Whether training text gives away so much of either block that people are to be told."""
    return max(repeats.validation, repeats.heldout) >= REPEATS_TOLD


def given_away_in_words(repeats: Repeats) -> str:
    """What is to be told of them."""
    heldout = f" and {repeats.heldout:.0%} of the held-out text" if repeats.heldout else ""
    return (
        f"{repeats.validation:.0%} of the validation text{heldout} also occur{'' if heldout else 's'} in the training"
        " text, which flatters the figures"
    )


class _Block:
    """A block that is looked for, piece by piece of the training block."""

    def __init__(self, block: str, known: set[str]) -> None:
        lines = list(_lines(block))
        self.text = " ".join(lines)
        self.repeated = [line for line in lines if line in known]
        # A change of how many copies cover a character, at the character; one more place for the ends.
        self._changes = np.zeros(len(self.text) + 1, np.int64)
        begin = 0
        for line in lines:
            if line in known:
                self._changes[begin] += 1
                self._changes[begin + len(line)] -= 1
            begin += len(line) + 1
        self._runs, self._run_of = np.unique(_hashes(self.text), return_inverse=True)
        self._found = np.zeros(len(self._runs), bool)

    def look_in(self, piece: Hashes) -> None:
        if len(self._runs):
            at = np.minimum(np.searchsorted(self._runs, piece), len(self._runs) - 1)
            self._found[at[self._runs[at] == piece]] = True

    def given_away(self) -> int:
        """How many characters are covered by anything that was found."""
        begins = np.flatnonzero(self._found[self._run_of])
        np.add.at(self._changes, begins, 1)
        np.add.at(self._changes, begins + RUN, -1)
        return int((np.cumsum(self._changes[:-1]) > 0).sum())


def _lines(block: str) -> Iterator[str]:
    """Lines with something on them, their words set apart by one space."""
    return (" ".join(words) for line in block.split("\n") if (words := line.split()))


def _pieces(text: str) -> Iterator[Hashes]:
    """Hashes of every run of a text, a piece of it at a time, each piece's sorted."""
    for begin in range(0, len(text), _PIECE):
        yield np.sort(_hashes(text[begin : begin + _PIECE + RUN - 1]))


def runs(text: str) -> Hashes:
    """A hash of every run of a text, white space in a row being one space, as `find_repeats` compares them."""
    return _hashes(" ".join(_lines(text)))


def _hashes(text: str) -> Hashes:
    """A hash of every `RUN` characters in a row, uint64 ``[max(0, characters - RUN + 1)]``."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    count = max(0, len(points) - RUN + 1)
    hashes = np.zeros(count, np.uint64)
    for place in range(RUN):
        hashes *= _MULTIPLIER
        hashes += points[place : place + count]
    return hashes
