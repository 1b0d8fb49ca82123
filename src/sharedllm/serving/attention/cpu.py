"""Attention on a CPU."""

from typing import TYPE_CHECKING, Any

from sharedllm.base.compiled_kernels import Kernels
from sharedllm.base.cpu_attention import stacked_attention
from sharedllm.serving.attention.metadata import Singles

if TYPE_CHECKING:
    import torch

_FEW_KEYS = 256
"""Of one token alone; torch's fused attention takes half as long for these, and twice for thousands."""


class CpuAttention:
    """See `Attention`."""

    def __init__(self, kernels: Kernels | None = None) -> None:
        """By these kernels; without them single tokens attend to copies of their keys and values."""
        self._kernels = kernels

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
        if self._kernels is not None and self._kernels.attends(query, keys, values):
            asked = singles.tokens, singles.keys, singles.held
            self._kernels.attend(query, keys, values, output, asked, window, scaling)
            return
        one = query[0].index_select(1, singles.tokens).transpose(0, 1)[:, :, None]
        own_keys, own_values = (
            each.view(-1, each.shape[-1])
            .index_select(0, singles.heads(each.shape[1]))
            .view(len(singles.tokens), each.shape[1], -1, each.shape[-1])
            for each in (keys, values)
        )
        answers = _padded(module, one, own_keys, own_values, singles.mask(query.dtype, window), scaling)
        output[0].index_copy_(0, singles.tokens, answers[:, 0])

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


def _padded(
    module: Any,
    query: "torch.Tensor",
    keys: "torch.Tensor",
    values: "torch.Tensor",
    mask: "torch.Tensor",
    scaling: float | None,
) -> "torch.Tensor":
    """Of ``[sequences, heads, 1, width]`` queries; for many torch's fused attention takes twice as long as products."""
    from torch.nn.functional import scaled_dot_product_attention

    count, heads, _, width = query.shape
    if count > 1 or keys.shape[2] > _FEW_KEYS:
        return stacked_attention(module, query, keys, values, mask, scaling)[0]
    # With so little to multiply calls take longest, and this is one; heads that share a key head are its queries.
    grouped = query.reshape(1, keys.shape[1], -1, width)
    answer = scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scaling)
    return answer.reshape(1, 1, heads, -1)
