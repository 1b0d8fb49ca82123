"""From a store to a packed snapshot."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharedllm.adapters.provenance import own
from sharedllm.errors import CorruptAdapter, InvalidInput, StoreError
from sharedllm.files import make_folder, make_private, refused, replace_private, sync_folder
from sharedllm.store.contract import Release, Store
from sharedllm.store.release_format import STORED, id_sha256, now
from sharedllm.store.snapshots.format import (
    MANIFEST,
    PLACE,
    Checksums,
    File,
    Manifest,
    Newest,
    index_of,
    signed,
    tensor_places,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# As much is held in memory while packing; smaller shards make it cheaper to remove somebody.
SHARD_BYTES = 64 * 2**20


@dataclass
class Packed:
    """What became of everybody whom the store serves.

    Attributes:
        users: how many are in the snapshot.
        bytes: of all its files.
        others: how many were left out because their adapter is for another base, or of another format.
        damaged: the errors of those whose release is damaged; they are left out.
    """

    users: int = 0
    bytes: int = 0
    others: int = 0
    damaged: list[CorruptAdapter] = field(default_factory=list)


def pack(
    store: Store,
    folder: Path,
    key: "Ed25519PrivateKey",
    *,
    base: str,
    format: str,
) -> Packed:
    """Write every adapter of a base that is served, with the index and the signed manifest, into a new folder.

    The folder appears when all of it is on the disk. Memory: one shard, and 96 bytes a user for the index, twice
    that while it is sorted.

    Args:
        store: where the adapters are; others may go on changing it, as the log tells what the snapshot lacks.
        folder: must not exist.
        key: signs the manifest.
        base: fingerprint of the base.
        format: the vector format.

    Raises:
        InvalidInput: the folder exists, or there is nothing to pack.
        DiskFull, StoreError: nothing of the snapshot remains.
    """
    folder = folder.absolute()
    part = folder.with_name(f".{folder.name}.part")
    with writing_errors(folder):
        make_folder(folder.parent)
        with packing_lock(folder):
            if folder.exists():
                raise InvalidInput(
                    f"{folder} exists already", remedy="Name a new folder; a snapshot is never written over."
                )
            # What a packer that was killed left behind: adapters that nobody would ever look for.
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(0o700)
            try:
                report = _pack(store, part, key, base, format)
                part.rename(folder)
                sync_folder(folder.parent)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return report


def _pack(store: Store, folder: Path, key: "Ed25519PrivateKey", base: str, format: str) -> Packed:
    report = Packed()
    # Before anybody is read: what changes while packing goes on then comes after it in the log.
    position = store.position()
    created_at = now()
    shards: _Shards | None = None
    for who, release in store.answers():
        if isinstance(release, CorruptAdapter):
            report.damaged.append(release)
            continue
        parameters = release.adapter.values.size
        if shards is None and (release.adapter.base, release.adapter.format) == (base, format):
            shards = _Shards(folder, base, format, parameters)
        if shards is None or not shards.fits(release):
            report.others += 1
            continue
        shards.add(who, release)
    if shards is None:
        raise InvalidInput(
            f"The store serves nobody's {format} adapter for base {base[:12]!r}",
            remedy="Name the base that the adapters were trained on.",
        )
    index, files = shards.finish()
    arrived = store.arrival(shards.newest)
    report.users = shards.users
    report.bytes = sum(file.bytes for file in (index, *files))
    manifest = Manifest(
        base=base,
        format=format,
        parameters=shards.parameters,
        users=report.users,
        log=position.log,
        position=position.number,
        created_at=created_at,
        serial=0,
        index=index,
        shards=tuple(files),
        newest=None if arrived is None else Newest(shards.newest, arrived.isoformat(timespec="microseconds")),
    )
    write_manifest(folder, manifest, key)
    return report


class _Shards:
    """Rows on their way into files: collected until a shard is full."""

    def __init__(self, folder: Path, base: str, format: str, parameters: int) -> None:
        self.parameters = parameters
        self.users = self.newest = 0
        self._folder, self._base, self._format = folder, base, format
        self._checksums_of = Checksums(base, format)
        row_bytes = parameters * STORED.itemsize
        self._rows = np.empty((max(1, SHARD_BYTES // row_bytes), parameters), STORED)
        self._heads = bytearray()
        # Of the rows that are waiting: number in the store, where the head begins, how long it is.
        self._waiting: list[tuple[int, int, int]] = []
        self._files: list[File] = []
        self._users, self._checksums, self._places = bytearray(), bytearray(), bytearray()

    def fits(self, release: Release) -> bool:
        adapter = release.adapter
        return (adapter.base, adapter.format, adapter.values.size) == (self._base, self._format, self.parameters)

    def add(self, who: int, release: Release) -> None:
        self.newest = max(self.newest, who)
        user = id_sha256(release.user)
        head = _head(release)
        # The store rounded them to float16 when they were published, so this changes none.
        row = self._rows[len(self._waiting)]
        row[:] = release.adapter.values
        self._users += user
        self._checksums += self._checksums_of.of(user, head, row.tobytes())
        self._waiting.append((who, len(self._heads), len(head)))
        self._heads += head
        if len(self._waiting) == len(self._rows):
            self._flush()

    def finish(self) -> tuple[File, list[File]]:
        """Write what is waiting, and the index; the index, and the shards in order."""
        if self._waiting:
            self._flush()
        index = index_of(self._users, self._checksums, self._places)
        return write_tensors(self._folder / "index-0.safetensors", index), self._files

    def _flush(self) -> None:
        number = len(self._files)
        path = self._folder / f"shard-{number:05d}-0.safetensors"
        heads = np.frombuffer(bytes(self._heads), np.uint8)
        self._files.append(write_tensors(path, {"values": self._rows[: len(self._waiting)], "heads": heads}))
        with path.open("rb") as stream:
            length = stream.read(8)
            places = tensor_places(length + stream.read(int.from_bytes(length, "little")))
        row_bytes = self._rows[0].nbytes
        for row, (who, head_at, head_bytes) in enumerate(self._waiting):
            values_at = places["values"][0] + row * row_bytes
            self._places += PLACE.pack(who, values_at, places["heads"][0] + head_at, head_bytes, number)
        self.users += len(self._waiting)
        self._waiting.clear()
        self._heads.clear()


def _head(release: Release) -> bytes:
    gate = {"passed": release.gate.passed, "reason": release.gate.reason, "figures": dict(release.gate.figures)}
    head = [
        release.id,
        release.number,
        release.created_at.isoformat(timespec="microseconds"),
        own(release.adapter.provenance),
        gate,
    ]
    return json.dumps(head, separators=(",", ":")).encode()


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
    replace_private(folder / MANIFEST, signed(manifest.to_json(), key))
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
        raise refused(
            error, f"{folder} cannot be written", StoreError, remedy="Check its permissions, or name another."
        ) from error
