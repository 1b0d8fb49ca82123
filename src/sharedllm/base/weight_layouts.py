"""Orders in which a weight may lie in memory, each with the product that reads it so.

In bfloat16, where the processor multiplies that, it is oneDNN's, whose results are torch's own to the bit. Elsewhere it
is that of a kernel of ours (`kernels.cpp`), which reads a weight once for few tokens. Operations reached for here are
private to torch; `tests/base/test_weight_layouts.py` fails when they move.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch

from sharedllm.base.compiled_kernels import Kernels, kernels
from sharedllm.base.loading import Base


class LaidOut(ABC):
    """A weight ``[out, in]`` in some order."""

    @abstractmethod
    def __call__(self, states: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """The product of states ``[..., in]`` with it, and a bias ``[out]``: ``[..., out]``, all of one dtype."""

    @abstractmethod
    def added(self, to: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The product of states ``[..., in]`` added to what is there ``[..., out]``, which may be written to."""

    @abstractmethod
    def plain(self) -> torch.Tensor:
        """The weight as it was, to the bit."""


_COMPARED = 64
"""Outputs whose weights are compared at once."""

LaysOut = Callable[[torch.Tensor], LaidOut]
"""What lays a weight ``[out, in]`` out."""


class ByOneDNN(LaidOut):
    """For oneDNN's products in bfloat16."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        # To look them up takes a good part of what a small product does.
        self._linear = torch.ops.mkldnn._linear_pointwise.default
        self._add = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, states: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        product: torch.Tensor = self._linear(states, self._weight, bias, "none", [], "")
        return product

    def added(self, to: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        together: torch.Tensor = self._add(states, to, self._weight, None, "add")
        return together

    def plain(self) -> torch.Tensor:
        weight: torch.Tensor = self._weight.to_dense()
        return weight


class InPanels(LaidOut):
    """For our own products: a token's is the same to the bit whatever tokens are beside it.

    Weights in float32 all of which are numbers that bfloat16 has, too, are held in it: half as much is read.
    """

    def __init__(self, ours: Kernels, weight: torch.Tensor) -> None:
        self._ours, self._dtype, (self._out, self._into) = ours, weight.dtype, weight.shape
        # Part by part: mostly the first one tells, and no whole copy is made to compare with.
        narrow = all(_is_narrow(part) for part in weight.split(_COMPARED))  # type: ignore[no-untyped-call]
        self._weight = ours.laid_out(weight.bfloat16() if narrow else weight)

    def __call__(self, states: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        dtypes = {states.dtype} if bias is None else {states.dtype, bias.dtype}
        if dtypes != {self._dtype} or states.shape[-1] != self._into:
            # The kernel would read beyond their end; torch says what is wrong with them.
            return torch.nn.functional.linear(states, self.plain(), bias)
        return self._ours.multiply(states, self._weight, self._out, bias)

    def added(self, to: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return to.add_(self(states))

    def plain(self) -> torch.Tensor:
        return self._ours.plain(self._weight, self._out, self._into).to(self._dtype)


def _is_narrow(weight: torch.Tensor) -> bool:
    """Whether bfloat16 has all its numbers, too."""
    return torch.equal(weight.bfloat16().to(weight.dtype), weight)


def layout_for(base: Base) -> LaysOut | None:
    """What a base's plain weights are best multiplied from; None where that is torch's own order."""
    if base.device.type != "cpu":
        return None
    if base.dtype == torch.bfloat16 and multiplies_bfloat16():
        return ByOneDNN
    ours = kernels()
    return partial(InPanels, ours) if ours is not None and base.dtype in ours.multiplied else None


def multiplies_bfloat16() -> bool:
    """Whether torch was built with oneDNN, and oneDNN multiplies bfloat16 on this processor."""
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
