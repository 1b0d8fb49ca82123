"""The store in an SQL database: an SQLite file."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import CorruptStore, DiskFull, StoreBusy, StoreError
from sharedllm.store import rules, sqlite
from sharedllm.store.contract import Erased, Event, EventKind, Release, ReleaseSummary, Store, UserSummary
from sharedllm.store.encoding import (
    Draft,
    Head,
    Record,
    check_reason,
    corrupt,
    draft,
    now,
    seal,
    summarise,
    unseal,
)
from sharedllm.store.schema import events, releases, users
from sharedllm.store.upgrade import upgrade
from sharedllm.users import check_user_id

USERS_PER_PAGE = 500

_Row = sa.Row[*tuple[Any, ...]]

_SERVED = (
    sa.select(users.c.key, users.c.served, users.c.revoked, users.c.releases, releases)
    .select_from(
        users.outerjoin(releases, sa.and_(releases.c.user_key == users.c.key, releases.c.number == users.c.served))
    )
    .where(users.c.id_sha256 == sa.bindparam("id_sha256"))
)
_SUMMARY = sa.select(
    *(releases.c[name.name] for name in fields(Head) if name.name != "user"),
    sa.func.length(releases.c.deviations).label("stored_bytes"),
)


class SQLStore(Store):
    """One file that any number of processes may read while one writes; another writer waits."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader, self._writer = sqlite.engines(path)
        with sqlite.typed_errors(path):
            upgrade(self._reader, self._writer)
        # Finishes an erasure that was interrupted. If that cannot be done now, the next opening tries again.
        with suppress(StoreBusy, DiskFull), sqlite.typed_errors(path):
            sqlite.scrub(self._reader)

    def publish(self, user: str, adapter: Adapter, gate: GateOutcome) -> Release:
        new = draft(user, adapter, gate)
        with self._writing() as connection:
            record = _append(connection, new)
        return unseal(record)

    def publish_many(self, items: Iterable[tuple[str, Adapter, GateOutcome]]) -> list[ReleaseSummary]:
        with self._writing() as connection:
            records = (_append(connection, draft(*item)) for item in items)
            return [summarise(record.head, len(record.deviations)) for record in records]

    def served(self, user: str) -> Release:
        with self._reading() as connection:
            row = connection.execute(_SERVED, {"id_sha256": _id_sha256(user)}).one_or_none()
            if row is None:
                raise rules.unknown_user(user)
            if row.revoked is not None:
                raise rules.revoked(user, row.revoked)
            if row.served is None:
                newest = _summary(connection, user, row, row.releases)
                raise rules.held_back(user, newest.number, newest.gate.reason)
        if row.number is None:
            raise corrupt(user, row.served)
        return unseal(_record(user, row))

    def release(self, user: str, number: int) -> Release:
        with self._reading() as connection:
            entry = _entry(connection, user)
            row = connection.execute(sa.select(releases).where(*_numbered(user, entry, number))).one_or_none()
        if row is None:
            raise corrupt(user, number)
        return unseal(_record(user, row))

    def releases(self, user: str) -> list[ReleaseSummary]:
        with self._reading() as connection:
            entry = _entry(connection, user)
            mine = _SUMMARY.where(releases.c.user_key == entry.key).order_by(releases.c.number)
            return [summarise(_head(user, row), row.stored_bytes) for row in connection.execute(mine)]

    def events(self, user: str) -> list[Event]:
        with self._reading() as connection:
            entry = _entry(connection, user)
            mine = sa.select(events).where(events.c.user_key == entry.key).order_by(events.c.key)
            return [Event(row.kind, row.number, row.reason, _time(row.at)) for row in connection.execute(mine)]

    def user(self, user: str) -> UserSummary:
        with self._reading() as connection:
            return _standing(_entry(connection, user))

    def users(self) -> Iterator[UserSummary]:
        last = 0
        while True:
            # A page at a time: a transaction left open by a slow reader would keep erased pages alive in the log.
            with self._reading() as connection:
                page = sa.select(users).where(users.c.key > last).order_by(users.c.key).limit(USERS_PER_PAGE)
                rows = connection.execute(page).all()
            if not rows:
                return
            yield from map(_standing, rows)
            last = rows[-1].key

    def rollback(self, user: str, number: int | None = None, *, override_reason: str | None = None) -> ReleaseSummary:
        if override_reason is not None:
            check_reason(override_reason)
        with self._writing() as connection:
            entry = _entry(connection, user)
            if number is None:
                number = connection.scalar(
                    sa.select(sa.func.max(releases.c.number)).where(
                        releases.c.user_key == entry.key, releases.c.number < (entry.served or 0), releases.c.passed
                    )
                )
            if number is None:
                raise rules.nothing_before(user, entry.served)
            target = _summary(connection, user, entry, number)
            kind, reason = rules.rollback_event(
                user, number, target.gate, served=entry.served, override_reason=override_reason
            )
            _change(connection, entry, {"served": number}, kind=kind, number=number, reason=reason)
            return target

    def revoke(self, user: str, reason: str) -> None:
        check_reason(reason)
        with self._writing() as connection:
            _change(connection, _entry(connection, user), {"revoked": reason}, kind="revoked", reason=reason)

    def restore(self, user: str) -> None:
        with self._writing() as connection:
            entry = _entry(connection, user)
            if entry.revoked is not None:
                reason = f"had been revoked: {entry.revoked}"
                _change(connection, entry, {"revoked": None}, kind="restored", reason=reason)

    def erase(self, user: str) -> Erased:
        with self._writing() as connection:
            entry = _entry(connection, user)
            gone = {
                table: connection.execute(sa.delete(table).where(table.c.user_key == entry.key)).rowcount
                for table in (releases, events)
            }
            connection.execute(sa.delete(users).where(users.c.key == entry.key))
            sqlite.mark_for_scrubbing(connection)
        try:
            with sqlite.typed_errors(self._path):
                sqlite.scrub(self._reader)
        except StoreError as error:
            raise type(error)(
                f"{user!r} is erased, but traces of them may remain in the file: {error.message}",
                remedy="Put that right and open the store again, which removes them.",
            ) from error
        return Erased(user, releases=gone[releases], events=gone[events])

    def close(self) -> None:
        with sqlite.typed_errors(self._path):
            self._reader.dispose()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with sqlite.typed_errors(self._path), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with sqlite.typed_errors(self._path), self._writer.begin() as connection:
            yield connection


def _append(connection: sa.Connection, new: Draft) -> Record:
    at = now()
    first = {"releases": 1, "updated_at": at} | ({"served": 1} if new.passed else {})
    next_number = users.c.releases + 1
    then = {"releases": next_number, "updated_at": at} | ({"served": next_number} if new.passed else {})
    key, number = connection.execute(
        insert(users)
        .values(id=new.user, id_sha256=_id_sha256(new.user), created_at=at, **first)
        .on_conflict_do_update(index_elements=[users.c.id_sha256], set_=then)
        .returning(users.c.key, users.c.releases)
    ).one()
    record = seal(new, number, at)
    row = asdict(record.head) | {"deviations": record.deviations, "checksum": record.checksum}
    del row["user"]
    connection.execute(sa.insert(releases), row | {"user_key": key, "passed": new.passed})
    kind: EventKind = "published" if new.passed else "held_back"
    _note(connection, key, kind=kind, number=number, reason=new.reason, at=at)
    return record


def _change(
    connection: sa.Connection,
    entry: _Row,
    change: dict[str, object],
    *,
    kind: EventKind,
    number: int | None = None,
    reason: str,
) -> None:
    at = now()
    connection.execute(sa.update(users).where(users.c.key == entry.key).values(updated_at=at, **change))
    _note(connection, entry.key, kind=kind, number=number, reason=reason, at=at)


def _note(connection: sa.Connection, key: int, *, kind: EventKind, number: int | None, reason: str, at: str) -> None:
    row = {"user_key": key, "kind": kind, "number": number, "reason": reason, "at": at}
    connection.execute(sa.insert(events), row)


def _entry(connection: sa.Connection, user: str) -> _Row:
    row = connection.execute(sa.select(users).where(users.c.id_sha256 == _id_sha256(user))).one_or_none()
    if row is None:
        raise rules.unknown_user(user)
    return row


def _summary(connection: sa.Connection, user: str, entry: _Row, number: int) -> ReleaseSummary:
    row = connection.execute(_SUMMARY.where(*_numbered(user, entry, number))).one_or_none()
    if row is None:
        raise corrupt(user, number)
    return summarise(_head(user, row), row.stored_bytes)


def _numbered(user: str, entry: _Row, number: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    if not 1 <= number <= entry.releases:
        raise rules.unknown_release(user, number, entry.releases)
    return releases.c.user_key == entry.key, releases.c.number == number


def _head(user: str, row: _Row) -> Head:
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


def _record(user: str, row: _Row) -> Record:
    return Record(_head(user, row), row.deviations, row.checksum)


def _standing(row: _Row) -> UserSummary:
    return UserSummary(
        user=row.id,
        state="active" if row.revoked is None else "revoked",
        reason=row.revoked,
        served=row.served,
        releases=row.releases,
        created_at=_time(row.created_at),
        updated_at=_time(row.updated_at),
    )


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise CorruptStore(f"The store holds {text!r} for a time", remedy="Restore it from a backup.") from None


def _id_sha256(user: str) -> bytes:
    return hashlib.sha256(check_user_id(user).encode()).digest()
