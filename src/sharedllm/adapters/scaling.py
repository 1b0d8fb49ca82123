"""``activation * (1 + values)``, in the activation's dtype forwards and in float32 where gradients are summed."""

from typing import Any

import torch


def scale(activation: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Scale an activation ``[batch, ..., width]`` by values that broadcast against it."""
    if torch.is_grad_enabled():
        scaled: torch.Tensor = Scale.apply(activation, values)  # type: ignore[no-untyped-call]
        return scaled
    # The same without what a gradient would need, which takes longer than the product when a token is read at a time.
    return torch.addcmul(activation, activation, values.to(activation.dtype))


class Scale(torch.autograd.Function):
    """One pass over the activation instead of three with a float32 copy between them.

    ``a + a * s`` is exactly ``a`` where ``s`` is zero, and rounds once, like the norm itself does. The gradient of the
    values is a sum over tokens of small numbers, so it is added up in float32 whatever the base runs in.
    """

    @staticmethod
    def forward(ctx: Any, activation: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Scale an activation ``[batch, ..., width]`` by values that broadcast against it."""
        narrow = values.to(activation.dtype)
        ctx.save_for_backward(activation, narrow)
        ctx.values_dtype = values.dtype
        return torch.addcmul(activation, activation, narrow)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Gradients of the activation and of the values."""
        (upstream,) = gradients
        activation, narrow = ctx.saved_tensors
        of_activation = torch.addcmul(upstream, upstream, narrow) if ctx.needs_input_grad[0] else None
        of_values = None
        if ctx.needs_input_grad[1]:
            repeated = [axis for axis, size in enumerate(narrow.shape) if size == 1]
            of_values = (upstream * activation).sum(repeated, keepdim=True, dtype=ctx.values_dtype)
        return of_activation, of_values
