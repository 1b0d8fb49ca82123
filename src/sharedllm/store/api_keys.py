"""API keys at rest: who holds which, and never a secret."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from secrets import token_hex, token_urlsafe
from typing import Any, Literal

import sqlalchemy as sa

from sharedllm.closing import Closing
from sharedllm.errors import CorruptStore, InvalidInput, UnknownKey, UnknownName, UnknownUser
from sharedllm.store.release_format import check_text, now, read_time
from sharedllm.store.rules import check_limit
from sharedllm.store.sql.checksums import COMING, checksum, is_sound
from sharedllm.store.sql.database import Database, SqlRow
from sharedllm.store.sql.protection import Note, Owner, Plain, Protection, owned
from sharedllm.store.sql.schema import keys
from sharedllm.store.sql.user_rows import remove

PREFIX = "sllm_"
SECRET_BYTES = 32
KEYS_PER_PAGE = 100

_GOOD = sa.select(keys).where(keys.c.secret_sha256 == sa.bindparam("secret_sha256"), keys.c.revoked_at.is_(None))


@dataclass(frozen=True)
class Key:
    """What is known of an API key.

    Attributes:
        id: 16 hexadecimal digits that name the key and open nothing.
        kind: a ``"user"`` key speaks for its user alone, a ``"service"`` key for any user it names.
        user: whom a user key speaks for; None for a service key.
        label: what whoever made it wrote beside it.
        created_at: in UTC.
        revoked_at: since when it opens nothing, in UTC; None while it is good.
    """

    id: str
    kind: Literal["user", "service"]
    user: str | None
    label: str
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class KeyPage:
    """A page of keys, oldest first; ``next`` is what to ask for ``after`` to go on, None where this is the end."""

    page: list[Key]
    next: int | None


class Keys(Closing):
    """The API keys in a store's database, safe to use from several threads.

    Every call asks the database, so what one process creates or revokes holds in every other at once. Erasing a user
    from the store removes their keys. Any method may raise `StoreError` or its kinds.
    """

    def __init__(self, database: Database, protection: Protection | None = None) -> None:
        """Take over ``database``, whose personal rows are kept as ``protection`` says; both are closed in the end."""
        self._database, self._protection = database, protection or Plain()

    def create(self, *, user: str | None, label: str = "") -> tuple[str, Key]:
        """Make a key for ``user``, who need not have a release yet; for None, a service key that may act for anybody.

        Returns:
            The secret, which cannot be had again, and the key.

        Raises:
            InvalidUserId: ``user`` cannot name a user.
            InvalidInput: ``label`` cannot be stored.
        """
        (made,) = self.create_many([(user, label)])
        return made

    def create_many(self, wanted: Iterable[tuple[str | None, str]]) -> list[tuple[str, Key]]:
        """`create` a key for each user and label in order, all or none.

        Raises:
            InvalidUserId, InvalidInput: as there. No key was made.
        """
        asked = [(user, check_text("The label", label)) for user, label in wanted]
        owners = self._protection.take({user for user, _ in asked if user is not None})
        drafts = [_draft(None if user is None else owners[user], label) for user, label in asked]

        def insert(connection: sa.Connection) -> list[tuple[str, Key]]:
            made = [(secret, _key(owner, _inserted(connection, row))) for secret, owner, row in drafts]
            self._protection.note(connection, [Note("key_created", owner) for _, owner, _ in drafts])
            return made

        made = self._database.write(insert)
        for lost in self._protection.lost(owners.values()):
            self._database.write(partial(remove, token=lost.token), settle=True)
        return made

    def holder(self, secret: str) -> Key:
        """The key whose secret this is.

        Raises:
            UnknownKey: there is none, or it is revoked. The error does not tell which, and does not quote the secret.
            CorruptStore: it is not as it was made.
        """
        asked = _sha256(secret)
        for row in self._database.find(_GOOD, {"secret_sha256": asked}):
            # A damaged index leads to another key, with what was asked for in the place of its hash.
            if not is_sound(keys, {**row._mapping, "secret_sha256": asked}):
                raise _damaged(row.id)
            for key in self._keys(iter([row])):
                return key
        raise UnknownKey(
            "The API key is not valid",
            remedy="Check that it is complete, or ask whoever runs this server for a new one.",
        )

    def all(self) -> Iterator[Key]:
        """Every key, revoked ones too, oldest first, read as the iterator advances.

        Raises:
            CorruptStore: the next one is not as it was made.
        """
        return self._keys(self._database.rows(keys))

    def page(self, *, user: str | None = None, after: int = 0, limit: int = KEYS_PER_PAGE) -> KeyPage:
        """A page of keys, revoked ones too: everybody's, or one user's, who may have none.

        Raises:
            InvalidUserId: ``user`` cannot name a user.
            InvalidInput: ``limit`` is below 1.
            CorruptStore: one of them is not as it was made.
        """
        check_limit(limit, "keys")
        wanted = sa.select(keys).where(keys.c.key > after).order_by(keys.c.key).limit(limit + 1)
        if user is not None:
            try:
                wanted = wanted.where(keys.c.holder_sha256 == self._protection.find(user).token)
            except UnknownUser:
                return KeyPage([], None)
        rows = self._database.find(wanted, {})
        return KeyPage(list(self._keys(iter(rows[:limit]))), rows[limit - 1].key if len(rows) > limit else None)

    def revoke(self, id: str) -> None:
        """Let the key open nothing any more, from now on and everywhere. Revoking again changes nothing.

        One that is damaged is taken for what is left of it, and can then be listed again.

        Raises:
            UnknownName: no key has that id.
            InvalidInput: it cannot be one, such as a secret, which the message does not quote.
        """
        self.revoke_many([id])

    def revoke_many(self, ids: Iterable[str]) -> None:
        """`revoke` each, all or none.

        Raises:
            UnknownName, InvalidInput: as there, of the first such. Nothing was revoked.
        """
        wanted = list(dict.fromkeys(ids))
        for id in wanted:
            # Wherever in it: a cell of a list may have blanks around it.
            if PREFIX in id:
                raise InvalidInput(
                    "That is the secret of a key, not its id",
                    remedy="List the keys (sharedllm keys list) to find the id, of 16 characters.",
                )
            check_text("The id", id)

        def change(connection: sa.Connection) -> None:
            rows = connection.execute(sa.select(keys).where(keys.c.id.in_(wanted)).with_for_update()).all()
            known = {row.id for row in self._revoked(connection, rows)}
            for id in wanted:
                if id not in known:
                    raise UnknownName(
                        f"There is no API key with the id {id!r}",
                        remedy="List the keys (sharedllm keys list) to see their ids.",
                    )

        self._database.write(change, settle=True)

    def revoke_of(self, users: Iterable[str]) -> int:
        """Revoke all keys that speak for these users, of all or of none of them; how many were good until now.

        Raises:
            UnknownName: one of them has no key.
            InvalidUserId: one cannot name a user.
        """
        wanted = {user: self._token(user) for user in users}

        def change(connection: sa.Connection) -> int:
            of_them = keys.c.holder_sha256.in_([token for token in wanted.values() if token is not None])
            rows = connection.execute(sa.select(keys).where(of_them).with_for_update()).all()
            known = {row.holder_sha256 for row in self._revoked(connection, rows)}
            for user, token in wanted.items():
                if token not in known:
                    raise UnknownName(f"{user!r} has no API key", remedy="Look at the list of keys for the name.")
            return sum(row.revoked_at is None for row in rows)

        return self._database.write(change, settle=True)

    def close(self) -> None:
        """Give back files and connections. Closing twice is safe."""
        self._database.close()
        self._protection.close()

    def _token(self, user: str) -> bytes | None:
        try:
            return self._protection.find(user).token
        except UnknownUser:
            return None

    def _revoked(self, connection: sa.Connection, rows: Sequence[SqlRow]) -> list[SqlRow]:
        """Revoke keys in the caller's transaction; those whose holders have not been erased meanwhile."""
        for row in rows:
            revoked: dict[str, Any] = {"revoked_at": row.revoked_at or now()}
            revoked["checksum"] = checksum(keys, {**row._mapping, **revoked})
            connection.execute(sa.update(keys).where(keys.c.key == row.key).values(revoked))
        found = list(owned(self._protection, iter(rows), token="holder_sha256", stored="holder"))
        self._protection.note(connection, [Note("key_revoked", owner) for owner, _ in found])
        return [row for _, row in found]

    def _keys(self, rows: Iterator[SqlRow]) -> Iterator[Key]:
        for owner, row in owned(self._protection, rows, token="holder_sha256", stored="holder"):
            if not is_sound(keys, row._mapping):
                raise _damaged(row.id)
            yield _key(owner, row)


def _inserted(connection: sa.Connection, row: dict[str, object]) -> SqlRow:
    made = connection.execute(sa.insert(keys).returning(keys), {**row, "checksum": COMING}).one()
    this = sa.update(keys).where(keys.c.key == made.key)
    connection.execute(this.values(checksum=checksum(keys, made._mapping)))
    return made


def _damaged(id: object) -> CorruptStore:
    return CorruptStore(
        f"The API key {id!r} is damaged in the store, and may be somebody else's",
        remedy=f"Revoke it and make another: sharedllm keys revoke {id}",
    )


def _draft(owner: Owner | None, label: str) -> tuple[str, Owner | None, dict[str, object]]:
    """A new secret, whose key it is, and its row."""
    secret, id = PREFIX + token_urlsafe(SECRET_BYTES), token_hex(8)
    return (
        secret,
        owner,
        {
            "id": id,
            "secret_sha256": _sha256(secret),
            "holder": None if owner is None else owner.seal(owner.user, "id"),
            "holder_sha256": None if owner is None else owner.token,
            "label": label if owner is None else owner.seal(label, "label", id),
            "created_at": now(),
        },
    )


def _sha256(secret: str) -> bytes:
    # A plain hash is enough, without salt or stretching: those slow down guessing what a person might have chosen, and
    # 256 random bits cannot be guessed. It is also what lets the key be found by its hash, in one look.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _key(owner: Owner | None, row: SqlRow) -> Key:
    return Key(
        id=row.id,
        kind="service" if owner is None else "user",
        user=None if owner is None else owner.user,
        label=row.label if owner is None else owner.open(row.label, "label", row.id),
        created_at=read_time(row.created_at),
        revoked_at=None if row.revoked_at is None else read_time(row.revoked_at),
    )
