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
"""From the requests that draw and their logits, float ``[requests, vocabulary]``, to their tokens; all or none."""
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

    def hand_out(
        self, passed: Pass, kept: Sequence[range], logits: "torch.Tensor", failed: dict[str, Exception]
    ) -> list[int]:
        """Hand out the logits of these places, one after the other in ``[tokens, vocabulary]``.

        Args:
            passed: what was read.
            kept: see `places`.
            logits: of these.
            failed: requests that get none, and why; whoever can do nothing with theirs is added.

        Returns:
            A token for everyone who has been read to the end of what is known.
        """
        drawing, rows, row = [], [], 0
        for name, places, ends in zip(passed.names, kept, passed.ends, strict=True):
            asked = self._asked[name]
            draws = ends and asked.draws
            given = len(places) - draws
            if given and asked.take is not None and name not in failed:
                try:
                    asked.take(places.start, logits[row : row + given])
                except Exception as error:
                    failed[name] = error
            if draws and name not in failed:
                drawing.append(name)
                rows.append(row + given)
            row += len(places)
        # Mostly they are all of the logits, which are then not to be copied.
        drawn = self._drawn(drawing, logits if len(rows) == row else logits[rows], failed) if drawing else []
        tokens = dict(zip(drawing, drawn, strict=True))
        return [tokens.get(name, _NEVER_SEEN) for name, ends in zip(passed.names, passed.ends, strict=True) if ends]

    def _drawn(self, names: list[str], logits: "torch.Tensor", failed: dict[str, Exception]) -> list[int]:
        try:
            return self._draw(names, logits)
        except Exception as error:
            if len(names) == 1:
                failed[names[0]] = error
                return [_NEVER_SEEN]
        return [self._drawn([name], logits[row : row + 1], failed)[0] for row, name in enumerate(names)]
