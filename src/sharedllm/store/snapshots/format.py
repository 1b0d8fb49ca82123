"""What a packed snapshot is on disk.

    manifest.signed           a line of JSON that names the other files with their hashes, and a line with its signature
    index-<serial>.safetensors      who is where, sorted by the SHA-256 of the user's id, and a checksum of every row
    shard-<number>-<serial>.safetensors     float16 rows ``[n, P]``, and what else is known of their releases as JSON

A file never changes: whoever removes somebody writes other files and then another manifest. Ids are in none of them.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidSignature

from sharedllm.errors import SnapshotError
from sharedllm.strict_json import read_strictly

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SCHEMA = 1
MANIFEST = "manifest.signed"
INDEX_TENSORS = ("users", "checksums", "places")
HASH_BYTES = 32

# So that no signature made for anything else is valid here.
_PURPOSE = b"sharedllm packed snapshot\n"

# Where a row lies: the number of its user in the store, the byte at which its values begin in its shard's file, the
# byte at which its head begins there, how long the head is, and which shard it is.
PLACE = struct.Struct("<QQQII")
PLACES = np.dtype([("who", "<u8"), ("values_at", "<u8"), ("head_at", "<u8"), ("head_bytes", "<u4"), ("shard", "<u4")])


@dataclass(frozen=True)
class File:
    """One file of a snapshot: its name, SHA-256 in hex, and size in bytes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Newest:
    """Who of those in a snapshot came to its store last: their number as in `Change.who`, and when, in UTC."""

    who: int
    at: str


@dataclass(frozen=True)
class Manifest:
    """What is signed.

    Attributes:
        base: fingerprint of the base that every row was made for.
        format: the rows' vector format.
        parameters: ``P``, values in a row.
        users: how many rows somebody has.
        log: of which store, see `Position`.
        position: the last change that the rows are sure to take account of.
        created_at: when they were read from the store, ISO 8601 in UTC.
        serial: 0 as packed, one more each time somebody was removed.
        index: the index.
        shards: in the order of their numbers.
        newest: what tells that the store has come as far; None where it was packed without that.
    """

    base: str
    format: str
    parameters: int
    users: int
    log: int
    position: int
    created_at: str
    serial: int
    index: File
    shards: tuple[File, ...]
    newest: Newest | None = None

    @property
    def files(self) -> tuple[File, ...]:
        """All that the snapshot consists of beside the manifest itself."""
        return self.index, *self.shards

    def to_json(self) -> bytes:
        """Canonical JSON, without a line break in it."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Read what `to_json` wrote; whether it was signed is for the caller to have checked.

        Raises:
            SnapshotError: another version of sharedllm wrote it, or it is not what that writes.
        """
        try:
            fields: dict[str, Any] = read_strictly(data)
        except ValueError as error:
            raise SnapshotError(f"The snapshot's manifest is not JSON: {error}", remedy="Pack it again.") from None
        if (schema := fields.pop("schema", None)) != SCHEMA:
            raise SnapshotError(
                f"The snapshot has schema {schema!r}, and this version of sharedllm reads {SCHEMA}",
                remedy="Pack it again, or use the version of sharedllm that packed it.",
            )
        known = cls(**fields)
        newest = None if known.newest is None else Newest(**fields["newest"])
        return replace(
            known, newest=newest, index=File(**fields["index"]), shards=tuple(File(**each) for each in fields["shards"])
        )


def signed(text: bytes, key: "Ed25519PrivateKey") -> bytes:
    """A line of text, and a line with its signature."""
    return text + b"\n" + key.sign(_PURPOSE + text).hex().encode() + b"\n"


def verified(data: bytes, key: "Ed25519PublicKey", name: Path) -> bytes:
    """The text that `signed` signed.

    Raises:
        SnapshotError: it is not signed with the other half of this key, or was changed since.
    """
    text, _, rest = data.partition(b"\n")
    try:
        key.verify(bytes.fromhex(rest.decode("ascii")), _PURPOSE + text)
    except (InvalidSignature, ValueError):
        raise SnapshotError(
            f"{name} is not signed with this key, or was changed since",
            remedy="Check that the public key is the packer's, and copy the snapshot again.",
        ) from None
    return text


class Checksums:
    """Checksums of one snapshot's rows: over the base, the format, the user, the head and the values."""

    def __init__(self, base: str, format: str) -> None:
        self._context = hashlib.sha256(json.dumps([SCHEMA, base, format]).encode())

    def of(self, user_sha256: bytes, head: bytes, values: bytes) -> bytes:
        """32 bytes. Rows of a snapshot have one length, so no two rows are the same bytes in a row."""
        digest = self._context.copy()
        digest.update(user_sha256 + head)
        digest.update(values)
        return digest.digest()


def tensor_places(data: bytes) -> Mapping[str, tuple[int, int]]:
    """Where the tensors of a safetensors file begin and end, in bytes from the file's beginning.

    Args:
        data: the file, or at least its header; it must be known to be what was written.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: tuple(8 + length + at for at in about["data_offsets"]) for name, about in header.items()}


def index_of(users: bytearray, checksums: bytearray, places: bytearray) -> dict[str, npt.NDArray[np.uint8]]:
    """The tensors of an index: uint8 ``[n, 32]`` each, sorted by user.

    Args:
        users: SHA-256 of each user's id, one after the other.
        checksums: of their rows.
        places: of their rows, packed as `PLACE`.
    """
    columns = [np.frombuffer(column, np.uint8).reshape(-1, HASH_BYTES) for column in (users, checksums, places)]
    order = np.argsort(columns[0].view(f"S{HASH_BYTES}").ravel())
    return {name: column[order] for name, column in zip(INDEX_TENSORS, columns, strict=True)}
