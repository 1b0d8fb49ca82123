"""Reading a safetensors file that may come from anywhere."""

import json
from pathlib import Path
from typing import Any, Literal

from sharedllm.errors import CorruptAdapter, InvalidInput

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
