"""A user's rows in an SQL database: how they are found, changed and read."""

from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from sharedllm.store import rules
from sharedllm.store.appending import event
from sharedllm.store.checksums import check_entry, checksum, labelled
from sharedllm.store.contract import Event, EventKind, Release, UserSummary
from sharedllm.store.custody import Owner
from sharedllm.store.database import Row
from sharedllm.store.encoding import Head, corrupt, now, read_time
from sharedllm.store.schema import changes, events, releases, users

# The newest release stands in where none is served: whoever asks is told why it was held back.
SERVED = (
    sa.select(*labelled(users), releases)
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
ANSWERS = (
    sa.select(users.c.key, *labelled(users), releases)
    .select_from(
        users.outerjoin(releases, sa.and_(releases.c.user_key == users.c.key, releases.c.number == users.c.served))
    )
    .where(users.c.served.is_not(None), users.c.revoked.is_(None))
)
_FIRST = changes.alias()
LOG = sa.select(_FIRST.c.user_key).order_by(_FIRST.c.key).limit(1)
POSITION = sa.select(sa.func.max(changes.c.key).label("last"), LOG.scalar_subquery().label("log"))
SUMMARIES = sa.select(
    *(releases.c[name.name] for name in fields(Head) if name.name != "user"),
    sa.func.length(releases.c.deviations).label("stored_bytes"),
)


def change_entry(
    connection: sa.Connection,
    owner: Owner,
    entry: Row,
    change: dict[str, object],
    *,
    kind: EventKind,
    number: int | None = None,
    reason: str,
) -> None:
    """Change a user's entry, which the caller has found for that, and put into their history why."""
    at = now()
    changed = {**change, "updated_at": at}
    changed["checksum"] = checksum(users, {**entry._mapping, **changed})
    connection.execute(sa.update(users).where(users.c.key == entry.key).values(changed))
    connection.execute(sa.insert(events), event(entry.key, owner, kind=kind, number=number, reason=reason, at=at))


def find_entry(connection: sa.Connection, owner: Owner, *, for_change: bool = False) -> Row:
    """A user's row.

    Raises:
        UnknownUser: they have none.
        CorruptStore: it is not what was written there.
    """
    query = sa.select(users).where(users.c.id_sha256 == owner.token)
    # Whoever changes a user holds their row until the transaction ends, so that changes come one after the other.
    row = connection.execute(query.with_for_update() if for_change else query).one_or_none()
    if row is None:
        raise rules.unknown_user(owner.user)
    check_entry(owner, row._mapping)
    return row


def newest_before(connection: sa.Connection, entry: Row) -> int | None:
    """The newest release before the served one, or of all where none is, that passed its gate."""
    end = entry.releases + 1 if entry.served is None else entry.served
    earlier = sa.select(sa.func.max(releases.c.number)).where(
        releases.c.user_key == entry.key, releases.c.number < end, releases.c.passed
    )
    newest: int | None = connection.scalar(earlier)
    return newest


def is_reset(connection: sa.Connection, key: int) -> bool:
    """Whether the user under ``key``, of whom none is served, was reset: once one was, only that leads back to none."""
    found = sa.select(events.c.key).where(events.c.user_key == key, events.c.kind == "reset").limit(1)
    return connection.scalar(found) is not None


def find_whole(connection: sa.Connection, owner: Owner, entry: Row, number: int) -> Release:
    """One of a user's releases, which may be served instead of another.

    Raises:
        UnknownName: no release has that number, or it is not kept any more.
        CorruptAdapter: it is damaged.
    """
    return owner.release(find_numbered(connection, sa.select(releases), owner.user, entry, number))


def find_numbered(connection: sa.Connection, select: sa.Select[Any], user: str, entry: Row, number: int) -> Row:
    """What ``select`` finds of one of a user's releases.

    Raises:
        UnknownName: no release has that number, or it is not kept any more.
        CorruptAdapter: it is missing.
    """
    if not 1 <= number <= entry.releases:
        raise rules.unknown_release(user, number, entry.releases)
    this = releases.c.user_key == entry.key, releases.c.number == number
    row = connection.execute(select.where(*this)).one_or_none()
    if row is None:
        old = rules.is_old(number, entry.releases, entry.served)
        raise rules.not_kept(user, number) if old else corrupt(user, number)
    if row.number != number:
        raise corrupt(user, number)
    return row


def read_event(owner: Owner, row: Row) -> Event:
    """An event from its row."""
    reason = owner.open(row.reason, "event", row.kind, row.number, row.at)
    return Event(row.kind, row.number, reason, read_time(row.at))


def read_standing(owner: Owner, row: Row) -> UserSummary:
    """Where a user stands, from their row."""
    return UserSummary(
        user=owner.user,
        state="active" if row.revoked is None else "revoked",
        reason=None if row.revoked is None else owner.open(row.revoked, "revoked"),
        served=row.served,
        releases=row.releases,
        created_at=read_time(row.created_at),
        updated_at=read_time(row.updated_at),
    )
