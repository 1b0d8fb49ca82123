"""Rows that are encrypted, each user's with a key of their own.

Sealed are ids, values, provenance, what gates found, and the reasons of events and revocations, with AES-256-GCM under
random nonces. Whose row it is, which release, of which format, for which base and since when is authenticated with
them, so that nothing opens anywhere but where it was written.
"""

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sharedllm.errors import CorruptStore, MasterKeyError, StoreBusy, StoreError
from sharedllm.store import rules
from sharedllm.store.contract import Release
from sharedllm.store.encryption.master_key import master_key_file
from sharedllm.store.encryption.vault import ENVIRONMENT_VARIABLE as VAULT_VARIABLE
from sharedllm.store.encryption.vault import NONCE_BYTES, UserKey, Vault, vault_file
from sharedllm.store.erasure import AuditHead, Written, damaged_account, no_audit_log
from sharedllm.store.evidence import audit
from sharedllm.store.evidence.signing import signing_key
from sharedllm.store.release_format import Head, Record, corrupt, reveal
from sharedllm.store.sql.database import Database, SqlRow
from sharedllm.store.sql.protection import Note, Owner, Plain, Protection, canonical, head_of
from sharedllm.store.sql.schema import vaults

TAG_BYTES = 16
# What takes the checksum's place: every part of a sealed release is authenticated.
SEALED = "sealed"


@dataclass(frozen=True, eq=False)
class SealedOwner(Owner):
    """A user whose rows nobody can read without their key."""

    key: UserKey = field(repr=False)

    def seal(self, text: str, *about: object) -> str:
        return b64encode(_encrypted(self.key.cipher, text.encode(), about)).decode()

    def open(self, text: str, *about: object) -> str:
        try:
            return _decrypted(self.key.cipher, b64decode(text, validate=True), about).decode()
        except (InvalidTag, binascii.Error, TypeError, ValueError):
            raise CorruptStore(
                f"What the store holds of {self.user!r} is not what was written ({about[0]})",
                remedy="Restore it from a backup.",
            ) from None

    def row(self, record: Record) -> dict[str, Any]:
        head = record.head
        about = _about(head)
        return {name: getattr(head, name) for name in ("id", "number", "format", "base", "created_at")} | {
            "provenance": self.seal(head.provenance, "provenance", *about),
            "gate": self.seal(head.gate, "gate", *about),
            "checksum": SEALED,
            "deviations": _encrypted(self.key.cipher, record.deviations, ("values", *about)),
        }

    def head(self, row: SqlRow) -> tuple[Head, int]:
        return self._head(row), row.stored_bytes - NONCE_BYTES - TAG_BYTES

    def release(self, row: SqlRow) -> Release:
        head = self._head(row)
        try:
            return reveal(head, _decrypted(self.key.cipher, row.deviations, ("values", *_about(row))))
        except (InvalidTag, TypeError, ValueError):
            raise corrupt(self.user, row.number) from None

    def _head(self, row: SqlRow) -> Head:
        about = _about(row)
        try:
            opened = {name: self.open(getattr(row, name), name, *about) for name in ("provenance", "gate")}
        except (CorruptStore, TypeError):
            raise corrupt(self.user, row.number) from None
        return head_of(self.user, row, **opened)


def open_sealed(database: Database, kept: SqlRow) -> "Sealed":
    """The protection of an encrypted database, by its row in the vaults.

    Raises:
        MasterKeyError: the vault or the master key is missing, or is another one.
        StoreError: not all of it is encrypted yet.
    """
    vault = Vault(vault_file(), master_key_file())
    try:
        check_vault(vault, kept)
        if not kept.complete:
            raise StoreError(
                "The store is being encrypted, or that was interrupted",
                remedy="Run `sharedllm store encrypt` to its end.",
            )
        return Sealed(vault, database, signing_key())
    except StoreError:
        vault.close()
        raise


def audit_key(database: Database, user: str) -> bytes:
    """What finds a user's entries in the audit log of an encrypted database.

    Raises:
        InvalidInput: it is not encrypted, and has no audit log.
        UnknownUser: nobody has that id, any more or yet.
        MasterKeyError: see `open_sealed`.
    """
    kept = database.find(sa.select(vaults), {})
    if not kept:
        raise no_audit_log()
    with closing(Vault(vault_file(), master_key_file())) as vault:
        check_vault(vault, kept[0])
        key = vault.find(user)
    if key is None:
        raise rules.unknown_user(user)
    return key.audit


def check_vault(vault: Vault, kept: SqlRow) -> None:
    """Refuse a vault that is not the one of an encrypted database.

    Raises:
        MasterKeyError: it is another store's.
    """
    if vault.id != kept.id:
        raise MasterKeyError(
            f"{vault.path} is the vault of another store",
            remedy=f"Set {VAULT_VARIABLE} to this one's, whose id begins with {kept.id[:8]}.",
        )


class Sealed(Protection):
    """The owners of a store's sealed rows, by the keys in its vault, and the store's audit log."""

    remembers_erasures = True
    ids_readable = False

    def __init__(self, vault: Vault, database: Database, key: Ed25519PrivateKey) -> None:
        """Take over ``vault``, and close it in the end; sign the audit log in ``database`` with ``key``."""
        self._vault, self._database, self._signing = vault, database, key

    def find(self, user: str) -> Owner:
        key = self._vault.find(user)
        if key is None:
            raise rules.unknown_user(user)
        return SealedOwner(user, key.token, key)

    def take(self, users: Iterable[str]) -> dict[str, Owner]:
        wanted = set(users)
        taken = {user: SealedOwner(user, key.token, key) for user, key in self._vault.take(wanted).items()}
        for leaving in wanted - set(taken):
            raise StoreBusy(
                f"{leaving!r} is being erased, and nothing of theirs can be stored until that is done",
                remedy="Try again; if the erasure failed on its way, repeat that first.",
            )
        return dict(taken)

    def lost(self, owners: Iterable[Owner]) -> list[Owner]:
        taken = {owner.token: owner for owner in owners}
        kept = self._vault.staying(list(taken))
        return [owner for token, owner in taken.items() if token not in kept]

    def of(self, rows: Mapping[bytes, str]) -> dict[bytes, Owner]:
        return {
            token: SealedOwner(SealedOwner("?", token, key).open(rows[token], "id"), token, key)
            for token, key in self._vault.at(list(rows)).items()
        }

    def leave(self, user: str) -> tuple[bytes, Owner | None]:
        leaving = self._vault.leave(user)
        if leaving is None:
            raise rules.unknown_user(user)
        token, key = leaving
        return token, None if key is None else SealedOwner(user, token, key)

    def destroy(self, token: bytes) -> bool:
        self._vault.destroy(token)
        return True

    def left(self, token: bytes) -> None:
        self._vault.scrub()
        self._vault.left(token)

    def interrupted(self) -> list[bytes]:
        return self._vault.interrupted()

    def person(self, user: str, salt: bytes) -> bytes:
        return self._vault.hidden(Plain().person(user, salt))

    def hide(self, person: bytes, text: str) -> str:
        return b64encode(_encrypted(self._vault.cipher, text.encode(), ("account", person.hex()))).decode()

    def show(self, person: bytes, text: str) -> str:
        try:
            return _decrypted(self._vault.cipher, b64decode(text, validate=True), ("account", person.hex())).decode()
        except (InvalidTag, binascii.Error, TypeError, ValueError):
            raise damaged_account() from None

    def moved(self, person: bytes, text: str) -> tuple[bytes, str]:
        """An account of before the store was encrypted: what finds it from now on, and what is written there."""
        hidden = self._vault.hidden(person)
        return hidden, self.hide(hidden, text)

    def note(self, connection: sa.Connection, notes: Sequence[Note]) -> None:
        audit.append(connection, self._signing, self._vault.id, [_entry(note) for note in notes])

    def head(self) -> AuditHead:
        return audit.head(self._database)

    def newest(self, *, before: int | None, limit: int) -> list[Written]:
        return audit.newest(self._database, before=before, limit=limit)

    def close(self) -> None:
        self._vault.close()


def _entry(note: Note) -> audit.AuditEntry:
    owner = note.owner
    return audit.AuditEntry(note.kind, owner.key.audit if isinstance(owner, SealedOwner) else None, note.number)


def _about(head: Head | SqlRow) -> tuple[object, ...]:
    return head.id, head.number, head.format, head.base, head.created_at


def _encrypted(cipher: AESGCM, data: bytes, about: Sequence[object]) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, canonical(about))


def _decrypted(cipher: AESGCM, data: bytes, about: Sequence[object]) -> bytes:
    return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], canonical(about))
