"""Gradients of many rows in one pass.

A row touches its own sequences alone, so the gradient of the sum of all losses with respect to it is its own.
"""

from typing import TYPE_CHECKING

from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.evaluation.likelihood import ids_of, mean_losses, window_losses

if TYPE_CHECKING:
    import torch


def row_gradients(
    base: Base,
    injection: Injection,
    values: "torch.Tensor",
    windows: "torch.Tensor",
    relative: "torch.Tensor | float" = 1.0,
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Mean loss of each row's sequences, ``[rows]``, and its gradient, ``[rows, P]``.

    Args:
        base: the frozen base.
        injection: of the rows' layout, attached to it.
        values: ``[rows, P]``, what is moved for a row.
        windows: int64 ``[rows * n, window]``, the same number of sequences of each row, one row after the other;
            what is read and never predicted is the complement of its id.
        relative: ``[P]``, how far a row moves when what is moved for it moves by one.
    """
    import torch

    values = values.detach().requires_grad_()
    index = torch.arange(len(values), device=windows.device).repeat_interleave(len(windows) // len(values))
    with torch.enable_grad():
        with injection.rows(values * relative, index):
            hidden = base.hidden(ids_of(windows))
        losses = mean_losses(*window_losses(hidden, base.head, windows, base.tokens.unpredicted), len(values))
        (gradient,) = torch.autograd.grad(losses.sum(), values)
    return losses.detach(), gradient
