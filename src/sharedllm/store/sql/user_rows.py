"""A user's rows in an SQL database: how they are found, changed and read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from sharedllm.store import rules
from sharedllm.store.contract import KEPT_RELEASES, Event, EventKind, Release, UserSummary
from sharedllm.store.release_format import Draft, Head, Record, corrupt, now, read_time, seal
from sharedllm.store.sql.checksums import COMING, check_entry, checksum, damaged_entry, labelled
from sharedllm.store.sql.database import Database, SqlRow
from sharedllm.store.sql.protection import Owner
from sharedllm.store.sql.schema import changes, events, keys, releases, stays, users

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
    entry: SqlRow,
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


def find_entry(connection: sa.Connection, owner: Owner, *, for_change: bool = False) -> SqlRow:
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


def newest_before(connection: sa.Connection, entry: SqlRow) -> int | None:
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


def find_whole(connection: sa.Connection, owner: Owner, entry: SqlRow, number: int) -> Release:
    """One of a user's releases, which may be served instead of another.

    Raises:
        UnknownName: no release has that number, or it is not kept any more.
        CorruptAdapter: it is damaged.
    """
    return owner.release(find_numbered(connection, sa.select(releases), owner.user, entry, number))


def find_numbered(connection: sa.Connection, select: sa.Select[Any], user: str, entry: SqlRow, number: int) -> SqlRow:
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


def read_event(owner: Owner, row: SqlRow) -> Event:
    """An event from its row."""
    reason = owner.open(row.reason, "event", row.kind, row.number, row.at)
    return Event(row.kind, row.number, reason, read_time(row.at))


def read_standing(owner: Owner, row: SqlRow) -> UserSummary:
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


RELEASES_PER_BATCH = 500
# Somebody may be erased between the making of their row and its locking.
_ATTEMPTS = 3


def append(
    connection: sa.Connection, database: Database, new: Sequence[Draft], owners: Mapping[str, Owner]
) -> tuple[list[Record], list[int]]:
    """Store releases in the caller's transaction, and what happened to their users.

    Counting them in first locks the users until the transaction ends, so that nobody else takes the same numbers.

    Args:
        connection: in a transaction that may write.
        database: that it is to.
        new: in the order of their numbers.
        owners: of everybody in it, by id.

    Returns:
        what was stored, and the keys of users who had releases before and are now answered by another.

    Raises:
        CorruptStore: what the store holds of one of them is damaged.
    """
    records: list[Record] = []
    changed: list[int] = []
    for start in range(0, len(new), RELEASES_PER_BATCH):
        stored, keys = _append_batch(connection, database, new[start : start + RELEASES_PER_BATCH], owners)
        records += stored
        changed += keys
    return records, changed


def event(key: int, owner: Owner, *, kind: EventKind, number: int | None, reason: str, at: str) -> dict[str, Any]:
    """A row of the history of the user under ``key``."""
    sealed = owner.seal(reason, "event", kind, number, at)
    return {"user_key": key, "kind": kind, "number": number, "reason": sealed, "at": at}


def _append_batch(
    connection: sa.Connection, database: Database, new: Sequence[Draft], owners: Mapping[str, Owner]
) -> tuple[list[Record], list[int]]:
    at = now()
    counts, served, places = Counter[str](), dict[str, int](), []
    for each in new:
        counts[each.user] += 1
        places.append(counts[each.user])
        if each.passed:
            served[each.user] = counts[each.user]
    before = _lock(connection, database, [owners[user] for user in counts], at)
    after = {user: _counted_in(before[user], count, served.get(user), at) for user, count in counts.items()}
    update = sa.update(users).where(users.c.key == sa.bindparam("row"))
    columns = ("releases", "served", "updated_at", "checksum")
    values = [{"row": entry["key"], **{f"new_{name}": entry[name] for name in columns}} for entry in after.values()]
    connection.execute(update.values({name: sa.bindparam(f"new_{name}") for name in columns}), values)
    records, rows, notes = [], [], []
    for each, place in zip(new, places, strict=True):
        entry = before[each.user]
        number = entry["releases"] + place
        record = seal(each, number, at)
        owner = owners[each.user]
        kind: EventKind = "published" if each.passed else "held_back"
        records.append(record)
        rows.append(owner.row(record) | {"user_key": entry["key"], "passed": each.passed})
        notes.append(event(entry["key"], owner, kind=kind, number=number, reason=each.reason, at=at))
    connection.execute(sa.insert(releases), rows)
    connection.execute(sa.insert(events), notes)
    _prune(connection, [entry["key"] for entry in after.values() if entry["releases"] > KEPT_RELEASES])
    return records, [before[user]["key"] for user in served if before[user]["releases"]]


def _lock(
    connection: sa.Connection, database: Database, owners: Sequence[Owner], at: str
) -> dict[str, Mapping[Any, Any]]:
    """Users' rows as they are, by id, made for those who have none, and nobody else's until the transaction ends."""
    left = {owner.token: owner for owner in owners}
    found: dict[str, Mapping[Any, Any]] = {}
    mine = sa.select(users).where(users.c.id_sha256.in_(sa.bindparam("tokens", expanding=True)))
    # In one order, so that no two who publish for the same people wait for each other.
    lock = mine.order_by(users.c.id_sha256).with_for_update()

    def take() -> None:
        for row in connection.execute(lock, {"tokens": list(left)}).mappings():
            owner = left.pop(row["id_sha256"])
            # One that this transaction has just made has no checksum yet.
            if row["releases"] or row["checksum"] != COMING:
                check_entry(owner, row)
            found[owner.user] = row

    take()
    for _ in range(_ATTEMPTS):
        if not left:
            break
        rows = [
            {"id": owner.seal(owner.user, "id"), "id_sha256": token, "releases": 0, "checksum": COMING}
            | {"created_at": at, "updated_at": at}
            for token, owner in left.items()
        ]
        connection.execute(database.insert(users).on_conflict_do_nothing(), rows)
        take()
    for owner in left.values():
        raise damaged_entry(owner.user)
    return found


def _counted_in(entry: Mapping[Any, Any], count: int, served: int | None, at: str) -> dict[str, Any]:
    """A user's row with new releases, of which the last that passed its gate is the one at ``served``, from 1."""
    new = {**entry, "releases": entry["releases"] + count, "updated_at": at}
    if served is not None:
        new["served"] = entry["releases"] + served
    return new | {"checksum": checksum(users, new)}


def _prune(connection: sa.Connection, keys: Sequence[int]) -> None:
    """Delete the releases of users that are not kept any more, and the events of their publication."""
    if not keys:
        return
    earlier = releases.alias()
    rollback = sa.select(sa.func.max(earlier.c.number)).where(
        earlier.c.user_key == users.c.key,
        sa.or_(users.c.served.is_(None), earlier.c.number < users.c.served),
        earlier.c.passed,
    )
    standing = users.c.key == releases.c.user_key
    old = (
        sa.select(users.c.key)
        .where(
            standing,
            releases.c.number <= users.c.releases - KEPT_RELEASES,
            releases.c.number != sa.func.coalesce(users.c.served, 0),
            releases.c.number != sa.func.coalesce(rollback.scalar_subquery(), 0),
        )
        .correlate(releases)
        .exists()
    )
    connection.execute(sa.delete(releases).where(releases.c.user_key.in_(keys), old))
    kept = sa.select(releases.c.number).where(
        releases.c.user_key == events.c.user_key, releases.c.number == events.c.number
    )
    publications = events.c.kind.in_(("published", "held_back"))
    connection.execute(sa.delete(events).where(events.c.user_key.in_(keys), publications, ~kept.exists()))


def holds(connection: sa.Connection, token: bytes) -> bool:
    """Whether there is anything of a user."""
    found = (
        sa.select(each).where(each == token).exists()
        for each in (users.c.id_sha256, keys.c.holder_sha256, stays.c.id_sha256)
    )
    return bool(connection.scalar(sa.select(sa.or_(*found))))


def remove(connection: sa.Connection, token: bytes) -> tuple[Mapping[str, int], list[int]]:
    """Delete a user's rows in the caller's transaction.

    Returns:
        how many went from each table, and the key that the user had, which nobody has who has API keys alone.
    """
    # Stays first: whoever publishes holds theirs until that is done, and then it is there to be found here.
    ended = connection.execute(sa.delete(stays).where(stays.c.id_sha256 == token)).rowcount
    mine = {keys: keys.c.holder_sha256 == token}
    key = connection.scalar(sa.select(users.c.key).where(users.c.id_sha256 == token).with_for_update())
    if key is not None:
        # In this order, because releases and events refer to users.
        mine |= {table: table.c.user_key == key for table in (releases, events)} | {users: users.c.key == key}
    removed = {"stays": ended, "keys": 0, "releases": 0, "events": 0, "users": 0}
    removed |= {table.name: connection.execute(sa.delete(table).where(of)).rowcount for table, of in mine.items()}
    return removed, [] if key is None else [key]
