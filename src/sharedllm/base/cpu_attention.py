"""Attention for training and reading on a CPU, in plain matrix products.

torch's fused CPU attention has a slow backward pass: at windows of 256 tokens it takes three times as long as this.
Query heads that share a key head are stacked into one product, so keys and values are never copied once per head.
"""

from typing import TYPE_CHECKING, Any

from sharedllm.errors import UnsupportedBase

if TYPE_CHECKING:
    import torch

NAME = "stacked"


def register_attention() -> str:
    """Make the implementation known to transformers; returns the name to ask for."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, stacked_attention)
    AttentionMaskInterface.register(NAME, eager_mask)
    return NAME


def stacked_attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: "torch.Tensor | None" = None,
    **_: Any,
) -> tuple["torch.Tensor", None]:
    """Attention as transformers calls it (grouped-query: Ainslie et al. 2023, section 2).

    Args:
        module: the attention layer.
        query: ``[batch, heads, queries, width]``.
        key: ``[batch, key_heads, keys, width]``; heads is a multiple of key_heads.
        value: like ``key``.
        attention_mask: additive, ``[batch or 1, 1, queries, keys]``; None lets everything attend to everything.
        scaling: of the scores; ``width ** -0.5`` by default.
        softcap: not supported.
        s_aux: not supported.

    Returns:
        ``[batch, queries, heads, width]``, and None in place of the attention weights.

    Raises:
        UnsupportedBase: the model caps its scores or has attention sinks.
    """
    import torch

    check_plain_softmax(module, softcap, s_aux)
    batch, heads, queries, width = query.shape
    key_heads, keys = key.shape[1], key.shape[2]
    group = heads // key_heads
    scale = width**-0.5 if scaling is None else scaling
    stacked = query.reshape(batch * key_heads, group * queries, width)
    transposed = key.reshape(batch * key_heads, keys, width).transpose(1, 2)
    if attention_mask is None:
        mask = query.new_zeros(1, 1, 1)
    else:
        # Without padding all sequences have one mask, and transformers gives the same memory for each of them.
        shared = attention_mask.shape[0] == 1 or attention_mask.stride(0) == 0
        mask = (attention_mask[:1] if shared else attention_mask).expand(-1, group, -1, -1)
        mask = mask.reshape(-1, 1, group * queries, keys)
        if not shared:
            mask = mask.expand(-1, key_heads, -1, -1)
        mask = mask.reshape(-1, group * queries, keys)
    scores = torch.baddbmm(mask, stacked, transposed, alpha=scale)
    output = torch.bmm(scores.softmax(dim=-1), value.reshape(batch * key_heads, keys, -1))
    return output.view(batch, heads, queries, -1).transpose(1, 2).contiguous(), None


def check_plain_softmax(module: Any, softcap: float | None, s_aux: "torch.Tensor | None") -> None:
    """Refuse attention that caps its scores or has sinks, which is computed here nowhere.

    Raises:
        UnsupportedBase: the layer ``module`` does.
    """
    if softcap is not None or s_aux is not None:
        raise UnsupportedBase(
            f"{type(module).__name__} caps its attention scores or has attention sinks",
            remedy="Use a base with plain softmax attention.",
        )
