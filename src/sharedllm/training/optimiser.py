"""AdamW over the rows of a table, each row on its own clock."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedllm.training.recipes import Recipe

if TYPE_CHECKING:
    import torch

_EPSILON = 1e-8


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

    def update(self, rows: list[int], gradient: "torch.Tensor", steps: list[int], recipe: Recipe) -> None:
        """One AdamW step of the named rows, in place.

        Args:
            rows: which rows.
            gradient: float ``[len(rows), P]``.
            steps: how many steps each of them has behind it.
            recipe: rate, betas and decay.
        """
        import torch

        def column(numbers: list[float]) -> "torch.Tensor":
            return torch.tensor(numbers, device=gradient.device, dtype=gradient.dtype).unsqueeze(1)

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
