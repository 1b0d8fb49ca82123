"""Rows in a worker of vLLM: one table, and norms that scale each token by its own request's row of it.

A LoRA request's number is the slot of its row, 0 is the base, and vLLM says of every pass which number each token has:
that is all there is to gather by.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from sharedllm.errors import InvalidInput, RequestFailed, UnsupportedBase
from sharedllm.serving.table import BASE_SLOT

TOLD = "sharedllm"
"""Where in vLLM's `additional_config` it is said which sites rows have."""
_ROW_BYTES = "<f2"
"""A row as it is handed over: float16 deviations, little endian."""
_REFUSED = (
    ("pipeline_parallel_size", 1, "a worker has some of the norms only"),
    ("decode_context_parallel_size", 1, "a worker reads some of the tokens only"),
    ("prefill_context_parallel_size", 1, "a worker reads some of the tokens only"),
    ("enable_dbo", False, "half of the tokens are read at a time"),
)


class ScaledNorm:
    """Stands before a norm's own class: its output, ``[tokens, ..., width]``, scaled by each token's row.

    Where the norm also gives back a residual, that is passed on as it is.
    """

    site_rows: torch.Tensor
    token_slots: torch.Tensor

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The norm's own, and then ``y + y * s``: a row of zeros gives the same bits."""
        result = super().forward(*args, **kwargs)  # type: ignore[misc]
        output = result[0] if isinstance(result, tuple) else result
        values = self.site_rows[self.token_slots[: output.shape[0]]]
        if output.ndim > values.ndim:
            values = values.view(values.shape[0], *[1] * (output.ndim - 2), values.shape[1])
        scaled = torch.addcmul(output, output, values)
        return (scaled, *result[1:]) if isinstance(result, tuple) else scaled


def scale_outputs(model: Any, sites: list[tuple[str, int]], slots: int, token_slots: torch.Tensor) -> list[Any]:
    """Make norms of a model scale what they give; returns them in the order of the sites.

    Args:
        model: vLLM's.
        sites: names of norms and their widths.
        slots: rows that a table has, the base's among them.
        token_slots: int64 ``[tokens]``, the slot of each token of a pass; whoever runs it writes there.

    Raises:
        UnsupportedBase: the model has no such module, or one of another width; it is then as it was.
    """
    modules = dict(model.named_modules())
    for name, width in sites:
        weight = getattr(modules.get(name), "weight", None)
        if weight is None or weight.shape != (width,):
            raise UnsupportedBase(
                f"vLLM's {type(model).__name__} has no norm {name!r} of width {width}",
                remedy="Serve this base with the engine of this package.",
            )
    scaled = []
    for name, width in sites:
        module = modules[name]
        kind = type(module)
        module.__class__ = type(f"Scaled{kind.__name__}", (ScaledNorm, kind), {})
        rows = torch.zeros(slots, width, dtype=module.weight.dtype, device=module.weight.device)
        module.register_buffer("site_rows", rows, persistent=False)
        module.register_buffer("token_slots", token_slots, persistent=False)
        scaled.append(module)
    return scaled


class RowManager:
    """Takes the place of vLLM's manager of LoRA adapters in a worker.

    What vLLM calls of that is here under the same names; rows are written and cleared by `WorkerRows`. Whatever a slot
    holds is known by name, and a pass is refused in which a request's name is not that of its slot.
    """

    def __init__(self, vllm_config: Any, device: Any) -> None:
        for name, only, why in _REFUSED:
            if getattr(vllm_config.parallel_config, name, only) != only:
                raise InvalidInput(f"Rows cannot be served with {name}: {why}", remedy=f"Leave it at {only}.")
        self._sites = [(str(name), int(width)) for name, width in vllm_config.additional_config[TOLD]["sites"]]
        self._room = int(vllm_config.lora_config.max_loras)
        captured = vllm_config.compilation_config.max_cudagraph_capture_size or 0
        most = max(vllm_config.scheduler_config.max_num_batched_tokens, captured)
        self._token_slots = torch.zeros(most, dtype=torch.int64, device=device)
        self._names: dict[int, str] = {}
        self._norms: list[Any] = []

    def create_lora_manager(self, model: Any, vllm_config: Any) -> Any:
        """Make the model's norms scale; returns the model.

        Raises:
            UnsupportedBase: see `scale_outputs`.
        """
        self._norms = scale_outputs(model, self._sites, self._room + 1, self._token_slots)
        return model

    def write(self, slot: int, name: str, row: bytes) -> None:
        """Fill a slot.

        Args:
            slot: from 1 on.
            name: that requests for it have.
            row: float16 ``[P]``, little endian.

        Raises:
            InvalidInput: there is no such slot, or it is not a row of these sites.
        """
        values = np.frombuffer(row, _ROW_BYTES)
        widths = [width for _, width in self._sites]
        if not BASE_SLOT < slot <= self._room or values.shape != (sum(widths),) or not np.isfinite(values).all():
            raise InvalidInput(
                f"A row of {len(values):,} values for slot {slot} does not fit {self._room:,} rows of {sum(widths):,}",
                remedy="Give the finite values of a release of this base and format.",
            )
        self._names.pop(slot, None)
        pieces = torch.split(torch.from_numpy(values.copy()), widths)
        for norm, piece in zip(self._norms, pieces, strict=True):
            norm.site_rows[slot].copy_(piece)
        self._names[slot] = name

    def clear(self, slot: int) -> None:
        """Overwrite a slot with zeros; requests for it are refused from then on."""
        self._names.pop(slot, None)
        for norm in self._norms:
            norm.site_rows[slot].zero_()

    def set_active_adapters(self, requests: Iterable[Any], mapping: Any) -> None:
        """Take over which slot each token of the next pass has.

        Raises:
            RequestFailed: a slot does not hold what a request in the pass was made for, or nothing says whose tokens
                are read.
        """
        for request in requests:
            if not self.add_adapter(request):
                raise RequestFailed(
                    f"Slot {request.lora_int_id} does not hold {request.lora_name!r}",
                    remedy="Write the row before a request is made for it, and keep it until that has ended.",
                )
        if mapping is None:
            raise RequestFailed(
                "vLLM does not say which slot each token of a pass has",
                remedy="Use a version of vLLM that this package was tested with.",
            )
        if mapping.type.name != "LANGUAGE":
            return
        slots = np.asarray(mapping.index_mapping, dtype=np.int64)
        self._token_slots[: len(slots)].copy_(torch.from_numpy(slots))

    def add_adapter(self, request: Any) -> bool:
        """Whether a request's slot holds what it was made for."""
        return bool(self._names.get(request.lora_int_id) == request.lora_name)

    def remove_adapter(self, slot: int) -> bool:
        """Clear a slot; whether there was anything in it."""
        there = slot in self._names
        if there:
            self.clear(slot)
        return there

    def remove_all_adapters(self) -> None:
        """Clear all slots; what was in them has to be written again."""
        for slot in list(self._names):
            self.clear(slot)

    def list_adapters(self) -> set[int]:
        """Slots that hold something."""
        return set(self._names)

    def pin_adapter(self, slot: int) -> bool:
        """Whether a slot holds something, which always stays until it is cleared."""
        return slot in self._names

    def add_dummy_lora(self, request: Any, rank: int) -> bool:
        """Let a request of vLLM's own warming up have a slot, which stays zeros."""
        self._names[request.lora_int_id] = request.lora_name
        return True

    @contextmanager
    def dummy_lora_cache(self) -> Iterator[None]:
        """Nothing is kept for warming up."""
        yield

    def get_dummy_lora_warmup_rank(self, rank: int) -> int:
        """Rows have no rank."""
        return rank

    def supports_tower_connector_lora(self) -> bool:
        """What reads images has no rows."""
        return False


class WorkerRows:
    """What can be done by name in each of vLLM's workers, into which it is mixed (`worker_extension_cls`)."""

    model_runner: Any

    def sharedllm_write(self, slot: int, name: str, row: bytes) -> None:
        """See `RowManager.write`."""
        self._sharedllm_rows().write(slot, name, row)

    def sharedllm_clear(self, slot: int) -> None:
        """See `RowManager.clear`."""
        self._sharedllm_rows().clear(slot)

    def sharedllm_wipe(self) -> None:
        """Overwrite all keys and values; nothing may run, nor be kept for later."""
        for each in self.model_runner.kv_caches:
            for tensor in each if isinstance(each, (list, tuple)) else (each,):
                tensor.zero_()

    def _sharedllm_rows(self) -> RowManager:
        rows = getattr(self.model_runner, "lora_manager", None)
        if not isinstance(rows, RowManager):
            raise InvalidInput(
                "A worker of vLLM has no rows: the plug-in was not loaded there",
                remedy="Install sharedllm beside vLLM, and name it in VLLM_PLUGINS if that is set.",
            )
        return rows


def row_bytes(values: "np.ndarray[Any, Any]") -> bytes:
    """A row as `RowManager.write` takes it."""
    return values.astype(_ROW_BYTES).tobytes()
