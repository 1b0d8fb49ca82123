"""The store in an SQL database, whichever it is."""

from collections.abc import Iterable, Iterator
from dataclasses import fields

import sqlalchemy as sa

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import StoreError, UnknownUser
from sharedllm.store import rules
from sharedllm.store.appending import append, event, upsert
from sharedllm.store.contract import Erased, Event, EventKind, Release, ReleaseSummary, Store, UserSummary
from sharedllm.store.database import Database, Row
from sharedllm.store.encoding import (
    Head,
    Record,
    check_reason,
    corrupt,
    draft,
    id_sha256,
    now,
    read_time,
    summarise,
    unseal,
)
from sharedllm.store.schema import events, keys, releases, users

# The newest release stands in where none is served: whoever asks is told why it was held back.
_SERVED = (
    sa.select(users.c.key, users.c.served, users.c.revoked, users.c.releases, releases)
    .select_from(
        users.outerjoin(
            releases,
            sa.and_(
                releases.c.user_key == users.c.key,
                releases.c.number == sa.func.coalesce(users.c.served, users.c.releases),
            ),
        )
    )
    .where(users.c.id_sha256 == sa.bindparam("id_sha256"))
)
_SUMMARY = sa.select(
    *(releases.c[name.name] for name in fields(Head) if name.name != "user"),
    sa.func.length(releases.c.deviations).label("stored_bytes"),
)


class SQLStore(Store):
    """The contract's promises, as transactions on the tables of `schema.py`."""

    def __init__(self, database: Database) -> None:
        """Take over ``database``, and close it in the end."""
        self._database = database
        self._upsert = upsert(database)

    def publish(self, user: str, adapter: Adapter, gate: GateOutcome) -> Release:
        new = draft(user, adapter, gate)
        (record,) = self._database.write(lambda connection: append(connection, self._upsert, [new]))
        return unseal(record)

    def publish_many(self, items: Iterable[tuple[str, Adapter, GateOutcome]]) -> list[ReleaseSummary]:
        new = [draft(*item) for item in items]
        records = self._database.write(lambda connection: append(connection, self._upsert, new))
        return [summarise(record.head, len(record.deviations)) for record in records]

    def served(self, user: str) -> Release:
        found = self._database.find(_SERVED, {"id_sha256": id_sha256(user)})
        if not found:
            raise rules.unknown_user(user)
        (row,) = found
        if row.revoked is not None:
            raise rules.revoked(user, row.revoked)
        if row.number is None:
            raise corrupt(user, row.served or row.releases)
        release = unseal(_record(user, row))
        if row.served is None:
            raise rules.held_back(user, release.number, release.gate.reason)
        return release

    def release(self, user: str, number: int) -> Release:
        def find(connection: sa.Connection) -> Row | None:
            entry = _entry(connection, user)
            return connection.execute(sa.select(releases).where(*_numbered(user, entry, number))).one_or_none()

        row = self._database.read(find)
        if row is None:
            raise corrupt(user, number)
        return unseal(_record(user, row))

    def releases(self, user: str) -> list[ReleaseSummary]:
        def find(connection: sa.Connection) -> list[Row]:
            entry = _entry(connection, user)
            mine = _SUMMARY.where(releases.c.user_key == entry.key).order_by(releases.c.number)
            return list(connection.execute(mine))

        return [summarise(_head(user, row), row.stored_bytes) for row in self._database.read(find)]

    def events(self, user: str) -> list[Event]:
        def find(connection: sa.Connection) -> list[Row]:
            entry = _entry(connection, user)
            return list(
                connection.execute(sa.select(events).where(events.c.user_key == entry.key).order_by(events.c.key))
            )

        return [Event(row.kind, row.number, row.reason, read_time(row.at)) for row in self._database.read(find)]

    def user(self, user: str) -> UserSummary:
        return _standing(self._database.read(lambda connection: _entry(connection, user)))

    def users(self) -> Iterator[UserSummary]:
        return map(_standing, self._database.rows(users))

    def rollback(self, user: str, number: int | None = None, *, override_reason: str | None = None) -> ReleaseSummary:
        if override_reason is not None:
            check_reason(override_reason)

        def change(connection: sa.Connection) -> ReleaseSummary:
            entry = _entry(connection, user, for_change=True)
            chosen = _newest_before(connection, entry) if number is None else number
            if chosen is None:
                raise rules.nothing_before(user, entry.served)
            target = _summary(connection, user, entry, chosen)
            kind, reason = rules.rollback_event(
                user, chosen, target.gate, served=entry.served, override_reason=override_reason
            )
            _change(connection, entry, {"served": chosen}, kind=kind, number=chosen, reason=reason)
            return target

        return self._database.write(change)

    def revoke(self, user: str, reason: str) -> None:
        check_reason(reason)

        def change(connection: sa.Connection) -> None:
            entry = _entry(connection, user, for_change=True)
            _change(connection, entry, {"revoked": reason}, kind="revoked", reason=reason)

        self._database.write(change)

    def restore(self, user: str) -> None:
        def change(connection: sa.Connection) -> None:
            entry = _entry(connection, user, for_change=True)
            if entry.revoked is not None:
                reason = f"had been revoked: {entry.revoked}"
                _change(connection, entry, {"revoked": None}, kind="restored", reason=reason)

        self._database.write(change)

    def erase(self, user: str) -> Erased:
        def delete(connection: sa.Connection) -> Erased:
            mine = {keys: keys.c.holder_sha256 == id_sha256(user)}
            try:
                entry = _entry(connection, user, for_change=True)
            except UnknownUser:
                # Somebody may have a key and no release yet.
                if not connection.scalar(sa.select(sa.exists().where(mine[keys]))):
                    raise
            else:
                # In this order, because releases and events refer to users.
                mine |= {table: table.c.user_key == entry.key for table in (releases, events)}
                mine |= {users: users.c.key == entry.key}
            gone = {table.name: connection.execute(sa.delete(table).where(of)).rowcount for table, of in mine.items()}
            self._database.mark_for_scrubbing(connection)
            return Erased(user, gone.get("releases", 0), gone.get("events", 0), gone["keys"])

        erased = self._database.write(delete)
        try:
            self._database.scrub()
        except StoreError as error:
            raise type(error)(
                f"{user!r} is erased, but traces of them may remain: {error.message}",
                remedy=f"Put that right and {self._database.scrubbed_by}.",
            ) from error
        return erased

    def close(self) -> None:
        self._database.close()


def _change(
    connection: sa.Connection,
    entry: Row,
    change: dict[str, object],
    *,
    kind: EventKind,
    number: int | None = None,
    reason: str,
) -> None:
    at = now()
    connection.execute(sa.update(users).where(users.c.key == entry.key).values(updated_at=at, **change))
    connection.execute(sa.insert(events), event(entry.key, kind=kind, number=number, reason=reason, at=at))


def _entry(connection: sa.Connection, user: str, *, for_change: bool = False) -> Row:
    query = sa.select(users).where(users.c.id_sha256 == id_sha256(user))
    # Whoever changes a user holds their row until the transaction ends, so that changes come one after the other.
    row = connection.execute(query.with_for_update() if for_change else query).one_or_none()
    if row is None:
        raise rules.unknown_user(user)
    return row


def _newest_before(connection: sa.Connection, entry: Row) -> int | None:
    """The newest release before the served one that passed its gate."""
    earlier = sa.select(sa.func.max(releases.c.number)).where(
        releases.c.user_key == entry.key, releases.c.number < (entry.served or 0), releases.c.passed
    )
    newest: int | None = connection.scalar(earlier)
    return newest


def _summary(connection: sa.Connection, user: str, entry: Row, number: int) -> ReleaseSummary:
    row = connection.execute(_SUMMARY.where(*_numbered(user, entry, number))).one_or_none()
    if row is None:
        raise corrupt(user, number)
    return summarise(_head(user, row), row.stored_bytes)


def _numbered(user: str, entry: Row, number: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    if not 1 <= number <= entry.releases:
        raise rules.unknown_release(user, number, entry.releases)
    return releases.c.user_key == entry.key, releases.c.number == number


def _head(user: str, row: Row) -> Head:
    return Head(
        id=row.id,
        user=user,
        number=row.number,
        format=row.format,
        base=row.base,
        provenance=row.provenance,
        gate=row.gate,
        created_at=row.created_at,
    )


def _record(user: str, row: Row) -> Record:
    return Record(_head(user, row), row.deviations, row.checksum)


def _standing(row: Row) -> UserSummary:
    return UserSummary(
        user=row.id,
        state="active" if row.revoked is None else "revoked",
        reason=row.revoked,
        served=row.served,
        releases=row.releases,
        created_at=read_time(row.created_at),
        updated_at=read_time(row.updated_at),
    )
