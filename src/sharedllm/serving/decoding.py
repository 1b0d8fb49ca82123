"""Passes in which everybody reads one token, at sizes that recur, so that they can be recorded and replayed.

A small model's pass is a thousand operations, each of which a GPU runs in less time than it takes to launch it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base
from sharedllm.serving.cuda_graphs import Record, Recordings, Tensors
from sharedllm.serving.ragged import Plan, plan
from sharedllm.serving.table import BASE_SLOT

if TYPE_CHECKING:
    import torch

_FEWEST_KEYS = 64


class Decoding:
    """The model over one token of each request, under the row in its slot.

    A pass is filled up to a power of two with requests of nobody: the base's, at a place of the cache that the library
    keeps for what is thrown away.
    """

    def __init__(
        self,
        base: Base,
        cache: Any,
        gathered: Callable[["torch.Tensor"], AbstractContextManager["torch.Tensor"]],
        record: Record,
    ) -> None:
        """Nothing is recorded yet.

        Args:
            base: the model.
            cache: the library's, of keys and values of all tokens before.
            gathered: applies the rows in slots, int64 ``[tokens]``, inside the block, and gives them.
            record: how a pass is recorded.
        """
        self._base, self._cache, self._gathered = base, cache, gathered
        self._passes = Recordings(self._compute, record, base.device)

    def __call__(self, slots: Sequence[int], totals: Sequence[int], inputs: dict[str, Any]) -> "torch.Tensor":
        """The logits, ``[requests, vocabulary]``, until the next call.

        Args:
            slots: of the row of each request.
            totals: keys of each, with the one of this pass.
            inputs: the library's, of the pass.
        """
        import torch
        from torch.nn.functional import pad

        requests = len(slots)
        nobody = _power(requests) - requests
        (read,), (written,) = inputs["read_index"], inputs["write_index"]
        trash = self._cache.write_trash_index
        # Where nobody has keys from before, all are where this pass writes.
        read = pad(read.cpu(), (0, nobody if read.numel() else 0), value=trash)
        steps = plan(
            [1] * (requests + nobody),
            [*totals, *[1] * nobody],
            read,
            pad(written.cpu(), (0, nobody), value=trash),
            self._cache.num_key_value_heads,
            self._base.dtype,
            longest=lambda keys: max(_power(keys), _FEWEST_KEYS),
        )
        given = {
            "ids": pad(inputs["input_ids"], (0, nobody)),
            "positions": pad(inputs["position_ids"], (0, nobody)),
            "slots": torch.tensor([*slots, *[BASE_SLOT] * nobody]),
            "written": steps.written,
            "keys": steps.keys,
            "mask": steps.mask,
        }
        return self._passes(given)["logits"][:requests]

    @property
    def given_up(self) -> bool:
        """Whether passes cannot be replayed, so that there is nothing to be gained."""
        return self._passes.given_up

    def forget(self) -> None:
        """Overwrite all that the last passes were given, computed and gave."""
        self._passes.forget({"written": self._cache.write_trash_index})

    def _compute(self, given: Tensors) -> Tensors:
        import torch

        written = given["written"]
        everybody = torch.arange(len(written), device=written.device)
        steps = Plan(written, everybody, given["keys"], given["mask"], [])
        with self._gathered(given["slots"]) as rows:
            found = self._base.model(
                input_ids=given["ids"],
                position_ids=given["positions"],
                ragged=(steps, self._cache._kv_token_views.__getitem__),
                use_cache=False,
            )
        return {"logits": found.logits[0], "rows": rows}


def _power(count: int) -> int:
    """The smallest power of two that is no less."""
    return 1 << (count - 1).bit_length()
