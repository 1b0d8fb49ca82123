"""Attention over requests of different lengths in one pass.

transformers would give every token a mask over the keys of all requests; the work then grows with the square of how
many there are. Here requests that read one new token are one padded product over their own keys, in which torch's
fused attention takes twice as long as plain products on a CPU, and a longer prompt is one of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sharedllm.base.attention import stacked_attention

if TYPE_CHECKING:
    import torch

NAME = "ragged"
_PADDED = 8


def _padded(keys: int) -> int:
    """A multiple of eight: oneDNN makes code for every shape that it has not seen."""
    return -(-keys // _PADDED) * _PADDED


@dataclass(frozen=True, eq=False)
class Stretch:
    """The new tokens of one request that reads several.

    Attributes:
        tokens: their places in the pass.
        keys: places in the cache of all its keys, old and new; None where all of them are in this pass.
        mask: True where a token may look, ``[tokens, keys]``; None where ``keys`` is.
    """

    tokens: slice
    keys: "torch.Tensor | None"
    mask: "torch.Tensor | None"

    def to(self, device: "torch.device") -> "Stretch":
        """The same on a device."""
        if self.keys is None or self.mask is None:
            return self
        return replace(self, keys=self.keys.to(device), mask=self.mask.to(device))


@dataclass(frozen=True, eq=False)
class Plan:
    """Who attends to what in one pass; the same for every layer.

    Attributes:
        written: places in the cache of the pass's tokens, ``[tokens]``.
        single: places in the pass of the requests that read one token, ``[single]``.
        keys: in the cache of the heads of their keys, padded with any, ``[single * key_heads * longest]``: a place's
            heads lie one after the other.
        mask: 0 where there is a key and minus infinity where there is padding, ``[single, 1, 1, longest]``.
        stretches: the requests that read more.
    """

    written: "torch.Tensor"
    single: "torch.Tensor"
    keys: "torch.Tensor"
    mask: "torch.Tensor"
    stretches: list[Stretch]

    def to(self, device: "torch.device") -> "Plan":
        """The same on a device."""
        return Plan(
            self.written.to(device),
            self.single.to(device),
            self.keys.to(device),
            self.mask.to(device),
            [each.to(device) for each in self.stretches],
        )


def plan(
    lengths: Sequence[int],
    totals: Sequence[int],
    read: "torch.Tensor",
    written: "torch.Tensor",
    key_heads: int,
    dtype: "torch.dtype",
    *,
    longest: Callable[[int], int] = _padded,
) -> Plan:
    """Plan a pass, on the CPU.

    Args:
        lengths: new tokens of each request, in the order of the pass.
        totals: keys of each, old and new.
        read: places in the cache of every request's keys, one after the other; empty where all are new.
        written: places in the cache of the new tokens.
        key_heads: of a place in the cache.
        dtype: of the attention scores.
        longest: to how many keys those of the requests that read one token are padded, from how many the longest has.
    """
    import torch

    singles: list[int] = []
    keys: list[torch.Tensor] = []
    stretches = []
    token = key = 0
    for length, total in zip(lengths, totals, strict=True):
        own = read[key : key + total] if read.numel() else written[token : token + length]
        if length == 1:
            singles.append(token)
            keys.append(own)
        elif length == total:
            stretches.append(Stretch(slice(token, token + length), None, None))
        else:
            seen = torch.ones(length, total, dtype=torch.bool).tril(total - length)
            stretches.append(Stretch(slice(token, token + length), own, seen))
        token, key = token + length, key + total
    # Padding reads a key that is there, and the mask keeps it out.
    padded = torch.nn.utils.rnn.pad_sequence(keys, batch_first=True) if keys else torch.zeros(0, 0, dtype=torch.int64)
    padded = torch.nn.functional.pad(padded, (0, longest(padded.shape[1]) - padded.shape[1]))
    held = torch.tensor([len(own) for own in keys])
    mask = torch.zeros(padded.shape, dtype=dtype)
    mask.masked_fill_(torch.arange(padded.shape[1]) >= held[:, None], float("-inf"))
    heads = padded[:, None] * key_heads + torch.arange(key_heads)[:, None]
    return Plan(written, torch.tensor(singles, dtype=torch.int64), heads.flatten(), mask[:, None, None], stretches)


def ragged_attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    scaling: float | None = None,
    ragged: "tuple[Plan, Any] | None" = None,
    **_: Any,
) -> tuple["torch.Tensor", None]:
    """Attention as transformers calls it, with a plan; without one it is causal attention of whole sequences.

    Args:
        module: the attention layer.
        query: ``[1, heads, tokens, width]`` (``[batch, …]`` without a plan).
        key: ``[1, key_heads, tokens, width]``, of the pass's own tokens.
        value: like ``key``.
        attention_mask: never given: transformers makes none for an implementation it does not know.
        scaling: of the scores; ``width ** -0.5`` by default.
        ragged: the plan, and a function from the layer's number to its cached keys and values,
            ``[places, key_heads, width]`` each, which this writes to.

    Returns:
        ``[1, tokens, heads, width]``, and None in place of the attention weights.
    """
    from torch.nn.functional import scaled_dot_product_attention as attend

    grouped = query.shape[1] != key.shape[1]
    if ragged is None:
        whole = attend(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
        return whole.transpose(1, 2).contiguous(), None
    steps, cached = ragged
    keys, values = cached(module.layer_idx)
    keys.index_copy_(0, steps.written, key[0].transpose(0, 1))
    values.index_copy_(0, steps.written, value[0].transpose(0, 1))
    heads, tokens, width = query.shape[1:]
    key_heads = key.shape[1]
    output = query.new_empty(1, tokens, heads, value.shape[-1])
    if len(steps.single):
        one = query[0].index_select(1, steps.single).transpose(0, 1)[:, :, None]
        shape = len(steps.single), key_heads, -1, width
        seen, told = (each.view(-1, width).index_select(0, steps.keys).view(shape) for each in (keys, values))
        answers = stacked_attention(module, one, seen, told, steps.mask, scaling)[0]
        output[0].index_copy_(0, steps.single, answers[:, 0])
    for stretch in steps.stretches:
        new = query[:, :, stretch.tokens]
        if stretch.keys is None:
            held = key[:, :, stretch.tokens], value[:, :, stretch.tokens]
            answer = attend(new, *held, is_causal=True, scale=scaling, enable_gqa=grouped)
        else:
            held = keys[stretch.keys].transpose(0, 1)[None], values[stretch.keys].transpose(0, 1)[None]
            shared = grouped
            if grouped and query.device.type != "cpu":
                # With a mask, what is fused on a GPU takes a head of keys for each of the queries.
                group = heads // key_heads
                held = held[0].repeat_interleave(group, dim=1), held[1].repeat_interleave(group, dim=1)
                shared = False
            answer = attend(new, *held, attn_mask=stretch.mask, scale=scaling, enable_gqa=shared)
        output[:, stretch.tokens] = answer.transpose(1, 2)
    return output, None


def register_ragged() -> str:
    """Make the implementation known to transformers, without a mask; returns the name to ask for."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, ragged_attention)
    return NAME
