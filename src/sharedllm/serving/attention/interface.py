"""Attention over sequences of different lengths in one pass, each over its own keys and values alone.

transformers would give every token a mask over the keys of everybody; the work then grows with the square of how many
they are. Here sequences that read one new token and have about as many keys are one padded product over their own, and
a longer piece of a sequence is one of its own. What computes these two is a file a device, behind `Attention`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sharedllm.errors import UnsupportedBase

if TYPE_CHECKING:
    import torch

NAME = "paged"
_PADDED = 8
"""Keys are padded to a multiple: oneDNN makes code for every shape that it has not seen."""
_TOGETHER = 256
"""Sequences of fewer keys are one product whatever their lengths, since padding takes less than another product."""

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
        mask: "torch.Tensor",
        scaling: float | None,
    ) -> "torch.Tensor":
        """Of sequences that read one token each.

        Args:
            module: the attention layer.
            query: ``[sequences, heads, 1, width]``.
            keys: ``[sequences, key_heads, longest, width]``, padded with any of the sequence's own.
            values: like ``keys``.
            mask: 0 where a token looks and minus infinity elsewhere, ``[sequences, 1, 1, longest]``.
            scaling: of the scores; ``width ** -0.5`` by default.

        Returns:
            ``[sequences, 1, heads, width]``.
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
class Metadata:
    """Who attends to what in one pass; the same for every layer.

    Attributes:
        written: places in the cache of the pass's tokens, ``[tokens]``.
        singles: the requests that read one token.
        stretches: the requests that read more.
    """

    written: "torch.Tensor"
    singles: list[Singles]
    stretches: list[Stretch]

    def to(self, device: "torch.device") -> "Metadata":
        """The same on a device."""
        return Metadata(
            self.written.to(device),
            [each.to(device) for each in self.singles],
            [each.to(device) for each in self.stretches],
        )


def metadata(lengths: Sequence[int], held: "Sequence[torch.Tensor]") -> Metadata:
    """Say who attends to what in a pass, on the CPU.

    Args:
        lengths: new tokens of each request, in the order of the pass.
        held: places in the cache of each one's keys, old and new, in the order of its tokens.
    """
    import torch
    from torch.nn.functional import pad

    totals = [own.numel() for own in held]
    # Padded to the longest of all, everybody's attention would take as long as that of one long sequence.
    alike: dict[int, list[int]] = {}
    stretches, written, firsts = [], [], []
    token = 0
    for number, (length, own, total) in enumerate(zip(lengths, held, totals, strict=True)):
        if length == 1:
            alike.setdefault(max(power_of_two(total), _TOGETHER), []).append(number)
        else:
            stretches.append(Stretch(slice(token, token + length), None if length == total else own, total))
        written.append(own[total - length :])
        firsts.append(token)
        token += length
    singles = []
    for group in alike.values():
        # Padding reads a key that is there, and the mask keeps it out.
        keys = torch.nn.utils.rnn.pad_sequence([held[number] for number in group], batch_first=True)
        keys = pad(keys, (0, -keys.shape[1] % _PADDED))
        counts = torch.tensor([totals[number] for number in group])
        tokens = torch.tensor([firsts[number] for number in group])
        singles.append(Singles(tokens, padded(keys, counts), counts))
    return Metadata(torch.cat(written), singles, stretches)


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

    if softcap is not None or s_aux is not None:
        raise UnsupportedBase(
            f"{type(module).__name__} caps its attention scores or has attention sinks",
            remedy="Use a base with plain softmax attention.",
        )
    if paged is None:
        whole = Stretch(slice(0, query.shape[2]), None, query.shape[2]).mask(query.device, sliding_window)
        grouped = query.shape[1] != key.shape[1]
        found = scaled_dot_product_attention(
            query, key, value, attn_mask=whole, is_causal=whole is None, scale=scaling, enable_gqa=grouped
        )
        return found.transpose(1, 2).contiguous(), None
    pass_, attention = paged.metadata, paged.attention
    keys, values = paged.layer(module.layer_idx, key, value)
    keys.index_copy_(0, pass_.written, key[0].transpose(0, 1))
    values.index_copy_(0, pass_.written, value[0].transpose(0, 1))
    heads, tokens = query.shape[1:3]
    key_heads = key.shape[1]
    output = query.new_empty(1, tokens, heads, value.shape[-1])
    for singles in pass_.singles:
        one = query[0].index_select(1, singles.tokens).transpose(0, 1)[:, :, None]
        own_keys, own_values = (
            each.view(-1, each.shape[-1])
            .index_select(0, singles.heads(key_heads))
            .view(len(singles.tokens), key_heads, -1, each.shape[-1])
            for each in (keys, values)
        )
        answers = attention.singles(
            module, one, own_keys, own_values, singles.mask(query.dtype, sliding_window), scaling
        )
        output[0].index_copy_(0, singles.tokens, answers[:, 0])
    for stretch in pass_.stretches:
        if stretch.keys is None:
            own_keys, own_values = key[:, :, stretch.tokens], value[:, :, stretch.tokens]
        else:
            own_keys, own_values = (each[stretch.keys].transpose(0, 1)[None] for each in (keys, values))
        mask = stretch.mask(query.device, sliding_window)
        answer = attention.stretch(query[:, :, stretch.tokens], own_keys, own_values, mask, scaling)
        output[:, stretch.tokens] = answer.transpose(1, 2)
    return output, None


def register_attention() -> str:
    """Make the implementation known to transformers, without a mask; returns the name to ask for."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, paged_attention)
    return NAME
