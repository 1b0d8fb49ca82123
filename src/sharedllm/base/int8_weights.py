"""A base's weights in int8, for answers on a CPU: products in eight bits, from half the bytes that bfloat16 takes.

A weight's rows have a step each, and so has each token's vector of states, which is rounded when it comes (Dettmers et
al. 2022, LLM.int8(), section 3.1, vector-wise). A few channels of states are far larger than the others and would leave
these few levels, so states are divided by a spread ``c`` and the weight's columns multiplied by it (Xiao et al. 2023,
SmoothQuant, section 4; here the square root of the channel's largest state in a pass over random tokens)::

    y[t, o] = a[t] b[o] sum_i round(x[t, i] / c[i] / a[t]) round(w[o, i] c[i] / b[o])
    a[t] = max_i |x[t, i] / c[i]| / 127, b[o] = max_i |w[o, i] c[i]| / 127

A token's step is its own, and sums of whole numbers are the same in any order: no bit of a token's product depends on
what else is multiplied beside it.

Layers that are given more than the model's width, as the last of a feed-forward part is, stay plain: what a gate has
let through has outliers in other channels for each token.

With VNNI the operations reached for are FBGEMM's, through torch, and multiply states without a sign: 128 stands for 0.
`tests/base/test_int8_weights.py` fails when they move. Without it FBGEMM cuts sums off at sixteen bits, and a kernel of
ours multiplies (`kernels.cpp`).
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from sharedllm.base.compiled_kernels import Kernels, kernels
from sharedllm.base.frames import rounded
from sharedllm.base.weight_readers import WeightReaders
from sharedllm.errors import InvalidInput, UnsupportedBase

_MOST, _ZERO = 127, 128
_LEAST = 1e-4
"""Of the largest channel: what is seen of a smaller one counts as much."""
_ENGINES = ("x86", "fbgemm")
"""Of torch, that multiply by FBGEMM."""


class Int8Linear(torch.nn.Linear):
    """A linear layer whose weight is ``levels * steps / spread``.

    The plain one is given up but where somebody else reads it, as `Base.head` does that of the head.

    Attributes:
        levels: int8 ``[out, in]``.
        steps: float32 ``[out]``.
        spread: float32 ``[in]``, the same for all layers that read the same states.
    """

    levels: torch.Tensor
    steps: torch.Tensor
    spread: torch.Tensor

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The product, from weights that are laid out for it alone."""
        product: torch.Tensor = Int8Product([self])(states)
        return product


class Int8Product:
    """Layers that read the same states as one product, from weights in the layout that they are multiplied from."""

    def __init__(self, layers: Sequence[Int8Linear]) -> None:
        self._widths = [layer.out_features for layer in layers]
        biases: list[torch.Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        levels, steps = torch.cat([layer.levels for layer in layers]), torch.cat([layer.steps for layer in layers])
        bias = torch.cat(biases).detach() if biases else None
        given = levels, steps, 1 / layers[0].spread, bias
        ours = None if _fbgemm_is_exact() else kernels()
        self._multiply = ByFBGEMM(*given) if ours is None else ByOurs(ours, *given)

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
        return self._multiply(states)

    def levels(self) -> list[torch.Tensor]:
        """Each layer's own again, int8 ``[out, in]``."""
        # Levels that share their memory would be held as long as any of them.
        parts = self._multiply.levels().split(self._widths)  # type: ignore[no-untyped-call]
        return [part.clone() for part in parts]


class ByFBGEMM:
    """The product by FBGEMM."""

    def __init__(
        self, levels: torch.Tensor, steps: torch.Tensor, narrower: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        """Lay the weights out.

        Args:
            levels: int8 ``[out, in]``.
            steps: float32 ``[out]``.
            narrower: one by the spread, float32 ``[in]``.
            bias: ``[out]``.
        """
        self._narrower, self._bias = narrower, bias
        zeros = torch.zeros(len(steps), dtype=torch.int64)
        with warnings.catch_warnings():
            # It says that such tensors are to leave torch.
            warnings.simplefilter("ignore")
            weight = torch._make_per_channel_quantized_tensor(levels, steps.double(), zeros, 0)
        self._weight = torch.ops.quantized.linear_prepack(weight, None)
        self._multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The product of states ``[..., in]``, in their dtype."""
        given = states * self._narrower
        most = given.abs().amax(-1, keepdim=True)
        # Between -1 and 1 in every token, so that one step fits all. Of zeros alone there are no such numbers; whatever
        # becomes of them is multiplied by 0.
        summed: torch.Tensor = self._multiply(given.div_(most).float(), 1 / _MOST, _ZERO, self._weight)
        if self._bias is not None:
            return torch.addcmul(self._bias, summed, most.float()).to(states.dtype)
        return summed.mul_(most.float()).to(states.dtype)

    def levels(self) -> torch.Tensor:
        """They again, ``[out, in]``."""
        weight, _ = torch.ops.quantized.linear_unpack(self._weight)
        levels: torch.Tensor = weight.int_repr()
        return levels


class ByOurs:
    """The product by a kernel of ours."""

    def __init__(
        self,
        ours: Kernels,
        levels: torch.Tensor,
        steps: torch.Tensor,
        narrower: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> None:
        """Lay the weights out, which are as `ByFBGEMM` is given them."""
        self._ours, (self._out, self._in) = ours, levels.shape
        self._steps, self._narrower, self._bias = steps, narrower, bias
        self._levels = ours.laid_out(levels)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The product of states ``[..., in]``, in their dtype."""
        if states.shape[-1] != self._in:
            # The kernel would read beyond their end; torch says what is wrong with them.
            return torch.nn.functional.linear(states, self.levels().to(states.dtype))
        given = states if states.dtype in self._ours.dtypes else states.float()
        bias = None if self._bias is None else self._bias.to(given.dtype)
        product = self._ours.multiply_int8(given, self._narrower, self._levels, self._steps, bias)
        return product.to(states.dtype)

    def levels(self) -> torch.Tensor:
        """They again, ``[out, in]``."""
        return self._ours.plain(self._levels, self._out, self._in)


def multiplies_int8(device: str) -> bool:
    """Whether a device multiplies in int8 exactly: a CPU with VNNI, or one that kernels can be compiled for."""
    if not device.startswith("cpu"):
        return False
    # Which takes a compiler, and its time.
    return _fbgemm_is_exact() or ((ours := kernels()) is not None and bool(ours.multiplied))


def _fbgemm_is_exact() -> bool:
    exact = torch.cpu.get_capabilities().get("avx512_vnni", False)
    return bool(exact) and torch.backends.quantized.engine in _ENGINES


def hold_int8(model: Any, ids: torch.Tensor) -> None:
    """Have the linear layers of a model hold their weights in int8 from now on, if they are given its width or less.

    Those that are not called stay as they are: nothing is known of their states, or a module multiplies by the weight
    itself.

    Args:
        model: as transformers made it.
        ids: token ids ``[1, tokens]`` that are read to see which layers are called, and which channels of states are
            large.

    Raises:
        UnsupportedBase: it has no such layer but its head.
    """
    head = model.get_output_embeddings()
    linears = [module for module in model.modules() if type(module) is torch.nn.Linear]
    width = model.get_input_embeddings().weight.shape[1]
    layers = [layer for layer in linears if layer.in_features <= width]
    readers = WeightReaders(layers)
    largest: dict[torch.nn.Module, torch.Tensor] = {}

    def see(layer: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        largest[layer] = given[0].float().abs().flatten(0, -2).amax(0)

    handles = [layer.register_forward_pre_hook(see) for layer in layers]
    try:
        with torch.inference_mode(), readers:
            model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    layers = [layer for layer in layers if layer in readers.called]
    if not any(layer is not head for layer in layers):
        raise UnsupportedBase(
            f"{type(model).__name__} has no linear layer but its head to hold in int8",
            remedy="Leave out the choice of int8 weights, or use a base built like Llama.",
        )
    for layer in layers:
        seen = largest[layer].clone()
        # Of a layer that was given zeros alone nothing is known.
        spread = (seen / seen.max()).nan_to_num(1.0).clamp(min=_LEAST).sqrt()
        levels, steps = rounded(layer.weight.detach().float() * spread)
        for name, value in (("levels", levels), ("steps", steps), ("spread", spread)):
            layer.register_buffer(name, value, persistent=False)
        if layer is not head and layer not in readers.read:
            layer.weight.data = layer.weight.new_empty(0)
        layer.__class__ = Int8Linear
