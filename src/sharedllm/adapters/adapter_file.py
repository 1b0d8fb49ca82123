"""An adapter as one file of its own: safetensors with a float16 tensor ``values``, and who it is for as metadata."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter, meaning
from sharedllm.adapters.layouts import Layout
from sharedllm.adapters.provenance import imported, parse_provenance
from sharedllm.errors import AdapterError, CorruptAdapter, InvalidInput
from sharedllm.files import new_file

SCHEMA = "sharedllm-adapter/1"
_DESCRIPTION = ("schema", "format", "base", "provenance")


def save_adapter(adapter: Adapter, path: Path) -> None:
    """Write an adapter to a new file, whole or not at all; values are rounded to float16.

    Raises:
        InvalidInput: the file exists or cannot be written, a value is not finite or too large for float16, or the
            provenance is not JSON.
        DiskFull: no room is left.
    """
    data = adapter_bytes(adapter)
    with new_file(path) as partial:
        partial.write_bytes(data)


def adapter_bytes(adapter: Adapter) -> bytes:
    """The file that `save_adapter` writes.

    Raises:
        InvalidInput: a value is not finite or too large for float16, or the provenance is not JSON.
    """
    from safetensors.numpy import save

    values = _as_stored(adapter.values)
    try:
        provenance = json.dumps(dict(adapter.provenance), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"The adapter's provenance is not JSON: {error}",
            remedy="Use plain, finite numbers, strings, lists and dicts.",
        ) from error
    about = {"schema": SCHEMA, "format": adapter.format, "base": adapter.base, "provenance": provenance}
    data: bytes = save({"values": values}, metadata=about | {"sha256": _checksum(about, values)})
    return data


def load_adapter(path: Path) -> Adapter:
    """Read an adapter that `save_adapter` wrote.

    Raises:
        InvalidInput: there is no such file.
        CorruptAdapter: damaged, truncated or not an adapter.
        AdapterError: written by a newer version.
    """
    return _adapter(*read_tensors(path, "numpy"), path)


def parse_adapter(data: bytes, name: str) -> Adapter:
    """`load_adapter` of a file's bytes, which errors call ``name``.

    Raises:
        CorruptAdapter, AdapterError: as there.
    """
    return _adapter(*parse_tensors(data, name), name)


def as_imported(adapter: Adapter, layout: Layout | None = None) -> Adapter:
    """The adapter of a file, which named its base: what the file says of itself is kept apart from what we know.

    Args:
        adapter: as the file has it.
        layout: what it was found to fit; None where that is not known.
    """
    known = {} if layout is None else meaning(layout)
    return replace(adapter, provenance=imported(adapter.provenance, "adapter file", base_verified=True, **known))


def _adapter(tensors: dict[str, Any], about: dict[str, str], name: object) -> Adapter:
    schema = about.get("schema", "")
    if schema != SCHEMA and schema.startswith("sharedllm-adapter/"):
        raise AdapterError(
            f"{name} has the format {schema!r}, and this version reads {SCHEMA!r}",
            remedy="Use the newer version of sharedllm that made it.",
        )
    values = tensors.get("values")
    if schema != SCHEMA or values is None or values.dtype != np.float16 or values.ndim != 1:
        raise CorruptAdapter(
            f"{name} is not an adapter of ours", remedy="Give a file that `sharedllm export --to adapter` wrote."
        )
    remedy = "Get the file again from where it was made."
    if not about.keys() >= {*_DESCRIPTION, "sha256"} or _checksum(about, values) != about["sha256"]:
        raise CorruptAdapter(f"{name} is damaged: its checksum does not match", remedy=remedy)
    # A checksum can be right over contents that no save would have written.
    provenance = parse_provenance(about["provenance"], name)
    if not np.isfinite(values).all():
        raise CorruptAdapter(f"{name} holds values that are not finite", remedy=remedy)
    return Adapter(about["format"], about["base"], values.astype(np.float32), provenance)


def _as_stored(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        stored = values.astype("<f2")
    bad = np.flatnonzero(~np.isfinite(stored))
    if len(bad):
        raise InvalidInput(
            f"Value {bad[0]} of the adapter is {values[bad[0]]:.6g}, which float16 cannot hold",
            remedy="Train again with a lower learning rate.",
        )
    return stored


def _checksum(about: dict[str, str], values: npt.NDArray[np.float16]) -> str:
    # A JSON list keeps the fields apart: no two different descriptions are the same text.
    digest = hashlib.sha256(json.dumps([about[key] for key in _DESCRIPTION]).encode())
    digest.update(values.tobytes())
    return digest.hexdigest()


MAX_BYTES = 256 * 2**20
"""More than a vector adapter of any base: 70 billion parameters have some 1.3 million norm gains, 5 MB in float32."""


def read_tensors(path: Path, framework: Literal["numpy", "pt"]) -> tuple[dict[str, Any], dict[str, str]]:
    """All tensors of a file by name, and the file's own metadata.

    Args:
        path: the file.
        framework: what the tensors shall be; numpy knows no bfloat16, and importing torch takes seconds.

    Raises:
        InvalidInput: there is no such file, or it cannot be read.
        CorruptAdapter: damaged, truncated, no safetensors file, or larger than `MAX_BYTES`.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InvalidInput(f"{path} is not a file", remedy="Give the path of an adapter.")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CorruptAdapter(
                f"{path} has {size / 1e6:,.0f} MB, and no vector adapter is that large",
                remedy="Give an adapter, not a model.",
            )
        with safe_open(path, framework) as opened:
            # safe_open has keys() but is no mapping.
            names = list(opened.keys())
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}", remedy="Check its permissions.") from error
    # The last two are how its numpy side meets types that numpy lacks.
    except (SafetensorError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def parse_tensors(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """All tensors of a file's bytes as numpy arrays by name, and the file's own metadata.

    Args:
        data: the whole file.
        name: what errors shall call it.

    Raises:
        CorruptAdapter: damaged, truncated or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise _damaged(name, error) from error
    # The header has just been read, so it is there and it is JSON; load alone does not tell what it says besides.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__", {})


def _damaged(name: object, error: Exception) -> CorruptAdapter:
    return CorruptAdapter(
        f"{name} is damaged, or is not an adapter: {error}", remedy="Get the file again from where it was made."
    )
