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
        """One AdamW step (Loshchilov and Hutter 2019, algorithm 2) of the named rows, in place.

        Args:
            rows: which rows.
            gradient: float ``[len(rows), P]``.
            steps: how many steps each of them has behind it.
            recipe: rate, betas and decay.
        """
        import torch

        def column(numbers: list[float]) -> "torch.Tensor":
            return torch.tensor(numbers, device=gradient.device, dtype=gradient.dtype).unsqueeze(1)

        rate = column([recipe.rate(step) for step in steps])
        mean = self.mean[rows].lerp_(gradient, 1 - recipe.beta1)
        square = self.square[rows].mul_(recipe.beta2).addcmul_(gradient, gradient, value=1 - recipe.beta2)
        unbiased_mean = mean / column([1 - recipe.beta1 ** (step + 1) for step in steps])
        unbiased_square = square / column([1 - recipe.beta2 ** (step + 1) for step in steps])
        move = unbiased_mean / (unbiased_square.sqrt() + _EPSILON)
        self.values[rows] = self.values[rows] * (1 - rate * recipe.weight_decay) - rate * move
        self.mean[rows] = mean
        self.square[rows] = square
