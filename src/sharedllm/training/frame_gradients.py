"""Gradients of a prior's frames, and of the coordinates of those whose windows are read."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sharedllm.base.frames import Frame, projections
from sharedllm.base.loading import Base
from sharedllm.evaluation.likelihood import ids_of, mean_losses, window_losses
from sharedllm.training.optimiser import clipped

if TYPE_CHECKING:
    import torch

Gradients: TypeAlias = "tuple[torch.Tensor, torch.Tensor, torch.Tensor]"
"""Each person's mean loss ``[people]``, the gradient of the frames ``[size]``, and those of people's coordinates
``[people, components]``."""

GradientOf: TypeAlias = "Callable[[torch.Tensor, torch.Tensor, npt.NDArray[np.int64], float | None], Gradients]"
"""What `FrameGradients.gradient` is, wherever it is computed."""


class FrameGradients:
    """Gradients of frames and of people's coordinates on one base, whose projections are hooked until `remove`.

    Attributes:
        size: numbers in all frames: each projection's ``A`` and then its ``B``, in model order.
        components: ``rank`` of each projection together, the length of one person's coordinates.
    """

    def __init__(self, base: Base, rank: int) -> None:
        self._base, self._rank = base, rank
        self._layers = projections(base.model)
        self._shapes = [
            shape
            for layer in self._layers.values()
            for shape in ((rank, layer.in_features), (layer.out_features, rank))
        ]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.size, self.components = sum(self._sizes), rank * len(self._layers)
        self._active: tuple[list[torch.Tensor], torch.Tensor] | None = None
        self._handles = [
            layer.register_forward_hook(self._change(number)) for number, layer in enumerate(self._layers.values())
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def first(self, seed: int) -> "torch.Tensor":
        """Frames whose ``B A`` is nothing yet, float32 ``[size]`` on the CPU: ``A`` is normal with variance 1 / in."""
        import torch

        random = torch.Generator().manual_seed(seed)
        values = torch.zeros(self.size)
        for number, part in enumerate(torch.split(values, self._sizes)):
            if number % 2 == 0:
                into = self._shapes[number][1]
                part.copy_(torch.randn(part.shape, generator=random) / math.sqrt(into))
        return values

    def frames(self, values: "torch.Tensor") -> dict[str, Frame]:
        """Trained values as frames, rounded to eight bits."""
        matrices = self._matrices(values.detach().cpu().float())
        pairs = zip(matrices[::2], matrices[1::2], strict=True)
        return {name: Frame.of(*pair) for name, pair in zip(self._layers, pairs, strict=True)}

    def gradient(
        self,
        values: "torch.Tensor",
        own: "torch.Tensor",
        windows: npt.NDArray[np.int64],
        bound: float | None = None,
    ) -> Gradients:
        """Each person's mean loss, and the gradients of the sum of these losses.

        Args:
            values: of the frames, float ``[size]`` on the base's device.
            own: coordinates, float ``[people, components]``.
            windows: int64 ``[people * windows, tokens]``, each person's one after the other; what is read and never
                predicted is the complement of its id.
            bound: the largest norm of each person's gradient of the frames, which is `clipped`; None is none.

        Returns:
            losses ``[people]``, and gradients ``[size]`` and ``[people, components]``.
        """
        import torch

        if bound is None:
            return self._together(values, own, windows)
        losses, total, of_own = own.new_zeros(len(own)), torch.zeros_like(values), torch.zeros_like(own)
        # One after the other: as many gradients as there are people need not be held at once.
        for person, read in enumerate(np.split(windows, len(own)) if len(own) else ()):
            one = slice(person, person + 1)
            losses[one], of_values, of_own[one] = self._together(values, own[one], read)
            total += clipped(of_values, bound)
        return losses, total, of_own

    def _together(self, values: "torch.Tensor", own: "torch.Tensor", windows: npt.NDArray[np.int64]) -> Gradients:
        import torch

        values, own = (each.detach().requires_grad_() for each in (values, own))
        each = len(windows) // len(own)
        read = torch.from_numpy(windows).to(self._base.device)
        first = self._base.tokens.unpredicted
        with torch.enable_grad():
            scale = 1 + own.view(len(own), -1, self._rank).repeat_interleave(each, 0)
            with self._applied(values.to(self._base.dtype), scale.to(self._base.dtype)):
                hidden = self._base.hidden(ids_of(read))
            losses = mean_losses(*window_losses(hidden, self._base.head, read, first), len(own))
            of_values, of_own = torch.autograd.grad(losses.sum(), (values, own))
        return losses.detach(), of_values, of_own

    @contextmanager
    def _applied(self, values: "torch.Tensor", scale: "torch.Tensor") -> Iterator[None]:
        self._active = self._matrices(values), scale
        try:
            yield
        finally:
            self._active = None

    def _matrices(self, values: "torch.Tensor") -> "list[torch.Tensor]":
        import torch

        parts = torch.split(values, self._sizes)
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _change(self, number: int) -> Callable[[Any, Any, Any], Any]:
        import torch

        def change(module: Any, inputs: Any, output: Any) -> Any:
            if self._active is None:
                return None
            matrices, scale = self._active
            into, out = matrices[2 * number : 2 * number + 2]
            inner = torch.nn.functional.linear(inputs[0], into) * scale[:, number : number + 1]
            return output + torch.nn.functional.linear(inner, out)

        return change
