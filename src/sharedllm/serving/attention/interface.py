"""Attention over a cache of keys and values, as transformers calls it; what computes it is a file a device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sharedllm.base.cpu_attention import check_plain_softmax
from sharedllm.serving.attention.metadata import Metadata, Singles, Stretch

if TYPE_CHECKING:
    import torch

NAME = "paged"

Layer = Callable[[int, "torch.Tensor", "torch.Tensor"], "tuple[torch.Tensor, torch.Tensor]"]
"""From a layer's number, its new keys and its new values to all that are cached: see `Cache.layer`."""


class Attention(Protocol):
    """Attention on one kind of device. Nobody's answer depends on who else is in the pass but for rounding."""

    def singles(
        self,
        module: Any,
        query: "torch.Tensor",
        keys: "torch.Tensor",
        values: "torch.Tensor",
        output: "torch.Tensor",
        singles: Singles,
        window: int | None,
        scaling: float | None,
    ) -> None:
        """Of sequences that read one token each.

        Args:
            module: the attention layer.
            query: of all tokens of the pass, ``[1, heads, tokens, width]``.
            keys: of everybody, ``[places, key_heads, width]``.
            values: like ``keys``.
            output: ``[1, tokens, heads, width]``, which is written to where these tokens are.
            singles: which they are, and the places of their keys.
            window: each looks at the last so many of its keys; None for all.
            scaling: of the scores; ``width ** -0.5`` by default.
        """
        ...

    def stretch(
        self,
        query: "torch.Tensor",
        keys: "torch.Tensor",
        values: "torch.Tensor",
        mask: "torch.Tensor | None",
        scaling: float | None,
    ) -> "torch.Tensor":
        """Of one sequence that reads several tokens.

        Args:
            query: ``[1, heads, tokens, width]``.
            keys: ``[1, key_heads, keys, width]``.
            values: like ``keys``.
            mask: True where a token looks, ``[tokens, keys]``; None where each looks at all before it and at itself.
            scaling: of the scores; ``width ** -0.5`` by default.

        Returns:
            ``[1, heads, tokens, width]``.
        """
        ...


@dataclass(frozen=True, eq=False)
class Paged:
    """What a pass hands to every layer's attention.

    Attributes:
        metadata: who attends to what.
        layer: gives a layer's cached keys and values, which are written to.
        attention: of the device.
    """

    metadata: Metadata
    layer: Layer
    attention: Attention


def paged_attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: "torch.Tensor | None" = None,
    paged: Paged | None = None,
    **_: Any,
) -> tuple["torch.Tensor", None]:
    """Attention as transformers calls it, over the cache; without one it is causal attention of whole sequences.

    Args:
        module: the attention layer.
        query: ``[1, heads, tokens, width]`` (``[batch, …]`` without a cache).
        key: ``[1, key_heads, tokens, width]``, of the pass's own tokens.
        value: like ``key``.
        attention_mask: never given: transformers makes none for an implementation it does not know.
        scaling: of the scores; ``width ** -0.5`` by default.
        sliding_window: the layer's tokens look at the last so many, themselves among them; None for all before.
        softcap: not supported.
        s_aux: not supported.
        paged: of the pass.

    Returns:
        ``[1, tokens, heads, width]``, and None in place of the attention weights.

    Raises:
        UnsupportedBase: the model caps its scores or has attention sinks.
    """
    from torch.nn.functional import scaled_dot_product_attention

    check_plain_softmax(module, softcap, s_aux)
    if paged is None:
        whole = Stretch(slice(0, query.shape[2]), None, query.shape[2]).mask(query.device, sliding_window)
        grouped = query.shape[1] != key.shape[1]
        found = scaled_dot_product_attention(
            query, key, value, attn_mask=whole, is_causal=whole is None, scale=scaling, enable_gqa=grouped
        )
        return found.transpose(1, 2).contiguous(), None
    keys, values = paged.layer(module.layer_idx, key, value)
    keys.index_copy_(0, paged.metadata.written, key[0].transpose(0, 1))
    values.index_copy_(0, paged.metadata.written, value[0].transpose(0, 1))
    return attend(module, query, keys, values, paged, sliding_window, scaling), None


def attend(
    module: Any,
    query: "torch.Tensor",
    keys: "torch.Tensor",
    values: "torch.Tensor",
    paged: Paged,
    window: int | None,
    scaling: float | None,
) -> "torch.Tensor":
    """Attention of a pass's tokens, ``[1, tokens, heads, width]``, whose own keys and values are in the cache already.

    Args:
        module: the attention layer.
        query: ``[1, heads, tokens, width]``.
        keys: the layer's cache, ``[places, key_heads, width]``.
        values: like ``keys``.
        paged: of the pass.
        window: the layer's tokens look at the last so many, themselves among them; None for all before.
        scaling: of the scores; ``width ** -0.5`` by default.
    """
    pass_, attention = paged.metadata, paged.attention
    heads, tokens = query.shape[1:3]
    output = query.new_empty(1, tokens, heads, values.shape[-1])
    for singles in pass_.singles:
        singles.windows.add(window)
        attention.singles(module, query, keys, values, output, singles, window, scaling)
    for stretch in pass_.stretches:
        places = pass_.written[stretch.tokens] if stretch.keys is None else stretch.keys
        own_keys, own_values = (each[places].transpose(0, 1)[None] for each in (keys, values))
        mask = stretch.mask(query.device, window)
        answer = attention.stretch(query[:, :, stretch.tokens], own_keys, own_values, mask, scaling)
        output[:, stretch.tokens] = answer.transpose(1, 2)
    return output


def register_attention() -> str:
    """Make the implementation known to transformers, without a mask; returns the name to ask for."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, paged_attention)
    return NAME
