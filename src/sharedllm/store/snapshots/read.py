"""A packed snapshot, opened: checked, its index in memory, and looked into by user."""

import hashlib
import json
import os
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.provenance import as_read
from sharedllm.errors import CorruptAdapter, SnapshotError, WrongBase
from sharedllm.files import keep_private
from sharedllm.store.contract import Release
from sharedllm.store.release_format import STORED, id_sha256
from sharedllm.store.snapshots.format import (
    HASH_BYTES,
    INDEX_TENSORS,
    MANIFEST,
    PLACE,
    Checksums,
    File,
    Manifest,
    tensor_places,
    verified,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Found(NamedTuple):
    """Somebody in a snapshot: their hash, their place in the index, and their number as in `Change.who`."""

    user_sha256: bytes
    place: int
    who: int


class Snapshot:
    """A packed snapshot, safe to use from several threads. Its files are closed when this goes.

    The index is a copy in memory, 96 bytes a user, so that nobody changes it once it was found to be what was signed.
    Rows are read from the files and checked against it each time, and never mapped: a file that somebody shortens ends
    a process that reads it through a map.

    Attributes:
        folder: where it is.
        manifest: what was signed.
    """

    def __init__(self, folder: Path, key: "Ed25519PublicKey") -> None:
        """Check the signature, that every file is there and as long as it should be, and the hash of the index.

        Shards are not hashed, which takes seconds a gigabyte (see `verify`): each row is checked when it is read,
        against its checksum in the index.

        Raises:
            SnapshotError: something is missing, or not what was signed.
        """
        self.folder = folder
        self.manifest = Manifest.from_json(verified(_read(folder / MANIFEST), key, folder / MANIFEST))
        keep_private(folder)
        self._shards = [_open(folder, file) for file in self.manifest.shards]
        self._index = _read(folder / self.manifest.index.name)
        _check_length(folder, self.manifest.index, len(self._index))
        check_hash(folder, self.manifest.index, self._index)
        users, self._checksums_at, self._places_at = (tensor_places(self._index)[name][0] for name in INDEX_TENSORS)
        # Fixed-width strings, so that a binary search needs no Python; numpy ignores only zeros at the end, and as all
        # are equally long that confuses no two.
        self._users = np.frombuffer(self._index, f"S{HASH_BYTES}", self.manifest.users, users)
        self._users_at = users
        self._checksums = Checksums(self.manifest.base, self.manifest.format)
        self._row_bytes = self.manifest.parameters * STORED.itemsize

    def check_base(self, base: str, format: str | None = None) -> None:
        """Say no to a snapshot of another base than the one that is loaded, or of another format than one, if given.

        Raises:
            WrongBase: every request would be refused.
        """
        if self.manifest.base != base:
            raise WrongBase(
                f"The snapshot {self.folder} is of base {self.manifest.base[:12]!r}, not {base[:12]!r}",
                remedy="Load the base that it was packed for, or pack this one.",
            )
        if format not in (None, self.manifest.format):
            raise WrongBase(
                f"The snapshot {self.folder} is of format {self.manifest.format!r}, not {format!r}",
                remedy="Serve the format that was packed, or pack this one (--format).",
            )

    def find(self, user: str) -> Found | None:
        """Where ``user`` is; None if they are not in this snapshot.

        Raises:
            InvalidUserId: it cannot name a user.
        """
        wanted = id_sha256(user)
        index = int(self._users.searchsorted(wanted))
        at = self._users_at + index * HASH_BYTES
        if index == self.manifest.users or self._index[at : at + HASH_BYTES] != wanted:
            return None
        return Found(wanted, index, PLACE.unpack_from(self._index, self._places_at + index * PLACE.size)[0])

    def read(self, user: str, found: Found) -> Release:
        """The release that was packed for ``user``.

        Args:
            user: who was looked for.
            found: what `find` said.

        Raises:
            CorruptAdapter: what lies there is not what was packed for this user.
        """
        at = self._checksums_at + found.place * HASH_BYTES
        expected = self._index[at : at + HASH_BYTES]
        _, values_at, head_at, head_bytes, shard = PLACE.unpack_from(
            self._index, self._places_at + found.place * PLACE.size
        )
        # Copies, so that what is used is what is checked. They are shorter where the file is, and then do not pass.
        stream = self._shards[shard].fileno()
        try:
            values = os.pread(stream, self._row_bytes, values_at)
            head = os.pread(stream, head_bytes, head_at)
        except OSError as error:
            raise self._damaged(user, f"cannot be read: {error.strerror}") from None
        if self._checksums.of(found.user_sha256, head, values) != expected:
            raise self._damaged(user, "is damaged")
        try:
            id, number, created_at, provenance, gate = json.loads(head)
        except RecursionError:
            raise self._damaged(user, "says too much of where it came from") from None
        row = np.frombuffer(values, STORED).astype(np.float32)
        row.flags.writeable = False
        return Release(
            id=id,
            user=user,
            number=number,
            adapter=Adapter(self.manifest.format, self.manifest.base, row, as_read(provenance)),
            gate=GateOutcome(**gate),
            created_at=datetime.fromisoformat(created_at),
        )

    def verify(self) -> None:
        """Hash every shard, as after copying a snapshot to another machine.

        Raises:
            SnapshotError: one is not what was signed.
        """
        for file, stream in zip(self.manifest.shards, self._shards, strict=True):
            stream.seek(0)
            _check_digest(self.folder, file, hashlib.file_digest(stream, "sha256").hexdigest())

    def _damaged(self, user: str, how: str) -> CorruptAdapter:
        return CorruptAdapter(
            f"The row of {user!r} in the snapshot {self.folder} {how}", remedy="Copy or pack the snapshot again."
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SnapshotError(
            f"{path} cannot be read: {error.strerror}", remedy="Name a folder that `sharedllm fleet pack` made."
        ) from None


def _open(folder: Path, file: File) -> FileIO:
    path = folder / file.name
    try:
        stream = FileIO(path)
        _check_length(folder, file, os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise SnapshotError(
            f"{path} cannot be read: {error.strerror}", remedy="Copy or pack the snapshot again."
        ) from None
    return stream


def _check_length(folder: Path, file: File, found: int) -> None:
    if found != file.bytes:
        raise SnapshotError(
            f"{folder / file.name} has {found:,} bytes where {file.bytes:,} were signed",
            remedy="Copy or pack the snapshot again.",
        )


def check_hash(folder: Path, file: File, data: bytes) -> None:
    """Check that ``data``, of a file in ``folder``, is what was signed.

    Raises:
        SnapshotError: it is not.
    """
    _check_digest(folder, file, hashlib.sha256(data).hexdigest())


def _check_digest(folder: Path, file: File, found: str) -> None:
    if found != file.sha256:
        raise SnapshotError(f"{folder / file.name} is not what was signed", remedy="Copy or pack the snapshot again.")
