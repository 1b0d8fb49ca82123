"""The audit log: what happened in a store, in a chain of hashes that cannot be edited unnoticed.

Each entry's hash covers all before it, and the last entry of every transaction is signed, for the store's vault, with
the key of `signing.py`, which the database never sees. Editing, removing or exchanging entries breaks the chain, and
mending the chain needs that key: nothing is written after an entry that is not signed with it, so that nobody has a
chain of their own signed by the next thing that happens. Cutting off the end leaves a chain that is whole: that shows
against an `AuditHead` that was kept elsewhere, such as in an erasure receipt.

Users are not named. An entry carries a hash of its own number under a key of the user's, so that whoever holds that key
can find their entries, and nobody can once it is erased.
"""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sharedllm.errors import AuditError, InvalidInput
from sharedllm.store.erasure import AuditHead, Written
from sharedllm.store.release_format import now, read_time
from sharedllm.store.sql.database import Database, SqlRow
from sharedllm.store.sql.protection import canonical
from sharedllm.store.sql.schema import audit, vaults

_START = bytes(32)
# The one entry that nothing comes before.
FIRST = "encrypted"
_PER_STATEMENT = 500
_LAST = sa.select(audit).order_by(audit.c.key.desc()).limit(1)


@dataclass(frozen=True)
class AuditEntry:
    """Something to write down.

    Attributes:
        kind: what happened.
        subject: the audit key of whom it happened to; None: to the store.
        number: to which of their releases; None: to no single one.
    """

    kind: str
    subject: bytes | None = field(default=None, repr=False)
    number: int | None = None


def append(connection: sa.Connection, key: Ed25519PrivateKey, vault: str, entries: Sequence[AuditEntry]) -> None:
    """Write entries in the caller's transaction, as the last thing that it does: others wait from here to its end.

    Args:
        connection: in a transaction that may write.
        key: signs the last of them.
        vault: the id of the store's vault, for which it is signed.
        entries: in order.

    Raises:
        AuditError: the log does not end where this store, with this key, left it. Nothing may be committed.
    """
    if not entries:
        return
    connection.execute(sa.select(vaults.c.id).with_for_update())
    last = connection.execute(_LAST).one_or_none()
    place, previous = (0, _START) if last is None else (last.key, _end(key.public_key(), vault, last))
    if last is None and entries[0].kind != FIRST:
        raise _forged(1, "is missing")
    at = now()
    rows: list[dict[str, object]] = []
    for entry in entries:
        place += 1
        subject = None if entry.subject is None else _subject(entry.subject, place)
        previous = _hash(previous, place, at, entry.kind, subject, entry.number)
        row = {"key": place, "at": at, "kind": entry.kind, "subject": subject, "number": entry.number}
        rows.append(row | {"hash": previous, "signature": None})
    rows[-1]["signature"] = key.sign(_signed(vault, previous))
    for start in range(0, len(rows), _PER_STATEMENT):
        connection.execute(sa.insert(audit), rows[start : start + _PER_STATEMENT])


def written(database: Database, subject: bytes | None = None) -> Iterator[Written]:
    """All entries, or those of whoever has the audit key ``subject``, oldest first. They are not verified."""
    for row in database.rows(audit):
        if subject is None or row.subject == _subject(subject, row.key):
            yield _written(row)


def newest(database: Database, *, before: int | None, limit: int) -> list[Written]:
    """A page of entries, newest first: of all, or of those at lower places. They are not verified."""
    page = sa.select(audit).order_by(audit.c.key.desc()).limit(limit)
    if before is not None:
        page = page.where(audit.c.key < before)
    return [_written(row) for row in database.find(page, {})]


def head(database: Database) -> AuditHead:
    """How far the log goes, which is not verified. Keep it where whoever may write to the database may not."""
    last = database.find(_LAST, {})
    return AuditHead(last[0].key, last[0].hash.hex()) if last else AuditHead(0, _START.hex())


def verify(database: Database, key: Ed25519PublicKey, kept: AuditHead | None = None) -> AuditHead:
    """Check every entry, and that the log still goes through ``kept``, a head that was kept elsewhere.

    Returns:
        how far the log goes now.

    Raises:
        InvalidInput: the store is not encrypted, and has no log.
        AuditError: an entry was edited, removed, exchanged or put in; the message says where. What comes before that
            place is as it was written, up to the signature before it.
    """
    store = database.find(sa.select(vaults), {})
    if not store:
        raise InvalidInput("The store is not encrypted, and has no audit log", remedy="See `sharedllm store encrypt`.")
    place, previous, signed = 0, _START, False
    for row in database.rows(audit):
        place += 1
        if row.key != place:
            raise _broken(place, "is missing")
        previous = _checked(key, store[0].id, row, previous)
        signed = row.signature is not None
        _compare(kept, place, previous)
    if not signed or (kept is not None and place < kept.place):
        raise _broken(place + 1, "is missing")
    return AuditHead(place, previous.hex())


def _written(row: SqlRow) -> Written:
    return Written(row.key, read_time(row.at), row.kind, row.subject is not None, row.number)


def _compare(kept: AuditHead | None, place: int, found: bytes) -> None:
    if kept is not None and kept.place == place and kept.hash != found.hex():
        raise _broken(place, "is not the one that was kept")


def _end(key: Ed25519PublicKey, vault: str, last: SqlRow) -> bytes:
    """The hash of the log's last row, once it is known that this store signed it."""
    try:
        key.verify(last.signature, _signed(vault, last.hash))
    except (InvalidSignature, AttributeError, TypeError):
        raise _forged(last.key, "was not signed by this store, or not with this key") from None
    found: bytes = last.hash
    return found


def _checked(key: Ed25519PublicKey, vault: str, row: SqlRow, previous: bytes) -> bytes:
    """A row's hash."""
    try:
        expected = _hash(previous, row.key, row.at, row.kind, row.subject, row.number)
        if row.hash != expected:
            raise _broken(row.key, "is not as it was written")
        if row.signature is not None:
            key.verify(row.signature, _signed(vault, expected))
    except (InvalidSignature, AttributeError, TypeError, ValueError):
        raise _broken(row.key, "is not as it was written, or was signed by another key or for another store") from None
    return expected


def _signed(vault: str, hash: bytes) -> bytes:
    return canonical(["sharedllm audit log", vault, hash.hex()])


def _hash(previous: bytes, place: int, at: str, kind: str, subject: bytes | None, number: int | None) -> bytes:
    shown = None if subject is None else subject.hex()
    return hashlib.sha256(previous + canonical([place, at, kind, shown, number])).digest()


def _subject(key: bytes, place: int) -> bytes:
    return hmac.digest(key, str(place).encode(), "sha256")


def _forged(place: int, how: str) -> AuditError:
    return AuditError(
        f"Entry {place} of the audit log {how}, and nothing can be written after that",
        remedy="If the signing key was lost or replaced, put it back. If not, somebody has edited the database: find"
        " out who may write to it, and restore it from a backup that `sharedllm audit verify` finds whole.",
    )


def _broken(place: int, how: str) -> AuditError:
    return AuditError(
        f"Entry {place} of the audit log {how}",
        remedy="Compare it with a backup, and find out who may write to the database.",
    )
