"""A step of the rows of a table, each row on its own clock: by AdamW, or along the natural gradient.

Of a little text AdamW follows every number as far as every other, since it divides a gradient by its own size, and what
is noise in a few windows is followed like what is not. Along the natural gradient (Amari 1998) a number moves by its
gradient over its curvature, which is the base's and so need not be told from those few windows: `training.curvature`.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedllm.training.recipes import Recipe

if TYPE_CHECKING:
    import torch

_EPSILON = 1e-8
_SHORTEST = 1e-12


@dataclass(frozen=True, eq=False)
class RowState:
    """Parameters and moments of several users, a row each: float32 ``[rows, P]`` throughout.

    torch's AdamW keeps one step count per tensor; users who join and leave a running batch need one per row.
    """

    values: "torch.Tensor"
    mean: "torch.Tensor"
    square: "torch.Tensor"

    @staticmethod
    def zeros(rows: int, size: int, device: "torch.device", dtype: "torch.dtype") -> "RowState":
        """Rows that are still the base."""
        import torch

        return RowState(*(torch.zeros(rows, size, device=device, dtype=dtype) for _ in range(3)))

    def update(
        self,
        rows: list[int],
        gradient: "torch.Tensor",
        steps: list[int],
        recipe: Recipe,
        curvature: "torch.Tensor | None" = None,
    ) -> None:
        """One step of the named rows, in place.

        Args:
            rows: which rows.
            gradient: float ``[len(rows), P]``.
            steps: how many steps each of them has behind it.
            recipe: optimiser, rate, betas and decay.
            curvature: ``[P]`` above 0, which the natural gradient takes.
        """
        import torch

        def column(numbers: list[float]) -> "torch.Tensor":
            return torch.tensor(numbers, device=gradient.device, dtype=gradient.dtype).unsqueeze(1)

        if curvature is not None:
            # Heavy-ball momentum (Polyak 1964) of the natural gradient, in the place of AdamW's first moment.
            rate = column([recipe.rate(step) for step in steps])
            self.mean[rows] = recipe.beta1 * self.mean[rows] + gradient / curvature
            self.values[rows] -= rate * (self.mean[rows] + recipe.weight_decay * self.values[rows])
            return
        self.values[rows], self.mean[rows], self.square[rows] = adamw(
            (self.values[rows], self.mean[rows], self.square[rows]),
            gradient,
            rate=column([recipe.rate(step) for step in steps]),
            betas=(recipe.beta1, recipe.beta2),
            unbiased=(
                column([1 - recipe.beta1 ** (step + 1) for step in steps]),
                column([1 - recipe.beta2 ** (step + 1) for step in steps]),
            ),
            decay=recipe.weight_decay,
        )


def adamw(
    state: "tuple[torch.Tensor, torch.Tensor, torch.Tensor]",
    gradient: "torch.Tensor",
    *,
    rate: "float | torch.Tensor",
    betas: tuple[float, float],
    unbiased: "tuple[float, float] | tuple[torch.Tensor, torch.Tensor]",
    decay: float,
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """One AdamW step (Loshchilov and Hutter 2019, algorithm 2).

    Args:
        state: values, means and squares, float tensors of one shape, which are left as they are.
        gradient: of that shape.
        rate: the step's; like ``unbiased`` a number, or what broadcasts against the values.
        betas: the averaging of means and squares.
        unbiased: what each of the two is divided by, ``1 - beta ** steps`` with this step among them.
        decay: decoupled, of the values.

    Returns:
        the new state.
    """
    values, mean, square = state
    mean = mean.lerp(gradient, 1 - betas[0])
    square = (square * betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    move = (mean / unbiased[0]) / ((square / unbiased[1]).sqrt() + _EPSILON)
    return values * (1 - rate * decay) - rate * move, mean, square


def clipped(gradient: "torch.Tensor", bound: float) -> "torch.Tensor":
    """A gradient, shortened to a norm of ``bound`` if it is longer; nothing but nan if it has no finite norm.

    A sum of such gradients is finite only if each of them was.
    """
    norm = float(gradient.norm())
    return gradient * (min(1.0, bound / max(norm, _SHORTEST)) if math.isfinite(norm) else math.nan)
