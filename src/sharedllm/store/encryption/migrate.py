"""A store that was not encrypted, encrypted where it is: user by user, and on from where it was if interrupted."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sharedllm.errors import CorruptAdapter, MasterKeyError
from sharedllm.store.address import open_database
from sharedllm.store.encryption.master_key import master_key_file
from sharedllm.store.encryption.sealing import Sealed, check_vault
from sharedllm.store.encryption.vault import ENVIRONMENT_VARIABLE as VARIABLE
from sharedllm.store.encryption.vault import Vault, vault_file
from sharedllm.store.evidence.audit import FIRST
from sharedllm.store.evidence.signing import signing_key
from sharedllm.store.release_format import Record, id_sha256
from sharedllm.store.sql.checksums import checksum, is_sound
from sharedllm.store.sql.database import ROWS_PER_PAGE, Database, SqlRow
from sharedllm.store.sql.protection import Note, Owner, PlainOwner, head_of
from sharedllm.store.sql.schema import erasures, events, keys, releases, stays, users, vaults


def encrypt_store(where: str | Path | None, progress: Callable[[int], None]) -> int:
    """Encrypt all that is personal in a store. Nobody can open it until this is done.

    Processes that have it open from before can write nothing any more, and find nobody, until they open it again.

    What was written before it remains where the database keeps deleted rows: not in an SQLite file, which is rewritten
    in the end; in a PostgreSQL server's files until ``VACUUM FULL``, and in its log; and in every backup.

    Args:
        where: as for `open_store`.
        progress: told how many users are done.

    Returns:
        how many users were encrypted by this call.

    Raises:
        MasterKeyError: there is no master key, or the vault is another store's. Nothing was written.
        StoreError: see `open_store`. The same call goes on from there.
    """
    with closing(Vault.create(vault_file(), master_key_file())) as vault, closing(open_database(where)) as database:
        return _encrypt(database, vault, progress)


def _encrypt(database: Database, vault: Vault, progress: Callable[[int], None]) -> int:
    _claim(database, vault)
    sealed, done = Sealed(vault, database, signing_key()), 0
    for page in _plain_pages(database, users, "id", "id_sha256"):
        owners = sealed.take(row.id for row in page)
        for row in page:
            # One user at a time, so that no transaction is larger than one user.
            database.write(partial(_seal_user, owner=owners[row.id], found=row))
            done += 1
            progress(done)
    for page in _plain_pages(database, keys, "holder", "holder_sha256"):
        owners = sealed.take(row.holder for row in page)
        for row in page:
            database.write(partial(_seal_key, owner=owners[row.holder], row=row))

    def complete(connection: sa.Connection) -> None:
        found = connection.execute(sa.update(vaults).where(~vaults.c.complete).values(complete=True))
        if found.rowcount:
            # Of those who have no rows to tell who they are. What was begun for them has ended with its process.
            connection.execute(sa.delete(stays).where(stays.c.id_sha256.not_in(sa.select(users.c.id_sha256))))
            for row in connection.execute(sa.select(erasures)).all():
                person, account = sealed.moved(row.person, row.account)
                this = sa.update(erasures).where(erasures.c.person == row.person)
                connection.execute(this.values(person=person, account=account, id_sha256=None))
            database.mark_for_scrubbing(connection)
            sealed.note(connection, [Note(FIRST)])

    database.write(complete)
    database.scrub()
    return done


def _claim(database: Database, vault: Vault) -> None:
    kept = database.find(sa.select(vaults), {})
    if kept:
        check_vault(vault, kept[0])
        return
    if not vault.bind():
        raise MasterKeyError(f"{vault.path} is the vault of another store", remedy=f"Set {VARIABLE} to a new file.")
    row = {"id": vault.id, "complete": False}

    def claim(connection: sa.Connection) -> None:
        # Whoever writes plain rows has done so by now, or is refused for the row that this puts in.
        database.hold_off_writers(connection)
        connection.execute(sa.insert(vaults), row)

    database.write(claim)


def _plain_pages(database: Database, table: sa.Table, stored: str, token: str) -> Iterator[list[SqlRow]]:
    """Rows that are not encrypted yet, which the hash of the id in them tells."""
    page: list[SqlRow] = []
    for row in database.rows(table):
        user = getattr(row, stored)
        if user is not None and id_sha256(user) == getattr(row, token):
            page.append(row)
        if len(page) == ROWS_PER_PAGE:
            yield page
            page = []
    if page:
        yield page


def _seal_user(connection: sa.Connection, owner: Owner, found: SqlRow) -> None:
    plain = PlainOwner(found.id, found.id_sha256)
    row = connection.execute(sa.select(users).where(users.c.key == found.key).with_for_update()).one()
    mine = sa.select(releases).where(releases.c.user_key == row.key)
    for release in connection.execute(mine).all():
        sealed = _resealed(plain, owner, release)
        this = (releases.c.user_key == row.key, releases.c.number == release.number)
        connection.execute(sa.update(releases).where(*this).values(sealed))
    for event in connection.execute(sa.select(events).where(events.c.user_key == row.key)).all():
        reason = owner.seal(event.reason, "event", event.kind, event.number, event.at)
        connection.execute(sa.update(events).where(events.c.key == event.key).values(reason=reason))
    revoked = None if row.revoked is None else owner.seal(row.revoked, "revoked")
    change: dict[str, Any] = {"id": owner.seal(owner.user, "id"), "id_sha256": owner.token, "revoked": revoked}
    change |= _checksum(users, row, change)
    connection.execute(sa.update(users).where(users.c.key == row.key).values(change))
    moved = sa.update(stays).where(stays.c.id_sha256 == found.id_sha256)
    connection.execute(moved.values(id_sha256=owner.token))


def _resealed(plain: Owner, owner: Owner, row: SqlRow) -> dict[str, object]:
    head = head_of(plain.user, row)
    try:
        plain.release(row)
    except CorruptAdapter:
        # Damaged it was and damaged it stays: sealed as it is, it would pass for what was once written.
        nowhere = owner.row(Record(replace(head, id=""), b"", ""))
        return owner.row(Record(head, b"", "")) | {"deviations": nowhere["deviations"]}
    return owner.row(Record(head, row.deviations, row.checksum))


def _seal_key(connection: sa.Connection, owner: Owner, row: SqlRow) -> None:
    sealed: dict[str, Any] = {"holder": owner.seal(owner.user, "id"), "holder_sha256": owner.token}
    sealed["label"] = owner.seal(row.label, "label", row.id)
    sealed |= _checksum(keys, row, sealed)
    connection.execute(sa.update(keys).where(keys.c.key == row.key).values(sealed))


def _checksum(table: sa.Table, row: SqlRow, change: dict[str, Any]) -> dict[str, Any]:
    """A row's checksum after a change; damaged it was and damaged it stays."""
    return {"checksum": checksum(table, {**row._mapping, **change})} if is_sound(table, row._mapping) else {}


def encryption_state(where: str | Path | None) -> dict[str, Any]:
    """Whether a store is encrypted, and whether its vault opens all of it.

    Args:
        where: as for `open_store`.

    Returns:
        ``encrypted``: ``"no"``, ``"yes"`` or ``"in part"``; and unless it is not, the ``vault``'s file, how many users
        have ``keys`` there, how many have ``users`` rows in the store, and how many of those have no key: they are
        being erased, or the vault is older than they are.

    Raises:
        MasterKeyError, StoreError: see `open_store`.
    """
    with closing(open_database(where)) as database:
        kept = database.find(sa.select(vaults), {})
        if not kept:
            return {"encrypted": "no"}
        with closing(Vault(vault_file(), master_key_file())) as vault:
            check_vault(vault, kept[0])
            rows, opened, total = database.rows(users), 0, 0
            while page := list(islice(rows, ROWS_PER_PAGE)):
                total += len(page)
                opened += len(vault.at([row.id_sha256 for row in page]))
            return {
                "encrypted": "yes" if kept[0].complete else "in part",
                "vault": str(vault.path),
                "keys": vault.count(),
                "users": total,
                "without_a_key": total - opened,
            }
