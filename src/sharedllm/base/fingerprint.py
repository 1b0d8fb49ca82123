"""Which base an adapter belongs to: one hash over weights, config and tokenizer."""

import contextlib
import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from sharedllm.cache_folder import cache_dir
from sharedllm.errors import BaseError
from sharedllm.files import replace_private
from sharedllm.printable import printable

# Keys that say where a config came from or how it was loaded, not what the model computes.
_VOLATILE = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache"}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
_OTHER_VOCABULARIES = ("*.model", "*.vocab", "vocab*", "merges*")
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"

FRAMES = "frames.safetensors"
"""The frames of a base's prior, beside its weights; a base without a prior has none."""


def fingerprint(folder: Path) -> str:
    """SHA-256 (hex) over the tensors that are loaded from a model folder, its config, vocabulary and frames.

    What says how a base is asked (chat template, generation config, which special tokens are added) is not part of it.

    The answer is kept in the cache under what the file system tells of the files, among that when each was last changed
    in any way, so that a second load does not read gigabytes again.

    Raises:
        BaseError: the folder holds no safetensors weights or no config, they are damaged, or something in it would have
            transformers load other files than these.
    """
    config = folder / "config.json"
    try:
        weights = weight_paths(folder)
        if not config.is_file():
            raise _not_a_base(folder)
        _check_nothing_else_is_loaded(folder, config)
        tokenizer = _vocabulary(folder)
        frames = _frames(folder)
        known = cache_dir() / "fingerprints" / _state([*weights, config, *tokenizer, *frames])
        if known.is_file():
            # When it was last used, for whoever looks for what may go.
            with contextlib.suppress(OSError):
                os.utime(known)
            return known.read_text()
        digest = hashlib.sha256()
        digest.update(_canonical_config(config))
        for path in tokenizer:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        for part in _tensors(weights):
            digest.update(part)
        for part in _tensors(frames):
            digest.update(part)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BaseError(
            f"The config or the weights in {folder} cannot be read: {error}",
            remedy="Copy or download the folder again.",
        ) from error
    # Without room for the answer the next load reads the weights again, and nothing else is lost.
    with contextlib.suppress(OSError):
        replace_private(_of(known), str(folder.resolve()).encode())
        replace_private(known, digest.hexdigest().encode())
    return digest.hexdigest()


def remembered_folder(known: Path) -> Path | None:
    """The folder whose fingerprint a file of the cache keeps; None where an earlier version did not say."""
    try:
        return Path(_of(known).read_text())
    except (OSError, ValueError):
        return None


def forget(known: Path) -> None:
    """Remove a fingerprint that the cache keeps.

    Raises:
        OSError: it cannot be removed.
    """
    known.unlink()
    _of(known).unlink(missing_ok=True)


def _of(known: Path) -> Path:
    return known.parent.with_name("fingerprinted") / known.name


def is_current(known: Path, folder: Path) -> bool:
    """Whether a file of the cache keeps the fingerprint of a folder as it is now."""
    try:
        files = [*weight_paths(folder), folder / "config.json", *_vocabulary(folder), *_frames(folder)]
        return known.name == _state(files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, BaseError):
        return False


def weight_paths(folder: Path) -> list[Path]:
    """The files that transformers reads the weights from: one, or those that the index names.

    Raises:
        BaseError: there are none, or the index names what is not in the folder.
    """
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    if not (folder / _INDEX).is_file():
        raise _not_a_base(folder)
    names = set(json.loads((folder / _INDEX).read_text())["weight_map"].values())
    for name in sorted(names, key=str):
        # Links are followed, as in the hub's cache: what lies behind them is what is loaded, and read here.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise BaseError(
                f"{_INDEX} in {folder} names {printable(str(name)[:100])}, which is no safetensors file in that folder",
                remedy="Copy or download the folder again; weights are only loaded from the folder itself.",
            )
    if not names:
        raise _not_a_base(folder)
    return [folder / name for name in sorted(names)]


def _not_a_base(folder: Path) -> BaseError:
    return BaseError(
        f"{folder} holds no config.json with {_WHOLE} or {_INDEX} beside it",
        remedy="Give a folder that save_pretrained wrote, a .gguf file, a hub id or a built-in name.",
    )


def _check_nothing_else_is_loaded(folder: Path, config: Path) -> None:
    if (folder / "adapter_config.json").exists():
        raise BaseError(
            f"{folder} holds an adapter_config.json, whose adapter would be loaded on top of the weights",
            remedy="Merge the adapter into the weights, or move it to a folder of its own.",
        )
    if json.loads(config.read_text()).get("transformers_weights") is not None:
        raise BaseError(
            f"config.json in {folder} names other weights (transformers_weights)",
            remedy=f"Take that out, and name the file {_WHOLE}.",
        )
    about = folder / "tokenizer_config.json"
    named = json.loads(about.read_text()).get("fast_tokenizer_files") if about.is_file() else None
    if named is not None and named != ["tokenizer.json"]:
        raise BaseError(
            f"tokenizer_config.json in {folder} names other files of its tokenizer (fast_tokenizer_files)",
            remedy="Take that out, and name the file tokenizer.json.",
        )


def _frames(folder: Path) -> list[Path]:
    return [path for path in (folder / FRAMES,) if path.is_file()]


def _vocabulary(folder: Path) -> list[Path]:
    """The files of the tokenizer."""
    found = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    if (folder / "tokenizer.json").is_file():
        return found
    others = {path for pattern in _OTHER_VOCABULARIES for path in folder.glob(pattern) if path.is_file()}
    return found + sorted(others - set(found))


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
    if len({name for name, _, _ in tensors}) != len(tensors):
        raise ValueError("a tensor is in several files")
    for name, about, data in sorted(tensors, key=lambda tensor: tensor[0]):
        begin, end = about["data_offsets"]
        yield json.dumps([name, about["dtype"], about["shape"]]).encode()
        yield data[begin:end]


def _state(paths: list[Path]) -> str:
    state = []
    for path in paths:
        now = path.stat()
        # Whoever changes a file can set its time of modification back, but not that of its last change.
        times = now.st_mtime_ns, now.st_ctime_ns
        state.append((path.name, str(path.resolve()), now.st_dev, now.st_ino, now.st_size, *times))
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()
