"""Attention on a CPU."""

from typing import TYPE_CHECKING, Any

from sharedllm.base.cpu_attention import stacked_attention

if TYPE_CHECKING:
    import torch

_FEW_KEYS = 256
"""Of one token alone; torch's fused attention takes half as long for these, and twice for thousands."""


class CpuAttention:
    """See `Attention`. For single tokens of many torch's fused attention takes twice as long as plain products."""

    def singles(
        self,
        module: Any,
        query: "torch.Tensor",
        keys: "torch.Tensor",
        values: "torch.Tensor",
        mask: "torch.Tensor",
        scaling: float | None,
    ) -> "torch.Tensor":
        from torch.nn.functional import scaled_dot_product_attention

        count, heads, _, width = query.shape
        if count > 1 or keys.shape[2] > _FEW_KEYS:
            return stacked_attention(module, query, keys, values, mask, scaling)[0]
        # With so little to multiply calls take longest, and this is one; heads that share a key head are its queries.
        grouped = query.reshape(1, keys.shape[1], -1, width)
        answer = scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scaling)
        return answer.reshape(1, 1, heads, -1)

    def stretch(
        self,
        query: "torch.Tensor",
        keys: "torch.Tensor",
        values: "torch.Tensor",
        mask: "torch.Tensor | None",
        scaling: float | None,
    ) -> "torch.Tensor":
        from torch.nn.functional import scaled_dot_product_attention

        grouped = query.shape[1] != keys.shape[1]
        return scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
        )
