"""Attention over requests of different lengths in one pass.

transformers would give every token a mask over the keys of all requests; the work then grows with the square of how
many there are. Here requests that read one new token and have about as many keys are one padded product over their own,
in which torch's fused attention takes twice as long as plain products on a CPU, and a longer prompt is one of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sharedllm.base.attention import stacked_attention
from sharedllm.errors import UnsupportedBase

if TYPE_CHECKING:
    import torch

NAME = "ragged"
_PADDED = 8
"""Keys are padded to a multiple: oneDNN makes code for every shape that it has not seen."""
_TOGETHER = 256
"""Requests of fewer keys are one product whatever their lengths, since padding them takes less than another product."""

Layer = Callable[[int, "torch.Tensor", "torch.Tensor"], "tuple[torch.Tensor, torch.Tensor]"]
"""From a layer's number, its new keys and its new values to all that are cached: see `Cache.layer`."""


@dataclass(frozen=True, eq=False)
class Singles:
    """Requests that read one token, padded to the keys of the longest.

    Attributes:
        tokens: their places in the pass, ``[requests]``.
        keys: places in the cache of their keys, in order, padded with any, ``[requests, longest]``.
        held: how many keys each has, ``[requests]``.
    """

    tokens: "torch.Tensor"
    keys: "torch.Tensor"
    held: "torch.Tensor"
    _heads: dict[int, "torch.Tensor"] = field(default_factory=dict, repr=False)
    _masks: dict[tuple["torch.dtype", int | None], "torch.Tensor"] = field(default_factory=dict, repr=False)

    def to(self, device: "torch.device") -> "Singles":
        """The same on a device."""
        return Singles(self.tokens.to(device), self.keys.to(device), self.held.to(device))

    @property
    def windows(self) -> set[int | None]:
        """Of how many of the last keys anybody has asked for a mask; None is all."""
        return {kind[1] for kind in self._masks}

    def heads(self, count: int) -> "torch.Tensor":
        """Where the heads of the keys are, a place's one after the other, ``[requests * count * longest]``."""
        import torch

        if count not in self._heads:
            own = torch.arange(count, device=self.keys.device)[:, None]
            self._heads[count] = (self.keys[:, None] * count + own).flatten()
        return self._heads[count]

    def mask(self, dtype: "torch.dtype", window: int | None) -> "torch.Tensor":
        """0 where a token looks and minus infinity elsewhere, ``[requests, 1, 1, longest]``.

        Args:
            dtype: of the scores.
            window: it looks at the last so many keys alone; None for all.
        """
        import torch

        kind = dtype, window
        if kind not in self._masks:
            key, held = torch.arange(self.keys.shape[1], device=self.keys.device), self.held[:, None]
            hidden = key >= held if window is None else (key >= held) | (key < held - window)
            zeros = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
            self._masks[kind] = zeros.masked_fill_(hidden, float("-inf"))[:, None, None]
        return self._masks[kind]


@dataclass(frozen=True, eq=False)
class Stretch:
    """The new tokens of one request that reads several.

    Attributes:
        tokens: their places in the pass.
        keys: places in the cache of all its keys, old and new; None where all of them are in this pass.
        total: how many these are.
    """

    tokens: slice
    keys: "torch.Tensor | None"
    total: int
    _made: dict[int | None, "torch.Tensor"] = field(default_factory=dict, repr=False)

    def to(self, device: "torch.device") -> "Stretch":
        """The same on a device."""
        return Stretch(self.tokens, None if self.keys is None else self.keys.to(device), self.total)

    def mask(self, device: "torch.device", window: int | None) -> "torch.Tensor | None":
        """True where a token looks, ``[tokens, keys]``; None where it looks at itself and all new ones before it."""
        import torch

        length = self.tokens.stop - self.tokens.start
        if window is not None and window >= self.total:
            window = None
        if self.keys is None and window is None:
            return None
        if window not in self._made:
            seen = torch.ones(length, self.total, dtype=torch.bool, device=device).tril(self.total - length)
            self._made[window] = seen if window is None else seen.triu(self.total - length - window + 1)
        return self._made[window]


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


def plan(lengths: Sequence[int], held: "Sequence[torch.Tensor]") -> Plan:
    """Plan a pass, on the CPU.

    Args:
        lengths: new tokens of each request, in the order of the pass.
        held: places in the cache of each one's keys, old and new, in the order of its tokens.
    """
    import torch
    from torch.nn.functional import pad

    # Padded to the longest of all, everybody's attention would take as long as that of one long request.
    alike: dict[int, list[tuple[int, torch.Tensor]]] = {}
    stretches = []
    token = 0
    for length, own in zip(lengths, held, strict=True):
        if length == 1:
            alike.setdefault(max(power_of_two(len(own)), _TOGETHER), []).append((token, own))
        else:
            stretches.append(Stretch(slice(token, token + length), None if length == len(own) else own, len(own)))
        token += length
    singles = []
    for group in alike.values():
        tokens, keys = zip(*group, strict=True)
        # Padding reads a key that is there, and the mask keeps it out.
        all_keys = torch.nn.utils.rnn.pad_sequence(list(keys), batch_first=True)
        all_keys = pad(all_keys, (0, -all_keys.shape[1] % _PADDED))
        lengths_of_keys = torch.tensor([len(own) for own in keys])
        singles.append(Singles(torch.tensor(tokens), padded(all_keys, lengths_of_keys), lengths_of_keys))
    written = torch.cat([own[len(own) - length :] for length, own in zip(lengths, held, strict=True)])
    return Plan(written, singles, stretches)


def padded(keys: "torch.Tensor", held: "torch.Tensor") -> "torch.Tensor":
    """Places of keys, ``[requests, longest]``, with each request's first in place of those that it does not hold.

    A mask gives what is there no weight, but nothing times what is no number is no number: what overflowed in one
    request's keys and values must not be read with another's.

    Args:
        keys: places in the cache.
        held: how many of them each request has, ``[requests]``.
    """
    import torch

    own = torch.arange(keys.shape[1], device=keys.device) < held[:, None]
    return torch.where(own, keys, keys[:, :1])


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
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: "torch.Tensor | None" = None,
    ragged: "tuple[Plan, Layer] | None" = None,
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
        sliding_window: the layer's tokens look at the last so many, themselves among them; None for all before.
        softcap: not supported.
        s_aux: not supported.
        ragged: the plan, and what gives a layer's cached keys and values, which this writes to.

    Returns:
        ``[1, tokens, heads, width]``, and None in place of the attention weights.

    Raises:
        UnsupportedBase: the model caps its scores or has attention sinks, or it attends without a plan in windows.
    """
    from torch.nn.functional import scaled_dot_product_attention as attend

    if softcap is not None or s_aux is not None:
        raise UnsupportedBase(
            f"{type(module).__name__} caps its attention scores or has attention sinks",
            remedy="Use a base with plain softmax attention.",
        )
    grouped = query.shape[1] != key.shape[1]
    if ragged is None:
        whole = Stretch(slice(0, query.shape[2]), None, query.shape[2]).mask(query.device, sliding_window)
        found = attend(query, key, value, attn_mask=whole, is_causal=whole is None, scale=scaling, enable_gqa=grouped)
        return found.transpose(1, 2).contiguous(), None
    steps, layer = ragged
    keys, values = layer(module.layer_idx, key, value)
    keys.index_copy_(0, steps.written, key[0].transpose(0, 1))
    values.index_copy_(0, steps.written, value[0].transpose(0, 1))
    heads, tokens = query.shape[1:3]
    key_heads = key.shape[1]
    output = query.new_empty(1, tokens, heads, value.shape[-1])
    for singles in steps.singles:
        one = query[0].index_select(1, singles.tokens).transpose(0, 1)[:, :, None]
        seen, told = (
            each.view(-1, each.shape[-1])
            .index_select(0, singles.heads(key_heads))
            .view(len(singles.tokens), key_heads, -1, each.shape[-1])
            for each in (keys, values)
        )
        looks = singles.mask(query.dtype, sliding_window)
        answers = stacked_attention(module, one, seen, told, looks, scaling)[0]
        output[0].index_copy_(0, singles.tokens, answers[:, 0])
    for stretch in steps.stretches:
        new = query[:, :, stretch.tokens]
        mask = stretch.mask(query.device, sliding_window)
        shared = grouped
        if stretch.keys is None:
            held = key[:, :, stretch.tokens], value[:, :, stretch.tokens]
        else:
            held = keys[stretch.keys].transpose(0, 1)[None], values[stretch.keys].transpose(0, 1)[None]
        if mask is not None and grouped and query.device.type != "cpu":
            # With a mask, what is fused on a GPU takes a head of keys for each of the queries.
            group = heads // key_heads
            held = held[0].repeat_interleave(group, dim=1), held[1].repeat_interleave(group, dim=1)
            shared = False
        answer = attend(new, *held, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=shared)
        output[:, stretch.tokens] = answer.transpose(1, 2)
    return output, None


def register_ragged() -> str:
    """Make the implementation known to transformers, without a mask; returns the name to ask for."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, ragged_attention)
    return NAME
