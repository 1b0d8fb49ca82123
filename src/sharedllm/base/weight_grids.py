"""Weights that were rounded once, as a quantised file has them: in every few inputs of an output they lie on a grid.

Whoever reads the grid instead of the numbers reads a quarter or less, and loses nothing. It is found from the numbers
themselves, and believed where it gives them back to the bit. The kinds are those of llama.cpp's files with one step a
block (ggml's ``quantize_row_q4_0_ref`` and the like): Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
"""

from dataclasses import dataclass

import torch

BLOCK = 32
"""Inputs that share a grid."""

_TOGETHER = 256
"""Outputs that are looked at together: mostly the first ones tell, and nothing of a weight's own size is made."""


@dataclass(frozen=True)
class _Kind:
    """How a block's grid lies.

    Attributes:
        highest: level.
        zero: the level of zero; None where the lowest and the highest are the block's smallest and largest number.
        furthest: how many levels beyond that of zero the number is that is furthest from it; one on either side of zero
            where this is positive.
    """

    highest: int
    zero: int | None = None
    furthest: int = 0

    def grid(self, blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Steps and lowest numbers ``[out, blocks]`` of blocks ``[out, blocks, BLOCK]``, if they are of this kind."""
        if self.zero is None:
            lowest = _as_in_files(blocks.amin(-1))
            return _as_in_files((blocks.amax(-1) - lowest) / self.highest), lowest
        furthest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))[..., 0]
        steps = _as_in_files((furthest.abs() if self.furthest > 0 else furthest) / self.furthest)
        return steps, -self.zero * steps


_KINDS = (_Kind(15), _Kind(15, 8, -8), _Kind(255, 128, 127), _Kind(31), _Kind(31, 16, -16))


@dataclass(frozen=True, eq=False)
class Grids:
    """A weight ``[out, in]`` as what its numbers are on grids: ``lowest + level * step``, without rounding.

    Attributes:
        levels: uint8 ``[out, in]``.
        steps: float32 ``[out, in / BLOCK]``.
        lowest: float32 ``[out, in / BLOCK]``.
        bits: that a level takes, 4 or 8.
        zero: the level of zero, where all blocks have the same.
    """

    levels: torch.Tensor
    steps: torch.Tensor
    lowest: torch.Tensor
    bits: int
    zero: int | None

    @property
    def weight(self) -> torch.Tensor:
        """The weight in float32, each zero with its sign: of a negative step it is a negative one."""
        blocks, steps = self.levels.view(*self.steps.shape, BLOCK), self.steps[..., None]
        if self.zero is None:
            return (blocks * steps + self.lowest[..., None]).view(self.levels.shape)
        return ((blocks.float() - self.zero) * steps).view(self.levels.shape)


def grids_of(weight: torch.Tensor, added: torch.Tensor | None = None) -> Grids | None:
    """The grids on which a weight's numbers lie; None where they lie on none.

    Args:
        weight: ``[out, in]``.
        added: float32 ``[out, in]``, what was added to numbers on grids, and rounded to float32, for this weight.
    """
    if weight.dtype != torch.float32 or weight.dim() != 2 or weight.shape[1] % BLOCK or not weight.numel():
        return None
    return next(filter(None, (_of_kind(kind, weight, added) for kind in _KINDS)), None)


def _of_kind(kind: _Kind, weight: torch.Tensor, added: torch.Tensor | None) -> Grids | None:
    parts = []
    for begin in range(0, len(weight), _TOGETHER):
        own = weight[begin : begin + _TOGETHER]
        more = None if added is None else added[begin : begin + _TOGETHER]
        blocks = (own if more is None else own - more).reshape(len(own), -1, BLOCK)
        steps, lowest = kind.grid(blocks)
        # What is no number gets a level that does not give it back.
        flat = steps[..., None] == 0
        levels = (blocks - lowest[..., None]) / steps[..., None].where(~flat, 1.0)
        # Of a block of zeros, the level whose zeros have the sign that the file's have.
        levels = (
            levels.round_().clamp_(0, kind.highest).masked_fill_(flat, (kind.zero or 0) if kind.furthest > 0 else 0)
        )
        bits = 4 if kind.highest < 16 else 8
        found = Grids(levels.to(torch.uint8).view(own.shape), steps, lowest, bits, kind.zero)
        if not _are_the_same_bits(found.weight if more is None else found.weight + more, own):
            return None
        parts.append(found)
    return Grids(
        torch.cat([part.levels for part in parts]),
        torch.cat([part.steps for part in parts]),
        torch.cat([part.lowest for part in parts]),
        parts[0].bits,
        kind.zero,
    )


def _are_the_same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.view(torch.int32), other.contiguous().view(torch.int32))


def _as_in_files(numbers: torch.Tensor) -> torch.Tensor:
    """Rounded to what the files have them in."""
    return numbers.half().float()
