"""Files of a snapshot as they are written: whole, on the disk, and known by their hash."""

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm.errors import DiskFull, StoreError
from sharedllm.files import make_private, sync_folder
from sharedllm.store.packed.format import MANIFEST, File, Manifest
from sharedllm.store.packed.signing import signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> File:
    """Write a safetensors file of numpy arrays. Once this returns it survives a crash."""
    from safetensors.numpy import save_file

    # An interrupted call may have left one that nobody was told of.
    make_private(path, anew=True)
    save_file(dict(tensors), path)
    return synced(path)


def synced(path: Path) -> File:
    """Have a file that was written survive a crash."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
        return File(path.name, hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size)


def write_manifest(folder: Path, manifest: Manifest, key: "Ed25519PrivateKey") -> None:
    """Sign what a snapshot consists of from now on. A crash leaves the manifest that was there, or this one."""
    part = folder / f"{MANIFEST}.part"
    make_private(part, anew=True)
    part.write_bytes(signed(manifest.to_json(), key))
    synced(part)
    part.replace(folder / MANIFEST)
    sync_folder(folder)


def packing_lock(folder: Path) -> AbstractContextManager[object]:
    """Hold off whoever else would write this snapshot; it is a file beside the folder."""
    from filelock import FileLock

    folder = folder.absolute()
    return FileLock(folder.with_name(f".{folder.name}.lock"))


@contextmanager
def writing_errors(folder: Path) -> Iterator[None]:
    """Turn what the system refuses while a snapshot is written into our errors.

    Raises:
        DiskFull: there is no room left.
        StoreError: the folder cannot be written.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise DiskFull(f"No room is left to write {folder}", remedy="Free some space and try again.") from error
        raise StoreError(
            f"{folder} cannot be written: {error}", remedy="Check its permissions, or name another."
        ) from error
