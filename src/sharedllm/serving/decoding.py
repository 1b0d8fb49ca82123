"""Passes in which everybody reads one token, at sizes that recur, so that they can be recorded and replayed.

A small model's pass is a thousand operations, each of which a GPU runs in less time than it takes to launch it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base
from sharedllm.serving.cuda_graphs import Record, Recordings, Tensors
from sharedllm.serving.ragged import Plan, Singles, padded, power_of_two
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
        nobody = power_of_two(requests) - requests
        (read,), (written,) = inputs["read_index"], inputs["write_index"]
        written = pad(written.cpu(), (0, nobody), value=self._cache.write_trash_index)
        # Where nobody has keys from before, all are where this pass writes.
        keys = [*read.cpu().split(list(totals)), *written[requests:, None]] if read.numel() else [*written[:, None]]
        singles = padded(
            range(len(written)),
            keys,
            max(power_of_two(max(totals)), _FEWEST_KEYS),
            self._cache.num_key_value_heads,
            self._base.dtype,
        )
        given = {
            "ids": pad(inputs["input_ids"], (0, nobody)),
            "positions": pad(inputs["position_ids"], (0, nobody)),
            "slots": torch.tensor([*slots, *[BASE_SLOT] * nobody]),
            "written": written,
            "keys": singles.keys,
            "mask": singles.mask,
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
        steps = Plan(written, [Singles(everybody, given["keys"], given["mask"])], [])
        with self._gathered(given["slots"]) as rows:
            found = self._base.model(
                input_ids=given["ids"],
                position_ids=given["positions"],
                ragged=(steps, self._cache._kv_token_views.__getitem__),
                use_cache=False,
            )
        return {"logits": found.logits[0], "rows": rows}
