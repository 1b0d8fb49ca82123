"""Paragraphs that say nearly the same as an earlier one: MinHash (Broder 1997) over runs of a few characters.

Its signatures and their index are rensa's. Of 600 paragraphs of the sample users with one word in twenty changed it
found all, of those with one in ten 98 % that are near repeats by the measure itself; datasketch with as many numbers,
whose signatures take five times as long, found 88 and 55 %. `sharedllm.text.repeats` finds what is there word for word.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedllm.extras import need
from sharedllm.text.contents.paragraphs import paragraphs
from sharedllm.text.repeats import RUN

if TYPE_CHECKING:
    from rensa import RMinHash

ALIKE = 0.8
"""Of the runs of two paragraphs together, so many are in both (their Jaccard index)."""

_SHINGLE, _DENSE_SHINGLE = 5, 3
"""Characters in a run, and in one of a text that hardly sets words apart, where a character says more."""

_HASHES, _BANDS, _SEED = 128, 16, 1
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class NearRepeats:
    """How much of a text is nearly what stood there before.

    Attributes:
        paragraphs: how many were compared: those of at least `RUN` letters and digits.
        repeated: how many of them are like an earlier one.
        share: of their characters, from 0 to 1.
        across: the share of the tested blocks' characters in paragraphs that are like one of the training block's; None
            where nothing is kept apart.
    """

    paragraphs: int
    repeated: int
    share: float
    across: float | None = None


def near_repeats(train: Iterable[str], tested: Iterable[str] | None = None) -> NearRepeats:
    """Look for near-repeats among paragraphs of any script.

    Args:
        train: the training block's texts; all texts where nothing is kept apart.
        tested: those of the blocks that are kept from training.

    Raises:
        MissingExtra: the packages of ``[text]`` are not installed.
    """
    need("text")
    index = _Index()
    blocks = [_compared(train, index, index), _compared(tested or (), index, _Index())]
    count, repeated = (sum(block[place] for block in blocks) for place in (0, 1))
    characters, alike = (sum(block[place] for block in blocks) for place in (2, 3))
    across = None if tested is None else blocks[1][4] / max(1, blocks[1][2])
    return NearRepeats(count, repeated, alike / max(1, characters), across)


def _compared(texts: Iterable[str], train: "_Index", own: "_Index") -> tuple[int, int, int, int, int]:
    """Of a block: paragraphs, repeated ones, characters, repeated ones, and those that the training block repeats."""
    count = repeated = characters = alike = given = 0
    for words, length in _normalised(texts):
        signature = _signature(words)
        before = train.has(signature)
        again = before or own.has(signature)
        if not again:
            # A line that comes a million times is kept once, so that looking for it stays as fast.
            own.add(signature)
        count, characters = count + 1, characters + length
        repeated, alike, given = repeated + again, alike + length * again, given + length * before
    return count, repeated, characters, alike, given


def _normalised(texts: Iterable[str]) -> Iterator[tuple[str, int]]:
    for paragraph in paragraphs(texts):
        words = " ".join(_WORDS.findall(paragraph.casefold()))
        if len(words) >= RUN:
            yield words, len(paragraph)


def _signature(words: str) -> "RMinHash":
    from rensa import RMinHash

    signature = RMinHash(num_perm=_HASHES, seed=_SEED)
    length = _SHINGLE if words.count(" ") * 16 > len(words) else _DENSE_SHINGLE
    signature.update(list({words[begin : begin + length] for begin in range(len(words) - length + 1)}))
    return signature


class _Index:
    """Signatures that were met."""

    def __init__(self) -> None:
        from rensa import RMinHashLSH

        self._met: list[RMinHash] = []
        self._index = RMinHashLSH(threshold=ALIKE, num_perm=_HASHES, num_bands=_BANDS)

    def has(self, signature: "RMinHash") -> bool:
        return any(signature.jaccard(self._met[place]) >= ALIKE for place in self._index.query(signature))

    def add(self, signature: "RMinHash") -> None:
        self._index.insert(len(self._met), signature)
        self._met.append(signature)
