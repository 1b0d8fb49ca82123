"""Who attends to what in one pass: sequences of different lengths, each to its own keys and values alone.

transformers would give every token a mask over the keys of everybody; the work then grows with the square of how many
they are. Here sequences that read one new token and have about as many keys are one padded product over their own, and
a longer piece of a sequence is one of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PADDED = 8
"""Keys are padded to a multiple: oneDNN makes code for every shape that it has not seen."""
_TOGETHER = 256
"""Sequences of fewer keys are one product whatever their lengths, since padding takes less than another product."""


@dataclass(frozen=True, eq=False)
class Singles:
    """Requests that read one token, padded to the keys of the longest.

    Attributes:
        tokens: their places in the pass, ``[requests]``.
        keys: places in the cache of their keys, in order, padded with any, ``[requests, longest]``.
        held: how many keys each has, ``[requests]``.
        windows: of how many of the last keys layers have asked; None is all.
    """

    tokens: "torch.Tensor"
    keys: "torch.Tensor"
    held: "torch.Tensor"
    windows: set[int | None] = field(default_factory=set)
    _heads: dict[int, "torch.Tensor"] = field(default_factory=dict, repr=False)
    _masks: dict[tuple["torch.dtype", int | None], "torch.Tensor"] = field(default_factory=dict, repr=False)

    def to(self, device: "torch.device") -> "Singles":
        """The same on a device."""
        return Singles(self.tokens.to(device), self.keys.to(device), self.held.to(device))

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
