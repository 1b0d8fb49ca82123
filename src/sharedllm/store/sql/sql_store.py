"""The store in an SQL database, whichever it is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import CorruptAdapter, CorruptStore, UnknownUser
from sharedllm.store import rules
from sharedllm.store.contract import (
    PEOPLE_PER_PAGE,
    RELEASES_PER_PAGE,
    Change,
    Event,
    Headcount,
    People,
    Position,
    Release,
    ReleaseSummary,
    Standing,
    Stay,
    UserSummary,
)
from sharedllm.store.release_format import (
    Draft,
    Record,
    check_reason,
    corrupt,
    draft,
    outlined,
    read_time,
    summarise,
    unseal,
)
from sharedllm.store.sql import people_rows, stay_rows
from sharedllm.store.sql.checksums import check_entry, is_sound, unlabelled
from sharedllm.store.sql.database import Database, SqlRow
from sharedllm.store.sql.erasing import Erasing
from sharedllm.store.sql.protection import Note, Owner, Plain, Protection, owned
from sharedllm.store.sql.schema import changes, events, releases, users
from sharedllm.store.sql.user_rows import (
    ANSWERS,
    POSITION,
    SERVED,
    SUMMARIES,
    append,
    change_entry,
    find_entry,
    find_numbered,
    find_whole,
    is_reset,
    newest_before,
    read_event,
    read_standing,
)


class SQLStore(Erasing):
    """The contract's promises, as transactions on the tables of `schema.py`."""

    def __init__(self, database: Database, protection: Protection | None = None) -> None:
        """Take over ``database``, in which what is personal is kept as ``protection`` says (None: as it is).

        What an interrupted erasure has left is removed. Both are closed in the end.
        """
        self._database, self._protection = database, protection or Plain()
        self._finish_interrupted()

    def begin(self, users: Iterable[str]) -> dict[str, Stay]:
        owners = list(self._protection.take(users).values())
        known = self._database.read(lambda connection: stay_rows.found(connection, owners))
        new = [owner for owner in owners if owner.user not in known]

        def begin(connection: sa.Connection) -> dict[str, Stay]:
            self._protection.note(connection, [])
            return stay_rows.begin(connection, self._database, new)

        if new:
            known |= self._database.write(begin)
            self._drop_lost(new)
        return known

    def erased_since(self, stays: Iterable[Stay]) -> set[Stay]:
        given = list(stays)
        return self._database.read(lambda connection: stay_rows.erased(connection, given)) if given else set()

    def publish(self, user: str, adapter: Adapter, gate: GateOutcome, stay: Stay | None = None) -> Release:
        (record,) = self._append([draft(user, adapter, gate)], {} if stay is None else {user: stay})
        return unseal(record)

    def publish_many(
        self, items: Iterable[tuple[str, Adapter, GateOutcome]], *, stays: Mapping[str, Stay] | None = None
    ) -> list[ReleaseSummary]:
        records = self._append([draft(*item) for item in items], stays or {})
        return [summarise(record.head, len(record.deviations)) for record in records]

    def served(self, user: str) -> Release:
        owner = self._protection.find(user)
        found = self._database.find(SERVED, {"id_sha256": owner.token})
        if not found:
            raise rules.unknown_user(user)
        (row,) = found
        entry = unlabelled(users, row._mapping)
        check_entry(owner, entry)
        if entry["revoked"] is not None:
            raise rules.revoked(user, owner.open(entry["revoked"], "revoked"))
        if entry["served"] is None and self._database.read(lambda connection: is_reset(connection, row.users_key)):
            raise rules.reset_to_base(user)
        number = entry["served"] or entry["releases"]
        if row.number != number:
            raise corrupt(user, number)
        release = owner.release(row)
        if entry["served"] is None:
            raise rules.held_back(user, release.number, release.gate.reason)
        return release

    def release(self, user: str, number: int) -> Release:
        owner = self._protection.find(user)

        def find(connection: sa.Connection) -> SqlRow:
            entry = find_entry(connection, owner)
            return find_numbered(connection, sa.select(releases), user, entry, number)

        return owner.release(self._database.read(find))

    def releases(self, user: str, *, before: int | None = None, limit: int = RELEASES_PER_PAGE) -> list[ReleaseSummary]:
        rules.check_limit(limit, "releases")
        owner = self._protection.find(user)

        def find(connection: sa.Connection) -> list[SqlRow]:
            entry = find_entry(connection, owner)
            end = entry.releases + 1 if before is None else min(before, entry.releases + 1)
            page = SUMMARIES.where(releases.c.user_key == entry.key, releases.c.number < end)
            return list(connection.execute(page.order_by(releases.c.number.desc()).limit(limit)))

        return [summarise(*owner.head(row)) for row in reversed(self._database.read(find))]

    def events(self, user: str) -> list[Event]:
        owner = self._protection.find(user)

        def find(connection: sa.Connection) -> list[SqlRow]:
            entry = find_entry(connection, owner)
            return list(
                connection.execute(sa.select(events).where(events.c.user_key == entry.key).order_by(events.c.key))
            )

        return [read_event(owner, row) for row in self._database.read(find)]

    def user(self, user: str) -> UserSummary:
        owner = self._protection.find(user)
        return read_standing(owner, self._database.read(lambda connection: find_entry(connection, owner)))

    def users(self) -> Iterator[UserSummary]:
        found = owned(self._protection, self._database.rows(users), token="id_sha256", stored="id")
        for owner, row in found:
            if owner is not None:
                check_entry(owner, row._mapping)
                yield read_standing(owner, row)

    def people(
        self, *, state: Standing | None = None, search: str = "", after: int = 0, limit: int = PEOPLE_PER_PAGE
    ) -> People:
        rules.check_people(limit, search)
        return people_rows.people(
            self._database, self._protection, state=state, search=search, after=after, limit=limit
        )

    def headcount(self) -> Headcount:
        return people_rows.headcount(self._database)

    def answers(self) -> Iterator[tuple[int, Release | CorruptAdapter]]:
        rows = self._database.rows(users, select=ANSWERS)
        for owner, row in owned(self._protection, rows, token="users_id_sha256", stored="users_id"):
            if owner is None:
                continue
            try:
                if row.number is None or not is_sound(users, unlabelled(users, row._mapping)):
                    raise corrupt(owner.user, row.users_served)
                yield row.key, owner.release(row)
            except CorruptAdapter as error:
                yield row.key, error

    def arrival(self, who: int) -> datetime | None:
        found = self._database.find(
            sa.select(users.c.created_at).where(users.c.key == sa.bindparam("who")), {"who": who}
        )
        return read_time(found[0].created_at) if found else None

    def position(self) -> Position:
        (row,) = self._database.find(POSITION, {})
        if row.last is None:
            raise CorruptStore(
                "The store's log of changes is gone, which even a new store has", remedy="Restore it from a backup."
            )
        return Position(row.log, row.last)

    def changes(self, after: int) -> Iterator[Change]:
        found = self._database.rows(changes, after=after)
        return (Change(row.key, row.user_key, row.kind) for row in found if row.kind != "began")

    def rollback(self, user: str, number: int | None = None, *, override_reason: str | None = None) -> ReleaseSummary:
        if override_reason is not None:
            check_reason(override_reason)
        owner = self._protection.find(user)

        def change(connection: sa.Connection) -> ReleaseSummary:
            entry = find_entry(connection, owner, for_change=True)
            chosen = newest_before(connection, entry) if number is None else number
            if chosen is None:
                raise rules.nothing_before(user, entry.served)
            target = find_whole(connection, owner, entry, chosen)
            kind, reason = rules.rollback_event(
                user, chosen, target.gate, served=entry.served, override_reason=override_reason
            )
            change_entry(connection, owner, entry, {"served": chosen}, kind=kind, number=chosen, reason=reason)
            self._log(connection, [entry.key], kind)
            self._protection.note(connection, [Note(kind, owner, chosen)])
            return outlined(target)

        return self._database.write(change, settle=True)

    def reset(self, user: str) -> int | None:
        owner = self._protection.find(user)

        def change(connection: sa.Connection) -> int | None:
            entry = find_entry(connection, owner, for_change=True)
            served: int | None = entry.served
            if entry.served is not None or not is_reset(connection, entry.key):
                reason = rules.reset_reason(served)
                change_entry(connection, owner, entry, {"served": None}, kind="reset", number=served, reason=reason)
                self._log(connection, [entry.key], "reset")
                self._protection.note(connection, [Note("reset", owner, served)])
            return served

        return self._database.write(change, settle=True)

    def revoke(self, user: str, reason: str) -> None:
        check_reason(reason)
        owner = self._protection.find(user)

        def change(connection: sa.Connection) -> None:
            entry = find_entry(connection, owner, for_change=True)
            revoked: dict[str, object] = {"revoked": owner.seal(reason, "revoked")}
            change_entry(connection, owner, entry, revoked, kind="revoked", reason=reason)
            self._log(connection, [entry.key], "revoked")
            self._protection.note(connection, [Note("revoked", owner)])

        self._database.write(change, settle=True)

    def restore(self, user: str) -> None:
        owner = self._protection.find(user)

        def change(connection: sa.Connection) -> None:
            entry = find_entry(connection, owner, for_change=True)
            if entry.revoked is not None:
                reason = f"had been revoked: {owner.open(entry.revoked, 'revoked')}"
                change_entry(connection, owner, entry, {"revoked": None}, kind="restored", reason=reason)
                self._log(connection, [entry.key], "restored")
                self._protection.note(connection, [Note("restored", owner)])

        self._database.write(change)

    def close(self) -> None:
        self._database.close()
        self._protection.close()

    def _append(self, new: Sequence[Draft], stays: Mapping[str, Stay]) -> list[Record]:
        users = {each.user for each in new}
        held = {user: stay for user, stay in stays.items() if user in users}
        owners = self._protection.take(users - held.keys()) | {user: self._staying(user) for user in held}

        def write(connection: sa.Connection) -> list[Record]:
            stay_rows.check(connection, owners, held)
            records, changed = append(connection, self._database, new, owners)
            self._log(connection, changed, "published")
            notes = [
                Note("published" if each.passed else "held_back", owners[each.user], record.head.number)
                for each, record in zip(new, records, strict=True)
            ]
            self._protection.note(connection, notes)
            return records

        records = self._database.write(write)
        self._drop_lost(owners.values())
        return records

    def _staying(self, user: str) -> Owner:
        """The owner of rows that are to be written for somebody whose stay is not over."""
        try:
            return self._protection.find(user)
        except UnknownUser:
            # A key for them would be made anew, and outlive the erasure that destroyed theirs.
            raise rules.erased_meanwhile(user) from None

    def _drop_lost(self, owners: Iterable[Owner]) -> None:
        """Remove rows that were written for those whom somebody erased meanwhile without having seen the rows."""
        for owner in self._protection.lost(owners):
            self._remove(owner.token)
