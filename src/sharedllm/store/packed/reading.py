"""A packed snapshot, opened: checked, mapped into memory, and looked into by user."""

import hashlib
import json
import mmap
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import CorruptAdapter, SnapshotError, WrongBase
from sharedllm.store.contract import Release
from sharedllm.store.encoding import STORED, id_sha256
from sharedllm.store.packed.format import (
    HASH_BYTES,
    INDEX_TENSORS,
    MANIFEST,
    PLACE,
    Checksums,
    File,
    Manifest,
    tensor_places,
)
from sharedllm.store.packed.signing import verified

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Found(NamedTuple):
    """Somebody in a snapshot: their hash, their place in the index, and their number as in `Change.who`."""

    user_sha256: bytes
    place: int
    who: int


class Snapshot:
    """A packed snapshot in memory-mapped files, safe to use from several threads. The maps go when this does.

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
        maps = [_map(folder, file) for file in self.manifest.files]
        self._index, *self._shards = maps
        check_hash(folder, self.manifest.index, self._index)
        users, self._checksums_at, self._places_at = (tensor_places(self._index)[name][0] for name in INDEX_TENSORS)
        # Fixed-width strings, so that a binary search needs no Python; numpy ignores only zeros at the end, and as all
        # are equally long that confuses no two.
        self._users = np.frombuffer(self._index, f"S{HASH_BYTES}", self.manifest.users, users)
        self._users_at = users
        self._checksums = Checksums(self.manifest.base, self.manifest.format)
        self._row_bytes = self.manifest.parameters * STORED.itemsize

    def check_base(self, base: str) -> None:
        """Say no to a snapshot of another base than the one that is loaded.

        Raises:
            WrongBase: every request would be refused.
        """
        if self.manifest.base != base:
            raise WrongBase(
                f"The snapshot {self.folder} is of base {self.manifest.base!r}, not {base!r}",
                remedy="Load the base that it was packed for, or pack this one.",
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
        # Copied before they are checked, so that what is used is what was checked.
        values = self._shards[shard][values_at : values_at + self._row_bytes]
        head = self._shards[shard][head_at : head_at + head_bytes]
        if self._checksums.of(found.user_sha256, head, values) != expected:
            raise CorruptAdapter(
                f"The row of {user!r} in the snapshot {self.folder} is damaged", remedy="Copy or pack it again."
            )
        id, number, created_at, provenance, gate = json.loads(head)
        row = np.frombuffer(values, STORED).astype(np.float32)
        row.flags.writeable = False
        return Release(
            id=id,
            user=user,
            number=number,
            adapter=Adapter(self.manifest.format, self.manifest.base, row, provenance),
            gate=GateOutcome(**gate),
            created_at=datetime.fromisoformat(created_at),
        )

    def verify(self) -> None:
        """Hash every shard, as after copying a snapshot to another machine.

        Raises:
            SnapshotError: one is not what was signed.
        """
        for file, data in zip(self.manifest.shards, self._shards, strict=True):
            check_hash(self.folder, file, data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SnapshotError(
            f"{path} cannot be read: {error.strerror}", remedy="Name a folder that `sharedllm fleet pack` made."
        ) from None


def _map(folder: Path, file: File) -> mmap.mmap:
    path = folder / file.name
    try:
        with path.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path} cannot be read: {error}", remedy="Copy or pack the snapshot again.") from None
    if len(mapped) != file.bytes:
        raise SnapshotError(
            f"{path} has {len(mapped):,} bytes where {file.bytes:,} were signed",
            remedy="Copy or pack the snapshot again.",
        )
    return mapped


def check_hash(folder: Path, file: File, data: bytes | mmap.mmap) -> None:
    """Check that ``data``, of a file in ``folder``, is what was signed.

    Raises:
        SnapshotError: it is not.
    """
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise SnapshotError(f"{folder / file.name} is not what was signed", remedy="Copy or pack the snapshot again.")
