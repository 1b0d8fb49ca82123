"""Orders in which a weight may lie in memory, each with the product that reads it so.

In bfloat16, where the processor multiplies that, it is oneDNN's, whose results are torch's own to the bit. Elsewhere it
is that of a kernel of ours (`kernels.cpp`), which reads a weight once for few tokens. Operations reached for here are
private to torch; `tests/base/test_weight_layouts.py` fails when they move.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from sharedllm.base.compiled_kernels import Kernels, kernels
from sharedllm.base.loading import Base
from sharedllm.base.weight_grids import Grids, grids_of


class LaidOut(ABC):
    """A weight ``[out, in]`` in some order."""

    _weight: torch.Tensor

    @abstractmethod
    def __call__(self, states: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """The product of states ``[..., in]`` with it, and a bias ``[out]``: ``[..., out]``, all of one dtype."""

    @abstractmethod
    def added(self, to: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The product of states ``[..., in]`` added to what is there ``[..., out]``, which may be written to."""

    @abstractmethod
    def plain(self) -> torch.Tensor:
        """The weight as it was, to the bit."""


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


class _ByOurs(LaidOut):
    """For our own products: a token's is the same to the bit whatever tokens are beside it."""

    def __init__(self, ours: Kernels, shape: torch.Size, dtype: torch.dtype) -> None:
        self._ours, self._dtype, (self._out, self._into) = ours, dtype, shape

    def __call__(self, states: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if not self._fits(states, self._into, bias):
            # The kernel would read beyond their end; torch says what is wrong with them.
            return torch.nn.functional.linear(states, self.plain(), bias)
        return self._multiply(states, bias)

    def _fits(self, states: torch.Tensor, into: int, bias: torch.Tensor | None = None) -> bool:
        dtypes = {states.dtype} if bias is None else {states.dtype, bias.dtype}
        return dtypes == {self._dtype} and states.shape[-1] == into

    def added(self, to: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return to.add_(self(states))

    @abstractmethod
    def _multiply(self, states: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """The product of states of the right width and dtype."""


class InPanels(_ByOurs):
    """Of any weight; in float32 all of whose numbers bfloat16 has, too, it is held in that: half as much is read."""

    def __init__(self, ours: Kernels, weight: torch.Tensor) -> None:
        super().__init__(ours, weight.shape, weight.dtype)
        # Part by part: mostly the first one tells, and no whole copy is made to compare with.
        narrow = all(_is_narrow(part) for part in weight.split(_COMPARED))  # type: ignore[no-untyped-call]
        self._weight = ours.laid_out(weight.bfloat16() if narrow else weight)

    def _multiply(self, states: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return self._ours.multiply(states, self._weight, self._out, bias)

    def plain(self) -> torch.Tensor:
        return self._ours.plain(self._weight, self._out, self._into).to(self._dtype)


class OnGrids(_ByOurs):
    """Of a weight whose numbers lie on grids: a fifth to a third of it is read."""

    def __init__(self, ours: Kernels, grids: Grids, beside: torch.Tensor | None = None) -> None:
        """Lay it out.

        Args:
            ours: what multiplies.
            grids: of the weight.
            beside: float32 ``[out, more]``, what `and_more` multiplies more inputs with.
        """
        super().__init__(ours, grids.levels.shape, torch.float32)
        self._bits, self._zero, self._weight = grids.bits, grids.zero, ours.laid_out_grids(grids)
        self._more = 0 if beside is None else beside.shape[1]
        self._beside = None if beside is None else ours.laid_out(beside)

    def and_more(self, states: torch.Tensor, more: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """The product with states ``[..., in]`` and with ``[..., more]`` behind them: ``[..., out]``."""
        fits = self._fits(states, self._into, bias) and self._fits(more, self._more)
        if self._beside is None or not fits or states.shape[:-1] != more.shape[:-1]:
            raise TypeError(f"States {states.shape} and {more.shape}, {states.dtype} and {more.dtype}, are not its own")
        return self._ours.multiply_grids(states, self._weight, self._out, self._bits, bias, (more, self._beside))

    def _multiply(self, states: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return self._ours.multiply_grids(states, self._weight, self._out, self._bits, bias)

    def plain(self) -> torch.Tensor:
        return self._ours.grids(self._weight, self._out, self._bits, self._zero).weight


_COMPARED = 64
"""Outputs whose weights are compared at once."""


def _is_narrow(weight: torch.Tensor) -> bool:
    """Whether bfloat16 has all its numbers, too."""
    return torch.equal(weight.bfloat16().to(weight.dtype), weight)


@dataclass(frozen=True)
class WeightLayout:
    """How weights are laid out.

    Attributes:
        ours: whose products read them; None where oneDNN's do.
    """

    ours: Kernels | None

    def __call__(self, weight: torch.Tensor) -> LaidOut:
        """A weight ``[out, in]`` laid out."""
        if self.ours is None:
            return ByOneDNN(weight)
        grids = grids_of(weight)
        return InPanels(self.ours, weight) if grids is None else OnGrids(self.ours, grids)

    def before(self, weight: torch.Tensor, added: torch.Tensor, beside: torch.Tensor) -> OnGrids | None:
        """What a weight ``[out, in]`` was before this was added to it, if it lay on grids, laid out beside another."""
        if self.ours is None or (grids := grids_of(weight, added)) is None:
            return None
        return OnGrids(self.ours, grids, beside)


def layout_for(base: Base) -> WeightLayout | None:
    """What a base's plain weights are best multiplied from; None where that is torch's own order."""
    if base.device.type != "cpu":
        return None
    if base.dtype == torch.bfloat16 and multiplies_bfloat16():
        return WeightLayout(None)
    ours = kernels()
    return WeightLayout(ours) if ours is not None and base.dtype in ours.multiplied else None


def multiplies_bfloat16() -> bool:
    """Whether torch was built with oneDNN, and oneDNN multiplies bfloat16 on this processor."""
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
