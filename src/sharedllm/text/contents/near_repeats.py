"""Paragraphs that say nearly the same as an earlier one: MinHash (Broder 1997) over runs of a few characters.

Its signatures and their index are rensa's. Of 600 paragraphs of the sample users with one word in twenty changed it
found all, of those with one in ten 98 % that are near repeats by the measure itself; datasketch with as many numbers,
whose signatures take five times as long, found 88 and 55 %. What a training block gives away of the blocks that test it
is counted by `sharedllm.text.repeats`, and nowhere else.
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
    """

    paragraphs: int
    repeated: int
    share: float


def near_repeats(texts: Iterable[str]) -> NearRepeats:
    """Look for near-repeats among paragraphs of any script.

    Raises:
        MissingExtra: the packages of ``[text]`` are not installed.
    """
    need("text")
    index = _Index()
    count = repeated = characters = alike = 0
    for words, length in _normalised(texts):
        signature = _signature(words)
        again = index.has(signature)
        if not again:
            # A line that comes a million times is kept once, so that looking for it stays as fast.
            index.add(signature)
        count, characters = count + 1, characters + length
        repeated, alike = repeated + again, alike + length * again
    return NearRepeats(count, repeated, alike / max(1, characters))


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
