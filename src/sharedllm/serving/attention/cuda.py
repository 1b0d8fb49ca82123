"""Attention on a GPU, and passes in which everybody reads one token, at sizes that recur, to be recorded and replayed.

A small model's pass is a thousand operations, each of which a GPU runs in less time than it takes to launch it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sharedllm.base.loading import Base
from sharedllm.serving.attention.cpu import CpuAttention
from sharedllm.serving.attention.cuda_graphs import Recorder, Recordings, Tensors
from sharedllm.serving.attention.interface import Attention, Paged
from sharedllm.serving.attention.metadata import Metadata, Singles, padded, power_of_two
from sharedllm.serving.cache import Cache
from sharedllm.serving.sequence import Chunk
from sharedllm.serving.table import BASE_SLOT

if TYPE_CHECKING:
    import torch

_FEWEST_KEYS = 64
_NOBODY = 0


class CudaAttention(CpuAttention):
    """See `Attention`."""

    def stretch(
        self,
        query: "torch.Tensor",
        keys: "torch.Tensor",
        values: "torch.Tensor",
        mask: "torch.Tensor | None",
        scaling: float | None,
    ) -> "torch.Tensor":
        group = query.shape[1] // keys.shape[1]
        if mask is not None and group > 1:
            # With a mask, what is fused on a GPU takes a head of keys for each of the queries.
            keys, values = keys.repeat_interleave(group, dim=1), values.repeat_interleave(group, dim=1)
        return super().stretch(query, keys, values, mask, scaling)


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
        attention: Attention,
        most: int,
        gathered: Callable[["torch.Tensor"], AbstractContextManager["torch.Tensor"]],
        record: Recorder,
    ) -> None:
        """Nothing is recorded yet.

        Args:
            base: the model.
            cache: of the keys and values of all tokens before.
            attention: of the device.
            most: as many sequences there are at most.
            gathered: applies the rows in slots, int64 ``[tokens]``, inside the block, and gives them.
            record: how a pass is recorded.
        """
        import torch

        self._base, self._cache, self._attention, self._gathered = base, cache, attention, gathered
        self._passes = Recordings(self._compute, record, base.device)
        context = min(base.model.config.get_text_config().max_position_embeddings, cache.tokens)
        longest = power_of_two(max(context, _FEWEST_KEYS))
        # Of each line's sequence; the first is nobody's.
        self._places = torch.full((most + 1, longest), cache.nowhere, dtype=torch.int64, device=base.device)
        self._free = list(range(most, _NOBODY, -1))
        # By the number of the sequence.
        self._lines: dict[int, int] = {}

    def __call__(self, chunks: Sequence[Chunk]) -> "torch.Tensor":
        """The logits after one token each of these, ``[chunks, vocabulary]``, until the next call."""
        import torch

        sequences = [chunk.sequence for chunk in chunks]
        numbers = [each.number for each in sequences]
        if self._lines.keys() != set(numbers):
            self._change_lines({each.number: each.places for each in sequences if each.places is not None})
        ids, positions = [chunk.sequence.ids[chunk.begin] for chunk in chunks], [chunk.begin for chunk in chunks]
        nobody = power_of_two(len(chunks)) - len(chunks)
        given = {
            "ids": torch.tensor([[*ids, *[0] * nobody]]),
            "positions": torch.tensor([[*positions, *[0] * nobody]]),
            "slots": torch.tensor([*(each.slot for each in sequences), *[BASE_SLOT] * nobody]),
            "lines": torch.tensor([*(self._lines[number] for number in numbers), *[_NOBODY] * nobody]),
            # Its length says how many keys the longest may have.
            "keys": torch.arange(max(power_of_two(max(positions) + 1), _FEWEST_KEYS)),
        }
        return self._passes(given)["logits"][: len(chunks)]

    def takes(self, chunks: Sequence[Chunk]) -> bool:
        """Whether these are one token each, and passes can be replayed, so that there is something to be gained."""
        return not self._passes.given_up and all(chunk.end - chunk.begin == 1 for chunk in chunks)

    def forget(self) -> None:
        """Overwrite all that the last passes were given, computed and gave."""
        self._passes.forget({"lines": _NOBODY})

    def _change_lines(self, places: "Mapping[int, torch.Tensor]") -> None:
        """Know where the keys and values of these sequences are, and of no others."""
        for number in self._lines.keys() - places.keys():
            line = self._lines.pop(number)
            self._places[line] = self._cache.nowhere
            self._free.append(line)
        width = self._places.shape[1]
        for number in places.keys() - self._lines.keys():
            line = self._lines[number] = self._free.pop()
            self._places[line, : len(places[number])] = places[number][:width].to(self._places.device)

    def _compute(self, given: Tensors) -> Tensors:
        import torch

        positions = given["positions"][0]
        places = self._places.index_select(0, given["lines"])[:, : len(given["keys"])]
        written = places.gather(1, positions[:, None])[:, 0]
        everybody = torch.arange(len(positions), device=positions.device)
        # Others may have written where a sequence has places that it has not come to.
        metadata = Metadata(written, [Singles(everybody, padded(places, positions + 1), positions + 1)], [])
        with self._gathered(given["slots"]) as rows:
            found = self._base.model(
                input_ids=given["ids"],
                position_ids=given["positions"],
                paged=Paged(metadata, self._cache.layer, self._attention),
                use_cache=False,
            )
        return {"logits": found.logits[0], "rows": rows}
