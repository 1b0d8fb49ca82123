"""Releases into tables: a batch of them, of any users in any order, in a few statements."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sharedllm.store.checksums import check_entry, checksum, damaged_entry
from sharedllm.store.contract import KEPT_RELEASES, EventKind
from sharedllm.store.custody import Owner
from sharedllm.store.database import Database
from sharedllm.store.encoding import Draft, Record, now, seal
from sharedllm.store.schema import events, releases, users

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
            # One that this transaction has just made has no checksum yet, and nobody else is shown it.
            if row["releases"] or row["checksum"]:
                check_entry(owner, row)
            found[owner.user] = row

    take()
    for _ in range(_ATTEMPTS):
        if not left:
            break
        rows = [
            {"id": owner.seal(owner.user, "id"), "id_sha256": token, "releases": 0, "created_at": at, "updated_at": at}
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
