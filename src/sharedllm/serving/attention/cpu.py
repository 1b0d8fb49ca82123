"""Attention on a CPU."""

from typing import TYPE_CHECKING, Any

from sharedllm.base.cpu_attention import stacked_attention

if TYPE_CHECKING:
    import torch


class CpuAttention:
    """See `Attention`. For single tokens torch's fused attention takes twice as long as plain products."""

    def singles(
        self,
        module: Any,
        query: "torch.Tensor",
        keys: "torch.Tensor",
        values: "torch.Tensor",
        mask: "torch.Tensor",
        scaling: float | None,
    ) -> "torch.Tensor":
        return stacked_attention(module, query, keys, values, mask, scaling)[0]

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
