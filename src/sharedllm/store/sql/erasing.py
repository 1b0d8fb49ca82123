"""Erasures from an SQL database: step by step, on from wherever one was interrupted, with an account of each."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from sharedllm.errors import StoreError, UnknownUser
from sharedllm.holder import Derived, Removed
from sharedllm.store import rules
from sharedllm.store.contract import ENTRIES_PER_PAGE, ChangeKind, Store
from sharedllm.store.erasure import Account, AuditHead, Erased, Written, has_any, key_removed, rows_removed
from sharedllm.store.sql.database import Database, SqlRow
from sharedllm.store.sql.protection import Note, Owner, Protection
from sharedllm.store.sql.schema import HEAD, changes, erasures
from sharedllm.store.sql.user_rows import LOG, holds, remove


class Erasing(Store):
    """The part of a store in an SQL database that lets go of people."""

    _database: Database
    _protection: Protection

    def erase(self, user: str) -> Erased:
        """See `Store.erase`. In an encrypted store each step is committed before the next begins:

        1. the vault remembers that the user is being erased, and nothing of theirs is stored any more;
        2. their rows go, and in the same transaction the log of changes and the audit log say so: whoever follows the
           log lets go of them within a second, whatever happens to the next steps;
        3. their key goes, with which copies of the rows could be read;
        4. both files are rewritten, and only then does the vault forget them.

        Whatever fails, the same call goes on from there and ends with what this one returns. Nobody need call it for
        the key to go: whoever opens the store, or erases anybody, does steps 2 and 3 a minute later.
        """
        try:
            token, owner = self._protection.leave(user)
        except UnknownUser:
            if not self._is_going_on(user):
                raise
            # All of it is done but for the receipt.
            return Erased(user, releases=0, events=0, keys=0, audit=self._protection.head())
        gone = False
        try:
            removed = self._remove(token, owner)
            gone = True
            destroyed = self._protection.destroy(token)
            known = destroyed or any(removed.values()) or self._is_going_on(user)
            if known:
                self._database.scrub()
                head = self._protection.head()
                self._protection.left(token)
        except StoreError as error:
            if not gone and not self._protection.remembers_erasures:
                raise
            then = "erase them again" if self._protection.remembers_erasures else self._database.scrubbed_by
            raise rules.interrupted(user, error, then if gone else None) from error
        if not known:
            raise rules.unknown_user(user)
        self._finish_interrupted()
        return Erased(
            user,
            releases=removed["releases"],
            events=removed["events"],
            keys=removed["keys"],
            key_destroyed=destroyed,
            audit=head,
        )

    def note_erasure(self, user: str, found: Sequence[Removed | Derived]) -> Account:
        person = self._person(user)
        token, leaving = None, False
        try:
            token = self._protection.find(user).token
        except UnknownUser:
            with suppress(UnknownUser):
                # Of whoever has no key this begins nothing: they are being erased, by a call that had no account.
                self._protection.leave(user)
                leaving = True

        def note(connection: sa.Connection) -> Account:
            before = self._take_account(connection, person)
            here = token is not None and (self._protection.remembers_erasures or holds(connection, token))
            known = here or leaving or has_any(found)
            if before is None and not known:
                raise rules.unknown_user(user)
            if before is not None and before.receipt is not None and not known:
                return before
            begun = Account() if before is None or before.receipt is not None else before
            account = begun.going_on([*found, key_removed(here and self._protection.remembers_erasures)])
            self._write(connection, person, account, token if here else None)
            self._protection.note(connection, [])
            return account

        return self._database.write(note)

    def keep_receipt(self, user: str, receipt: Mapping[str, Any]) -> Mapping[str, Any]:
        person = self._person(user)

        def keep(connection: sa.Connection) -> Mapping[str, Any]:
            account = self._take_account(connection, person)
            if account is not None and account.receipt is not None:
                return account.receipt
            self._write(connection, person, Account(receipt=receipt), None)
            self._protection.note(connection, [])
            return receipt

        return self._database.write(keep, settle=True)

    def audit_head(self) -> AuditHead | None:
        return self._protection.head()

    def audit_log(self, *, before: int | None = None, limit: int = ENTRIES_PER_PAGE) -> list[Written]:
        return self._protection.newest(before=before, limit=rules.check_limit(limit, "entries"))

    def _person(self, user: str) -> bytes:
        (row,) = self._database.find(LOG, {})
        return self._protection.person(user, row.user_key.to_bytes(8, "big"))

    def _take_account(self, connection: sa.Connection, person: bytes) -> Account | None:
        """An account, nobody else's until the caller's transaction ends; None where there was none, and one is made."""
        new = {"person": person, "account": self._protection.hide(person, Account().to_json())}
        # Two who erase the same person at once find no row that either could hold, so each makes it, and one waits.
        make = self._database.insert(erasures).on_conflict_do_nothing().returning(erasures.c.person)
        if connection.execute(make, new).one_or_none():
            return None
        this = sa.select(erasures).where(erasures.c.person == person)
        return self._shown(connection.execute(this.with_for_update()).one())

    def _shown(self, row: SqlRow) -> Account:
        return Account.from_json(self._protection.show(row.person, row.account))

    def _write(self, connection: sa.Connection, person: bytes, account: Account, token: bytes | None) -> None:
        said = {"account": self._protection.hide(person, account.to_json()), "id_sha256": token}
        connection.execute(sa.update(erasures).where(erasures.c.person == person).values(said))

    def _is_going_on(self, user: str) -> bool:
        """Whether an erasure of theirs has begun that has no receipt yet."""
        this = sa.select(erasures).where(erasures.c.person == sa.bindparam("person"))
        found = self._database.find(this, {"person": self._person(user)})
        return any(self._shown(row).receipt is None for row in found)

    def _count(self, connection: sa.Connection, token: bytes, removed: Mapping[str, int]) -> None:
        """Put into the account of an erasure, if there is one, what goes in the caller's transaction."""
        this = sa.select(erasures).where(erasures.c.id_sha256 == token)
        row = connection.execute(this.with_for_update()).one_or_none()
        if row is not None:
            counted = self._shown(row).plus(rows_removed(removed["releases"], removed["events"], removed["keys"]))
            self._write(connection, row.person, counted, None)

    def _finish_interrupted(self) -> None:
        """Remove what erasures have left that were interrupted."""
        # If that cannot be done now, the next call tries again. It is no reason to keep back the store or a receipt.
        with suppress(StoreError):
            for token in self._protection.interrupted():
                self._remove(token)
                # It stays remembered whose they were, so that who asked for the erasure can still get its receipt.
                self._protection.destroy(token)
                self._database.scrub()

    def _remove(self, token: bytes, owner: Owner | None = None) -> Mapping[str, int]:
        """Delete the rows that a token finds, if there are any."""

        def delete(connection: sa.Connection) -> Mapping[str, int]:
            removed, user_keys = remove(connection, token)
            found = any(removed.values())
            if found:
                self._database.mark_for_scrubbing(connection)
                self._log(connection, user_keys, "erased")
                self._count(connection, token, removed)
            self._protection.note(connection, [Note("erased", owner)] if found else [])
            return removed

        return self._database.write(delete, settle=True)

    def _log(self, connection: sa.Connection, user_keys: Sequence[int], kind: ChangeKind) -> None:
        """Put changes of answers in the log, as the last thing that a transaction does."""
        if user_keys:
            self._database.number_changes(connection)
            connection.execute(
                sa.insert(changes), [{"user_key": key, "kind": kind, "schema": HEAD} for key in user_keys]
            )
