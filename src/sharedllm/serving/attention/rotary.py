"""Attention layers that rotate by position, from one product to the next by kernels instead of by two dozen operations.

Which layers these are is found by asking each what it makes of random turns, and of small states and large ones: some
models cut off what is too large.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from sharedllm.base.compiled_kernels import Kernels, agree, kernels
from sharedllm.base.loading import Base
from sharedllm.serving.attention.cpu import CpuAttention
from sharedllm.serving.attention.interface import Paged, attend
from sharedllm.serving.attention.metadata import metadata

if TYPE_CHECKING:
    import torch

_PRODUCTS = {"q_proj", "k_proj", "v_proj", "o_proj"}
_ROUNDINGS = 8
"""Of a token's largest value; a product of what was rounded otherwise once differs by no more."""
_SIZES, _KEYS = (1.0, 1.0, 1000.0), [6, 5, 1]
"""Of the states of the tokens that a layer is asked about, and how many keys they have: with several, scores of large
states would make much of rounding."""


class Rotary:
    """A base whose attention layers compute so until `remove`; nothing is done where there are no kernels for it.

    The base attends by `paged_attention`, and its cache has memory for every layer.
    """

    def __init__(self, base: Base) -> None:
        """Take forward passes over."""
        found = kernels() if base.device.type == "cpu" else None
        self._modules: list[Any] = []
        if found is not None and base.dtype in found.dtypes:
            for module, scaling, window in list(_ours(base, found)):
                module.forward = partial(_forward, module, scaling, window)
                self._modules.append(module)

    def remove(self) -> None:
        """Give the layers their own forward passes back."""
        while self._modules:
            vars(self._modules.pop()).pop("forward", None)


def _forward(
    module: Any,
    scaling: float | None,
    window: int | None,
    hidden_states: "torch.Tensor",
    position_embeddings: "tuple[torch.Tensor, torch.Tensor]",
    *given: Any,
    paged: Paged | None = None,
    **named: Any,
) -> "tuple[torch.Tensor, None]":
    ours = kernels()
    if paged is None or ours is None or not _fit(position_embeddings, module, hidden_states):
        own: tuple[torch.Tensor, None] = type(module).forward(
            module, hidden_states, position_embeddings, *given, paged=paged, **named
        )
        return own
    query, key, value = module.q_proj(hidden_states), module.k_proj(hidden_states), module.v_proj(hidden_states)
    shape = 1, query.shape[1], -1, module.head_dim
    keys, values = paged.layer(module.layer_idx, key.view(shape).transpose(1, 2), value.view(shape).transpose(1, 2))
    queries = ours.rotate((query, key, value), position_embeddings, paged.metadata.written, keys, values)
    found = attend(module, queries, keys, values, paged, window, scaling)
    return module.o_proj(found.view(1, query.shape[1], -1)), None


def _fit(turns: "tuple[torch.Tensor, torch.Tensor]", module: Any, hidden_states: "torch.Tensor") -> bool:
    """Whether turns are as the kernels read them: some models turn a part of each head, or in another precision."""
    return all(
        each.shape[-1] == module.head_dim and each.dtype is hidden_states.dtype and each.is_contiguous()
        for each in turns
    )


def _ours(base: Base, ours: Kernels) -> Iterator[tuple[Any, float | None, int | None]]:
    """Layers that do the same, each with what it scales scores by and how many of the last tokens it looks at."""
    for module in base.model.modules():
        alike = hasattr(module, "head_dim") and hasattr(module, "layer_idx")
        if alike and {name for name, _ in module.named_children()} == _PRODUCTS:
            found = _asked(module, base, ours)
            if found is not None:
                yield module, *found


def _asked(module: Any, base: Base, ours: Kernels) -> tuple[float | None, int | None] | None:
    import torch

    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(base.dtype)

    width = module.head_dim
    sizes = torch.tensor(_SIZES, dtype=base.dtype)[:, None]
    states, turns = sizes * numbers(1, 3, module.q_proj.in_features), (numbers(1, 3, width), numbers(1, 3, width))
    cached = numbers(2, 12, module.k_proj.out_features // width, width)
    places = torch.split(torch.randperm(12, generator=generator), _KEYS)
    steps, heard = metadata([1, 1, 1], list(places)), _Hearing(ours)
    paged = Paged(steps, lambda *_: (cached[0], cached[1]), heard)
    with torch.inference_mode():
        try:
            expected = module(states, position_embeddings=turns, attention_mask=None, paged=paged)[0]
        except (RuntimeError, TypeError):
            # It takes no turns, or none as wide as a head.
            return None
        if heard.asked is None:
            return None
        found = _forward(module, *heard.asked, states, turns, paged=paged)[0]
        return heard.asked if agree(expected, found, _ROUNDINGS) else None


class _Hearing(CpuAttention):
    """Attends, and keeps what it was asked."""

    asked: tuple[float | None, int | None] | None = None

    def singles(self, *given: Any) -> None:
        *_, window, scaling = given
        self.asked = scaling, window
        super().singles(*given)
