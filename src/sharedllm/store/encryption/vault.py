"""The vault: one random key per user, each wrapped by the master key, in a file beside the store and not in it.

A database keeps deleted rows in its log, its free pages and its backups, and keys that lay in it would lie there too.
In a file of their own, rewritten whenever one is erased, an erased key is gone, and with it all that it ever encrypted.
"""

import hmac
import os
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sharedllm.errors import CorruptStore, MasterKeyError
from sharedllm.files import make_folder, make_private
from sharedllm.store.encryption.master_key import KEY_BYTES, coming, master_key_file, read_master_key
from sharedllm.store.release_format import now
from sharedllm.store.sql.database import ROWS_PER_PAGE, SqlRow
from sharedllm.store.sql.sqlite import SQLite
from sharedllm.store.sql.watermark import Watermark
from sharedllm.user_ids import check_user_id

ENVIRONMENT_VARIABLE = "SHAREDLLM_VAULT"
NONCE_BYTES = 12
# An erasure that began this long ago, and has not destroyed the key yet, was interrupted.
ERASING_SECONDS = 60.0
# Also what damage leaves in the place of a wrapped key: another type, or too few bytes.
_NOT_WRAPPED = (InvalidTag, TypeError, ValueError)


@dataclass(frozen=True, eq=False)
class UserKey:
    """One user's key, and what follows from it.

    Attributes:
        token: what the user's rows are found by; without the key nobody can tell whose it is.
        cipher: for what is personal in those rows.
        audit: what hides them in the audit log.
    """

    token: bytes
    cipher: AESGCM = field(repr=False)
    audit: bytes = field(repr=False)


class Vault:
    """The keys of one store's users, safe to use from several threads and processes of one machine.

    Any method may raise `StoreError` or its kinds, and `MasterKeyError` where the master key is no longer the one that
    wraps the keys.
    """

    def __init__(self, path: Path, master: Path) -> None:
        """Open a vault.

        Raises:
            MasterKeyError: there is no vault, or the key in the file ``master`` is not the one that wraps its keys.
        """
        self.path, self._master_file = path, master
        self._wrapping = AESGCM(read_master_key(master))
        if path.is_file() and not path.stat().st_size:
            raise MasterKeyError(
                f"The vault {path} is empty, and was truncated",
                remedy=f"Restore it from a backup, or set {ENVIRONMENT_VARIABLE} to another.",
            )
        if not path.is_file():
            raise MasterKeyError(
                f"There is no vault of user keys at {path}",
                remedy=f"Set {ENVIRONMENT_VARIABLE} to it; without it nothing that is encrypted can be read.",
            )
        self._file = VaultFile(str(path))
        found = {row.name: row.value for row in self._file.find(sa.select(facts), {})}
        self.id: str = found.get("id", b"").decode()
        try:
            self._index = self._unwrap(found.get("index", b""), b"index")
        except MasterKeyError:
            self._file.close()
            raise

    @classmethod
    def create(cls, path: Path, master: Path) -> "Vault":
        """Open a vault, made where none is yet, readable by its owner alone.

        Raises:
            MasterKeyError: the master key cannot be read or is another vault's, or the vault cannot be written.
        """
        wrapping, id = AESGCM(read_master_key(master)), token_hex(16)
        try:
            make_folder(path.parent)
            with suppress(FileExistsError):
                make_private(path)
                with closing(Watermark(str(path))) as mark:
                    mark.reset(0)
        except OSError as error:
            raise MasterKeyError(
                f"The vault {path} cannot be written: {error.strerror}", remedy=f"Set {ENVIRONMENT_VARIABLE} elsewhere."
            ) from None
        new = {"id": id.encode(), "index": _wrapped(wrapping, token_bytes(KEY_BYTES), id, b"index")}
        rows = [{"name": name, "value": value} for name, value in new.items()]
        file = VaultFile(str(path))
        file.write(lambda connection: connection.execute(file.insert(facts).on_conflict_do_nothing(), rows))
        file.close()
        return cls(path, master)

    def bind(self) -> bool:
        """Give the vault to a store; whether nobody had given it to one before."""
        bound = self._file.insert(facts).on_conflict_do_nothing()
        return (
            self._file.write(lambda connection: connection.execute(bound, {"name": "bound", "value": b""}).rowcount)
            == 1
        )

    def find(self, user: str) -> UserKey | None:
        """A user's key, if they have one.

        Raises:
            InvalidUserId: it cannot name a user.
        """
        found = self._file.find(FIND, {"lookup": self._lookup(user)})
        return self._key(found[0]) if found else None

    def take(self, users: Iterable[str]) -> dict[str, UserKey]:
        """Users' keys, made where they have none; those survive a crash before anything is encrypted with them.

        Users who are being erased are left out.
        """
        lookups = {self._lookup(user): user for user in users}
        found = {row.lookup: self._key(row) for row in self._rows(STAYING, keys.c.lookup, list(lookups))}
        missing = [lookup for lookup in lookups if lookup not in found]

        def make(connection: sa.Connection) -> None:
            # Whoever rotates the master key holds off other writers, so no key is wrapped by an old one after that.
            self._check(connection)
            rows = []
            for lookup in missing:
                secret = token_bytes(KEY_BYTES)
                wrapped = _wrapped(self._wrapping, secret, self.id, lookup)
                rows.append({"lookup": lookup, "token": _derived(secret, b"token"), "wrapped": wrapped})
            # Somebody else may have made theirs meanwhile, or they are being erased.
            connection.execute(self._file.insert(keys).on_conflict_do_nothing(), rows)

        if missing:
            self._file.write(make)
            found |= {row.lookup: self._key(row) for row in self._rows(STAYING, keys.c.lookup, missing)}
        return {lookups[lookup]: key for lookup, key in found.items()}

    def at(self, tokens: Sequence[bytes]) -> dict[bytes, UserKey]:
        """The keys of rows' tokens; those of erased users are not among them."""
        return {row.token: self._key(row) for row in self._rows(sa.select(keys), keys.c.token, tokens)}

    def hidden(self, person: bytes) -> bytes:
        """What stands for an erased person, who has no key any more, for whoever does not have this vault."""
        return hmac.digest(_derived(self._index, b"erasures"), person, "sha256")

    @property
    def cipher(self) -> AESGCM:
        """For what is kept of erasures."""
        return AESGCM(_derived(self._index, b"accounts"))

    def staying(self, tokens: Sequence[bytes]) -> set[bytes]:
        """Those of rows' tokens that have a key, and whose users are not being erased."""
        return {row.token for row in self._rows(STAYING, keys.c.token, tokens)}

    def count(self) -> int:
        """How many users have a key."""
        (row,) = self._file.find(sa.select(sa.func.count().label("keys")).select_from(keys), {})
        return int(row.keys)

    def leave(self, user: str) -> tuple[bytes, UserKey | None] | None:
        """Note that a user is being erased, which holds until `left`.

        Returns:
            the token of their rows, and their key, unless that is destroyed already; None if nothing is known of them.
        """
        lookup = {"lookup": self._lookup(user)}
        upsert = self._file.insert(erasing)
        upsert = upsert.on_conflict_do_update(set_={"token": upsert.excluded.token, "at": upsert.excluded.at})

        def note(connection: sa.Connection) -> tuple[SqlRow | None, SqlRow | None]:
            row = connection.execute(FIND, lookup).one_or_none()
            if row is not None:
                connection.execute(upsert, lookup | {"token": row.token, "at": now()})
            return row, connection.execute(LEAVING, lookup).one_or_none()

        row, leaving = self._file.write(note)
        return None if leaving is None else (leaving.token, None if row is None else self._key(row))

    def destroy(self, token: bytes) -> None:
        """Delete the key of rows that are gone, if it is still there. `scrub` then removes its traces."""

        def delete(connection: sa.Connection) -> None:
            if connection.execute(sa.delete(keys).where(keys.c.token == token)).rowcount:
                self._file.mark_for_scrubbing(connection)

        self._file.write(delete, settle=True)

    def left(self, token: bytes) -> None:
        """Forget whom the rows were of."""
        self._file.write(lambda connection: connection.execute(sa.delete(erasing).where(erasing.c.token == token)))

    def interrupted(self) -> list[bytes]:
        """The tokens of rows that an erasure should have removed, with their key, and did not."""
        before = (datetime.now(UTC) - timedelta(seconds=ERASING_SECONDS)).isoformat(timespec="microseconds")
        # One that begins in the future began while the clock was ahead.
        interrupted = sa.or_(erasing.c.at <= before, erasing.c.at > now())
        late = sa.select(erasing.c.token).where(interrupted, erasing.c.token.in_(sa.select(keys.c.token)))
        return [row.token for row in self._file.find(late, {})]

    def rewrap(self, master: Path) -> None:
        """Wrap every key with another master key, all or none; `scrub` then removes what the old one wrapped.

        Raises:
            MasterKeyError: the key in the file ``master`` cannot be read.
        """
        new = AESGCM(read_master_key(master))

        def change(connection: sa.Connection) -> None:
            self._check(connection)
            index = {"value": _wrapped(new, self._index, self.id, b"index")}
            connection.execute(sa.update(facts).where(facts.c.name == "index").values(index))
            update = sa.update(keys).where(keys.c.key == sa.bindparam("row")).values(wrapped=sa.bindparam("rewrapped"))
            page = sa.select(keys).where(keys.c.key > sa.bindparam("last")).order_by(keys.c.key).limit(ROWS_PER_PAGE)
            last = 0
            while found := connection.execute(page, {"last": last}).all():
                secrets = ((row, self._unwrap(row.wrapped, row.lookup)) for row in found)
                rows = [
                    {"row": row.key, "rewrapped": _wrapped(new, secret, self.id, row.lookup)} for row, secret in secrets
                ]
                connection.execute(update, rows)
                last = found[-1].key
            self._file.mark_for_scrubbing(connection)

        self._file.write(change)
        self._master_file, self._wrapping = master, new

    def scrub(self) -> None:
        """Remove from the file what was deleted or replaced.

        Raises:
            StoreBusy, DiskFull: that cannot be done now; the next opening tries again.
        """
        self._file.scrub()

    def close(self) -> None:
        """Give back the file. Closing twice is safe."""
        self._file.close()

    def _lookup(self, user: str) -> bytes:
        return hmac.digest(self._index, check_user_id(user).encode(), "sha256")

    def _rows(self, select: sa.Select[Any], column: sa.Column[bytes], values: Sequence[bytes]) -> list[SqlRow]:
        found: list[SqlRow] = []
        for start in range(0, len(values), ROWS_PER_PAGE):
            found += self._file.find(select.where(column.in_(values[start : start + ROWS_PER_PAGE])), {})
        return found

    def _key(self, row: SqlRow) -> UserKey:
        secret = self._unwrap(row.wrapped, row.lookup)
        if row.token != _derived(secret, b"token"):
            raise CorruptStore(
                f"A user's row in the vault {self.path} is damaged, and leads to rows that are not theirs",
                remedy="Restore the vault from a backup.",
            )
        return UserKey(row.token, AESGCM(_derived(secret, b"values")), _derived(secret, b"audit"))

    def _unwrap(self, wrapped: bytes, what: bytes) -> bytes:
        try:
            return _unwrapped(self._wrapping, wrapped, self.id, what)
        except _NOT_WRAPPED:
            # It may have been rotated since this process read it.
            self._wrapping = AESGCM(read_master_key(self._master_file))
        try:
            return _unwrapped(self._wrapping, wrapped, self.id, what)
        except _NOT_WRAPPED:
            if coming(self._master_file).exists():
                raise MasterKeyError(
                    f"A rotation of the master key {self._master_file} was interrupted, and the vault {self.path} may"
                    " be under the new one already",
                    remedy="Run `sharedllm store rotate-key` again, which goes on from there.",
                ) from None
            raise MasterKeyError(
                f"The master key {self._master_file} does not open the keys in {self.path}, or those are damaged",
                remedy="Use the master key of that vault, the newest one if it was rotated.",
            ) from None

    def _check(self, connection: sa.Connection) -> None:
        wrapped = connection.scalar(sa.select(facts.c.value).where(facts.c.name == "index"))
        self._unwrap(wrapped or b"", b"index")


def vault_file() -> Path:
    """The file that ``SHAREDLLM_VAULT`` names, else ``vault.db`` beside the master key.

    Raises:
        MasterKeyError: neither that nor a master key is named.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser() if named else master_key_file().parent / "vault.db"


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"sharedllm " + purpose, "sha256")


def _wrapped(wrapping: AESGCM, secret: bytes, vault: str, what: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + wrapping.encrypt(nonce, secret, vault.encode() + what)


def _unwrapped(wrapping: AESGCM, wrapped: bytes, vault: str, what: bytes) -> bytes:
    return wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], vault.encode() + what)


metadata = sa.MetaData()

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

keys = sa.Table(
    "user_keys",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("lookup", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("token", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)

# At most one row: how many transactions there have been, see `watermark.py`.
progress = sa.Table(
    "progress",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("commits", sa.BigInteger, nullable=False),
)

# Who is being erased: what finds their rows, with or without a key by now. Rows go first and the key next, so that
# somebody without a key has no rows, and is here only until whoever asked for the erasure was told that it ended.
erasing = sa.Table(
    "erasing",
    metadata,
    sa.Column("lookup", sa.LargeBinary(32), primary_key=True),
    sa.Column("token", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("at", sa.String(32), nullable=False),
)

FIND = sa.select(keys).where(keys.c.lookup == sa.bindparam("lookup"))
LEAVING = sa.select(erasing).where(erasing.c.lookup == sa.bindparam("lookup"))
STAYING = sa.select(keys).where(keys.c.token.not_in(sa.select(erasing.c.token)))


class VaultFile(SQLite):
    """A file of these tables."""

    def _prepare(self) -> None:
        if not self.read(lambda connection: sa.inspect(connection).has_table(progress.name)):
            self.write(metadata.create_all)
