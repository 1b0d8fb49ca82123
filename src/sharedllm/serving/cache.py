"""Keys and values of everything that runs or may go on, in pages that each holds for itself alone."""

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PAGE_TOKENS = 32


def places(tokens: int) -> int:
    """As many tokens as the pages have room for that so many take in the cache."""
    return -(-tokens // PAGE_TOKENS) * PAGE_TOKENS


class Cache:
    """A place for the key and the value of a token in every layer; pages of places are handed out and given back.

    Nothing is shared between sequences, not even an equal beginning: keys and values depend on the row as well.

    Attributes:
        tokens: as many have a place.
        nowhere: one more place, for what nobody is to read.
    """

    def __init__(self, tokens: int) -> None:
        """Nothing is held, and layers have no memory before they are first written to.

        Args:
            tokens: as many places at least.
        """
        self.tokens = self.nowhere = places(tokens)
        self._free = list(range(self.tokens // PAGE_TOKENS - 1, -1, -1))
        # Of the free ones those that hold what somebody wrote.
        self._used: set[int] = set()
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def layers(self) -> int:
        """How many layers have been written to."""
        return len(self._layers)

    @property
    def held(self) -> int:
        """How many places are not free."""
        return self.tokens - len(self._free) * PAGE_TOKENS

    def layer(self, number: int, key: "torch.Tensor", value: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """The keys and the values of a layer, ``[places, key_heads, width]`` each, which the caller may write to.

        Args:
            number: of the layer.
            key: any of its keys, ``[1, key_heads, tokens, width]``: memory is taken for such as these.
            value: like ``key``.
        """
        if number not in self._layers:
            keys, values = (each.new_zeros(self.tokens + 1, each.shape[1], each.shape[3]) for each in (key, value))
            self._layers[number] = keys, values
        return self._layers[number]

    def take(self, tokens: int, begun: Sequence[int] = ()) -> "torch.Tensor | None":
        """Places of their own for so many tokens, int64 ``[places]`` on the CPU; None while there are too few.

        Args:
            tokens: how many.
            begun: pages that the first of them have already.
        """
        pages = places(tokens) // PAGE_TOKENS - len(begun)
        if pages > len(self._free):
            return None
        taken = [self._free.pop() for _ in range(pages)]
        self._used.difference_update(taken)
        return _places_of([*begun, *taken])

    def pages(self, taken: "torch.Tensor") -> list[int]:
        """The pages of places that were taken."""
        found: list[int] = (taken[::PAGE_TOKENS] // PAGE_TOKENS).tolist()
        return found

    def give_back(self, pages: Sequence[int]) -> None:
        """Let others have these pages."""
        self._free += pages
        self._used.update(pages)

    def wipe(self, unwritten: "Iterable[torch.Tensor]") -> None:
        """Overwrite the keys and values of everybody who gave their places back.

        Args:
            unwritten: places that were taken and not yet written to: others may have written there before.
        """
        import torch

        gone = torch.cat([_places_of(self._used), torch.tensor([self.nowhere]), *unwritten])
        with torch.inference_mode():
            for each in itertools.chain.from_iterable(self._layers.values()):
                each.index_fill_(0, gone.to(each.device), 0)
        self._used.clear()


def _places_of(pages: "Iterable[int]") -> "torch.Tensor":
    import torch

    first = torch.tensor(list(pages), dtype=torch.int64)[:, None] * PAGE_TOKENS
    return (first + torch.arange(PAGE_TOKENS)).flatten()
