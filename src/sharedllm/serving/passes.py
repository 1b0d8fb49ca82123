"""What a forward pass reads of whom, and who gets which of its logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_NEVER_SEEN = 0


@dataclass(frozen=True)
class Pass:
    """What one forward pass reads.

    Attributes:
        names: the requests, in the order of their tokens.
        lengths: tokens of each.
        ends: whether the pass reaches the end of what is known of each, so that a token can be drawn.
    """

    names: list[str]
    lengths: list[int]
    ends: list[bool]


Draw = Callable[[list[str], "torch.Tensor"], list[int]]
"""From the requests that draw and their logits, float ``[requests, vocabulary]``, to their tokens."""
Take = Callable[[int, "torch.Tensor"], None]
"""Takes logits of tokens that were given, float ``[tokens, vocabulary]``, from a place among them on."""


@dataclass(frozen=True, eq=False)
class _Asked:
    draws: bool
    places: range
    take: Take | None


class Wanted:
    """What is wanted of everybody's passes."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._asked: dict[str, _Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, name: str, *, draws: bool, places: range, take: Take | None) -> None:
        """Note what a request wants.

        Args:
            name: of the request.
            draws: whether it wants a token whenever it has been read to the end of what is known.
            places: of its tokens whose logits it wants; if it draws, they end with the one before the last.
            take: gets them.
        """
        self._asked[name] = _Asked(draws, places, take)

    def drop(self, name: str) -> None:
        """Forget a request."""
        self._asked.pop(name, None)

    def places(self, passed: Pass, totals: Sequence[int]) -> list[range]:
        """The places in each request of a pass whose logits are wanted, from how much of each is read after it."""
        kept = []
        for name, length, ends, total in zip(passed.names, passed.lengths, passed.ends, totals, strict=True):
            asked = self._asked[name]
            first, last = max(total - length, asked.places.start), min(total, asked.places.stop)
            if ends and asked.draws:
                kept.append(range(first if first < last else total - 1, total))
            else:
                kept.append(range(first, last))
        return kept

    def hand_out(self, passed: Pass, kept: Sequence[range], logits: "torch.Tensor") -> list[int]:
        """Hand out the logits of these places, one after the other in ``[tokens, vocabulary]``.

        Returns:
            A token for everyone who has been read to the end of what is known.
        """
        drawing, rows, row = [], [], 0
        for name, places, ends in zip(passed.names, kept, passed.ends, strict=True):
            asked = self._asked[name]
            draws = ends and asked.draws
            given = len(places) - draws
            if given and asked.take is not None:
                asked.take(places.start, logits[row : row + given])
            if draws:
                drawing.append(name)
                rows.append(row + given)
            row += len(places)
        # Mostly they are all of the logits, which are then not to be copied.
        drawn = iter(self._draw(drawing, logits if len(rows) == row else logits[rows]) if drawing else [])
        ended = [name for name, ends in zip(passed.names, passed.ends, strict=True) if ends]
        return [next(drawn) if self._asked[name].draws else _NEVER_SEEN for name in ended]
