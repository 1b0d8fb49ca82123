"""Which base an adapter belongs to: one hash over weights, config and tokenizer."""

import contextlib
import hashlib
import json
import mmap
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sharedllm.cache import cache_dir
from sharedllm.errors import BaseError

# Keys that say where a config came from or how it was loaded, not what the model computes.
_VOLATILE = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache"}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")


def fingerprint(folder: Path) -> str:
    """SHA-256 (hex) over the tensors, the config and the tokenizer of a model folder.

    The answer is kept in the cache under the sizes and modification times of the files read, so that a second load does
    not read gigabytes again.

    Raises:
        BaseError: the folder holds no safetensors weights or no config, or they are damaged.
    """
    weights = sorted(folder.glob("*.safetensors"))
    config = folder / "config.json"
    if not weights or not config.is_file():
        raise BaseError(
            f"{folder} holds no config.json with *.safetensors beside it",
            remedy="Give a folder that save_pretrained wrote, a .gguf file, a hub id or a built-in name.",
        )
    tokenizer = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    known = cache_dir() / "fingerprints" / _state([*weights, config, *tokenizer])
    if known.is_file():
        return known.read_text()
    digest = hashlib.sha256()
    try:
        digest.update(_canonical_config(config))
        for path in tokenizer:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        for part in _tensors(weights):
            digest.update(part)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseError(
            f"The config or the weights in {folder} cannot be read: {error}",
            remedy="Copy or download the folder again.",
        ) from error
    # Without room for the answer the next load reads the weights again, and nothing else is lost.
    with contextlib.suppress(OSError):
        _write_whole(known, digest.hexdigest())
    return digest.hexdigest()


def _write_whole(path: Path, text: str) -> None:
    """Another process may read the file at any time: it is there with all of its text, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        part = Path(scratch) / path.name
        part.write_text(text)
        part.replace(path)


def _canonical_config(path: Path) -> bytes:
    config = json.loads(path.read_text())
    return json.dumps({k: v for k, v in config.items() if k not in _VOLATILE}, sort_keys=True).encode()


def _tensors(files: list[Path]) -> Iterator[bytes | memoryview]:
    """Name, dtype, shape and bytes of every tensor, by name: the same however the weights are cut into files."""
    tensors = []
    for path in files:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError(f"{path.name} is cut short or not in safetensors")
            header = json.loads(stream.read(length))
            data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))[8 + length :]
        header.pop("__metadata__", None)
        tensors += [(name, about, data) for name, about in header.items()]
    for name, about, data in sorted(tensors, key=lambda tensor: tensor[0]):
        begin, end = about["data_offsets"]
        yield json.dumps([name, about["dtype"], about["shape"]]).encode()
        yield data[begin:end]


def _state(paths: list[Path]) -> str:
    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()
