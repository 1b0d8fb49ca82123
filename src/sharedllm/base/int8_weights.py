"""A base's weights in int8, for answers on a CPU: products in eight bits, from half the bytes that bfloat16 takes.

A weight's rows have a step each, and so has each token's vector of states, which is rounded when it comes (Dettmers et
al. 2022, LLM.int8(), section 3.1, vector-wise)::

    y[t, o] = a[t] b[o] sum_i round(x[t, i] / a[t]) round(w[o, i] / b[o])
    a[t] = max_i |x[t, i]| / 127, b[o] = max_i |w[o, i]| / 127

A token's step is its own, and sums of whole numbers are the same in any order: no bit of a token's product depends on
what else is multiplied beside it.

The operations reached for are FBGEMM's, through torch, and multiply states without a sign: 128 stands for 0.
`tests/base/test_int8_weights.py` fails when they move.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from sharedllm.base.frames import rounded
from sharedllm.errors import InvalidInput, UnsupportedBase

_MOST, _ZERO = 127, 128
_ENGINES = ("x86", "fbgemm")
"""Of torch, that multiply by FBGEMM."""


class Int8Linear(torch.nn.Linear):
    """A linear layer whose weight is ``levels * steps``, with no other but the head's, which `Base.head` gives.

    Attributes:
        levels: int8 ``[out, in]``.
        steps: float32 ``[out]``.
    """

    levels: torch.Tensor
    steps: torch.Tensor

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The product, from weights that are laid out for it alone."""
        product: torch.Tensor = Int8Product([self])(states)
        return product


class Int8Product:
    """Layers that read the same states as one product, from weights in the layout that FBGEMM multiplies from."""

    def __init__(self, layers: Sequence[Int8Linear]) -> None:
        self._widths = [layer.out_features for layer in layers]
        biases: list[torch.Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        self._bias = torch.cat(biases).detach() if biases else None
        levels, steps = torch.cat([layer.levels for layer in layers]), torch.cat([layer.steps for layer in layers])
        zeros = torch.zeros(len(steps), dtype=torch.int64)
        with warnings.catch_warnings():
            # It says that such tensors are to leave torch.
            warnings.simplefilter("ignore")
            weight = torch._make_per_channel_quantized_tensor(levels, steps.double(), zeros, 0)
        self._weight = torch.ops.quantized.linear_prepack(weight, None)
        self._multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The product of states ``[..., in]``, in their dtype.

        Raises:
            InvalidInput: a gradient of it is wanted.
        """
        if states.requires_grad and torch.is_grad_enabled():
            raise InvalidInput(
                "The base holds its weights in int8, through which nothing can be trained",
                remedy="Load it with plain weights to train; what is trained on them is served from either.",
            )
        most = states.abs().amax(-1, keepdim=True).float()
        # Between -1 and 1 in every token, so that one step fits all. Of zeros alone there are no such numbers; whatever
        # becomes of them is multiplied by 0.
        summed: torch.Tensor = self._multiply((states / most).float(), 1 / _MOST, _ZERO, self._weight)
        if self._bias is not None:
            return torch.addcmul(self._bias, summed, most).to(states.dtype)
        return torch.mul(summed, most, out=torch.empty(summed.shape, dtype=states.dtype))

    def levels(self) -> list[torch.Tensor]:
        """Each layer's own again, int8 ``[out, in]``."""
        weight, _ = torch.ops.quantized.linear_unpack(self._weight)
        # Levels that share their memory would be held as long as any of them.
        return [part.clone() for part in weight.int_repr().split(self._widths)]


def multiplies_int8(device: str) -> bool:
    """Whether a device multiplies in int8 exactly: a CPU with VNNI, without which sums are cut off at sixteen bits."""
    exact = torch.cpu.get_capabilities().get("avx512_vnni", False)
    return bool(exact) and device.startswith("cpu") and torch.backends.quantized.engine in _ENGINES


def hold_int8(model: Any) -> None:
    """Have every linear layer of a model hold its weight in int8 from now on.

    Raises:
        UnsupportedBase: it has none but its head.
    """
    head = model.get_output_embeddings()
    layers = [module for module in model.modules() if type(module) is torch.nn.Linear]
    if not any(layer is not head for layer in layers):
        raise UnsupportedBase(
            f"{type(model).__name__} has no linear layer but its head to hold in int8",
            remedy="Leave out the choice of int8 weights, or use a base built like Llama.",
        )
    for layer in layers:
        levels, steps = rounded(layer.weight.detach().float())
        layer.register_buffer("levels", levels, persistent=False)
        layer.register_buffer("steps", steps, persistent=False)
        if layer is not head:
            layer.weight.data = layer.weight.new_empty(0)
        layer.__class__ = Int8Linear
