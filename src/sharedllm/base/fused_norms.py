"""Norms of a base on a CPU, each by one kernel instead of by half a dozen operations.

Which these are is found by asking each what it makes of states that tell norms apart: only one that computes just what
the kernel does is taken over, whatever its class is called.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from sharedllm.base.compiled_kernels import agree, kernels
from sharedllm.base.loading import Base
from sharedllm.base.sites import is_norm

if TYPE_CHECKING:
    import torch

_ROUNDINGS = 4
"""Of a row's largest value; a sum in another order changes it by no more."""
_PLAIN, _BESIDE_ZERO, _TINY = (0.0, 1.0), (3.0, 1.0), (0.0, 1e-3)
"""Mean and spread of a token's states. A norm that takes the mean off shows it where there is one: in a wide layer that
of random numbers drowns in rounding; and where `epsilon` is added shows in states that are smaller than it."""


class FusedNorms:
    """A base whose norms compute so until `remove`, but where a gradient is wanted.

    Nothing is done where there are no kernels.
    """

    def __init__(self, base: Base) -> None:
        """Take forward passes over."""
        found = kernels() if base.device.type == "cpu" else None
        self._norms: list[Any] = []
        if found is not None and base.dtype in found.dtypes:
            self._norms = [each for each in base.model.modules() if is_norm(each) and _computes_so(each, base)]
        for norm in self._norms:
            norm.forward = partial(_forward, norm)

    def remove(self) -> None:
        """Give the norms their own forward passes back."""
        while self._norms:
            vars(self._norms.pop()).pop("forward", None)


def _forward(norm: Any, states: "torch.Tensor") -> "torch.Tensor":
    ours, epsilon, gain = kernels(), _epsilon(norm), norm.weight
    if ours is None or epsilon is None or states.dtype is not gain.dtype or _is_trained(states):
        found: torch.Tensor = type(norm).forward(norm, states)
        return found
    return ours.norm(states, gain, epsilon)


def _is_trained(states: "torch.Tensor") -> bool:
    import torch

    return states.requires_grad and torch.is_grad_enabled()


def _computes_so(norm: Any, base: Base) -> bool:
    """Whether a norm gives what the kernel does, but for rounding."""
    import torch

    # transformers computes norms in single precision; in double the order of their sums would show.
    if base.dtype is torch.float64 or norm.weight.dtype is not base.dtype or norm.weight.ndim != 1:
        return False
    if _epsilon(norm) is None or len(list(norm.parameters())) != 1:
        return False
    mean, spread = torch.tensor([_PLAIN, _BESIDE_ZERO, _TINY]).T[:, :, None]
    states = torch.randn(3, len(norm.weight), generator=torch.Generator().manual_seed(0))
    states = (mean + spread * states).to(base.dtype)
    with torch.inference_mode():
        return agree(norm(states), _forward(norm, states), _ROUNDINGS)


def _epsilon(norm: Any) -> float | None:
    found = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    return found if isinstance(found, float) else None
