"""Attention over requests of different lengths in one pass.

transformers would give every token a mask over the keys of all requests; the work then grows with the square of how
many there are. Here requests that read one new token and have about as many keys are one padded product over their own,
in which torch's fused attention takes twice as long as plain products on a CPU, and a longer prompt is one of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sharedllm.base.attention import stacked_attention

if TYPE_CHECKING:
    import torch

NAME = "ragged"
_PADDED = 8
"""Keys are padded to a multiple: oneDNN makes code for every shape that it has not seen."""
_TOGETHER = 256
"""Requests of fewer keys are one product whatever their lengths, since padding them takes less than another product."""


@dataclass(frozen=True, eq=False)
class Singles:
    """Requests that read one token, padded to the keys of the longest.

    Attributes:
        tokens: their places in the pass, ``[requests]``.
        keys: in the cache of the heads of their keys, padded with any, ``[requests * key_heads * longest]``: a place's
            heads lie one after the other.
        mask: 0 where there is a key and minus infinity where there is padding, ``[requests, 1, 1, longest]``.
    """

    tokens: "torch.Tensor"
    keys: "torch.Tensor"
    mask: "torch.Tensor"

    def to(self, device: "torch.device") -> "Singles":
        """The same on a device."""
        return Singles(self.tokens.to(device), self.keys.to(device), self.mask.to(device))


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
        singles: the requests that read one token.
        stretches: the requests that read more.
    """

    written: "torch.Tensor"
    singles: list[Singles]
    stretches: list[Stretch]

    def to(self, device: "torch.device") -> "Plan":
        """The same on a device."""
        return Plan(
            self.written.to(device),
            [each.to(device) for each in self.singles],
            [each.to(device) for each in self.stretches],
        )


def plan(
    lengths: Sequence[int],
    totals: Sequence[int],
    read: "torch.Tensor",
    written: "torch.Tensor",
    key_heads: int,
    dtype: "torch.dtype",
) -> Plan:
    """Plan a pass, on the CPU.

    Args:
        lengths: new tokens of each request, in the order of the pass.
        totals: keys of each, old and new.
        read: places in the cache of every request's keys, one after the other; empty where all are new.
        written: places in the cache of the new tokens.
        key_heads: of a place in the cache.
        dtype: of the attention scores.
    """
    import torch

    # Padded to the longest of all, everybody's attention would take as long as that of one long request.
    alike: dict[int, list[tuple[int, torch.Tensor]]] = {}
    stretches = []
    token = key = 0
    for length, total in zip(lengths, totals, strict=True):
        own = read[key : key + total] if read.numel() else written[token : token + length]
        if length == 1:
            alike.setdefault(max(power_of_two(total), _TOGETHER), []).append((token, own))
        elif length == total:
            stretches.append(Stretch(slice(token, token + length), None, None))
        else:
            seen = torch.ones(length, total, dtype=torch.bool).tril(total - length)
            stretches.append(Stretch(slice(token, token + length), own, seen))
        token, key = token + length, key + total
    singles = []
    for group in alike.values():
        tokens, keys = zip(*group, strict=True)
        longest = max(map(len, keys))
        singles.append(padded(tokens, keys, -(-longest // _PADDED) * _PADDED, key_heads, dtype))
    return Plan(written, singles, stretches)


def padded(
    tokens: Sequence[int], keys: "Sequence[torch.Tensor]", longest: int, key_heads: int, dtype: "torch.dtype"
) -> Singles:
    """Requests that read one token as one product.

    Args:
        tokens: their places in the pass.
        keys: places in the cache of the keys of each.
        longest: what these are padded to.
        key_heads: of a place in the cache.
        dtype: of the attention scores.
    """
    import torch
    from torch.nn.functional import pad

    # Padding reads a key that is there, and the mask keeps it out.
    all_keys = torch.nn.utils.rnn.pad_sequence(list(keys), batch_first=True)
    all_keys = pad(all_keys, (0, longest - all_keys.shape[1]))
    held = torch.tensor([len(own) for own in keys])
    mask = torch.zeros(all_keys.shape, dtype=dtype)
    mask.masked_fill_(torch.arange(longest) >= held[:, None], float("-inf"))
    heads = all_keys[:, None] * key_heads + torch.arange(key_heads)[:, None]
    return Singles(torch.tensor(tokens), heads.flatten(), mask[:, None, None])


def power_of_two(count: int) -> int:
    """The smallest that is no less."""
    return 1 << (count - 1).bit_length()


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
    for singles in steps.singles:
        one = query[0].index_select(1, singles.tokens).transpose(0, 1)[:, :, None]
        shape = len(singles.tokens), key_heads, -1, width
        seen, told = (each.view(-1, width).index_select(0, singles.keys).view(shape) for each in (keys, values))
        answers = stacked_attention(module, one, seen, told, singles.mask, scaling)[0]
        output[0].index_copy_(0, singles.tokens, answers[:, 0])
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
