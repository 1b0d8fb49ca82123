"""Passes in which everybody reads one token, at sizes that recur, so that they can be recorded and replayed.

A small model's pass is a thousand operations, each of which a GPU runs in less time than it takes to launch it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sharedllm.base.loading import Base
from sharedllm.serving.cache import Cache
from sharedllm.serving.cuda_graphs import Record, Recordings, Tensors
from sharedllm.serving.ragged import Plan, Singles, padded, power_of_two
from sharedllm.serving.table import BASE_SLOT

if TYPE_CHECKING:
    import torch

_FEWEST_KEYS = 64
_NOBODY = 0


class Decoding:
    """The model over one token of each sequence, under the row in its slot.

    Where everybody's keys and values are is kept on the device, so that a pass brings no more there than a few numbers
    for each. It is filled up to a power of two with sequences of nobody: the base's, at the place of the cache that
    nobody reads.
    """

    def __init__(
        self,
        base: Base,
        cache: Cache,
        most: int,
        gathered: Callable[["torch.Tensor"], AbstractContextManager["torch.Tensor"]],
        record: Record,
    ) -> None:
        """Nothing is recorded yet.

        Args:
            base: the model.
            cache: of the keys and values of all tokens before.
            most: as many sequences there are at most.
            gathered: applies the rows in slots, int64 ``[tokens]``, inside the block, and gives them.
            record: how a pass is recorded.
        """
        import torch

        self._base, self._cache, self._gathered = base, cache, gathered
        self._passes = Recordings(self._compute, record, base.device)
        context = min(base.model.config.get_text_config().max_position_embeddings, cache.tokens)
        longest = power_of_two(max(context, _FEWEST_KEYS))
        # Of each line's sequence; the first is nobody's.
        self._places = torch.full((most + 1, longest), cache.nowhere, dtype=torch.int64, device=base.device)
        self._free = list(range(most, _NOBODY, -1))
        self._lines: dict[str, int] = {}

    def enter(self, name: str, places: "torch.Tensor") -> None:
        """Know where a sequence's keys and values are."""
        line = self._lines[name] = self._free.pop()
        width = self._places.shape[1]
        self._places[line, : len(places)] = places[:width].to(self._places.device)

    def leave(self, name: str) -> None:
        """Forget where they are."""
        line = self._lines.pop(name)
        self._places[line] = self._cache.nowhere
        self._free.append(line)

    def __call__(
        self, names: Sequence[str], slots: Sequence[int], ids: Sequence[int], totals: Sequence[int]
    ) -> "torch.Tensor":
        """The logits, ``[sequences, vocabulary]``, until the next call.

        Args:
            names: of the sequences.
            slots: of the row of each.
            ids: the token that each reads.
            totals: keys of each, with the one of this pass.
        """
        import torch

        nobody = power_of_two(len(names)) - len(names)
        given = {
            "ids": torch.tensor([[*ids, *[0] * nobody]]),
            "positions": torch.tensor([[*(total - 1 for total in totals), *[0] * nobody]]),
            "slots": torch.tensor([*slots, *[BASE_SLOT] * nobody]),
            "lines": torch.tensor([*(self._lines[name] for name in names), *[_NOBODY] * nobody]),
            # Its length says how many keys the longest may have.
            "keys": torch.arange(max(power_of_two(max(totals)), _FEWEST_KEYS)),
        }
        return self._passes(given)["logits"][: len(names)]

    @property
    def given_up(self) -> bool:
        """Whether passes cannot be replayed, so that there is nothing to be gained."""
        return self._passes.given_up

    def forget(self) -> None:
        """Overwrite all that the last passes were given, computed and gave."""
        self._passes.forget({"lines": _NOBODY})

    def _compute(self, given: Tensors) -> Tensors:
        import torch

        positions = given["positions"][0]
        places = self._places.index_select(0, given["lines"])[:, : len(given["keys"])]
        written = places.gather(1, positions[:, None])[:, 0]
        everybody = torch.arange(len(positions), device=positions.device)
        # Others may have written where a sequence has places that it has not come to.
        steps = Plan(written, [Singles(everybody, padded(places, positions + 1), positions + 1)], [])
        with self._gathered(given["slots"]) as rows:
            found = self._base.model(
                input_ids=given["ids"],
                position_ids=given["positions"],
                ragged=(steps, self._cache.layer),
                use_cache=False,
            )
        return {"logits": found.logits[0], "rows": rows}
