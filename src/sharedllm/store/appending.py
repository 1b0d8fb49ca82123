"""Releases into tables: a batch of them, of any users in any order, in three statements."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sharedllm.store.contract import KEPT_RELEASES, EventKind
from sharedllm.store.custody import Owner
from sharedllm.store.database import Database
from sharedllm.store.encoding import Draft, Record, now, seal
from sharedllm.store.schema import events, releases, users

RELEASES_PER_BATCH = 500


def upsert(database: Database) -> Any:
    """The statement that makes users, or counts new releases of theirs in, and returns their keys and counts.

    Its rows hold under ``releases`` how many are new, and under ``served`` which of those, counted from 1, is the last
    that passed its gate.
    """
    insert = database.insert(users)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[users.c.id_sha256],
        set_={
            "releases": users.c.releases + new.releases,
            "served": sa.func.coalesce(users.c.releases + new.served, users.c.served),
            "updated_at": new.updated_at,
        },
    ).returning(users.c.key, users.c.id_sha256, users.c.releases)


def append(
    connection: sa.Connection, upsert: Any, new: Sequence[Draft], owners: Mapping[str, Owner]
) -> tuple[list[Record], list[int]]:
    """Store releases in the caller's transaction, and what happened to their users.

    Counting them in first locks the users until the transaction ends, so that nobody else takes the same numbers.

    Args:
        connection: in a transaction that may write.
        upsert: see `upsert`.
        new: in the order of their numbers.
        owners: of everybody in it, by id.

    Returns:
        what was stored, and the keys of users who had releases before and are now answered by another.
    """
    records: list[Record] = []
    changed: list[int] = []
    for start in range(0, len(new), RELEASES_PER_BATCH):
        stored, keys = _append_batch(connection, upsert, new[start : start + RELEASES_PER_BATCH], owners)
        records += stored
        changed += keys
    return records, changed


def event(key: int, owner: Owner, *, kind: EventKind, number: int | None, reason: str, at: str) -> dict[str, Any]:
    """A row of the history of the user under ``key``."""
    sealed = owner.seal(reason, "event", kind, number, at)
    return {"user_key": key, "kind": kind, "number": number, "reason": sealed, "at": at}


def _append_batch(
    connection: sa.Connection, upsert: Any, new: Sequence[Draft], owners: Mapping[str, Owner]
) -> tuple[list[Record], list[int]]:
    at = now()
    arriving: dict[str, dict[str, Any]] = {}
    places = []
    for each in new:
        owner = owners[each.user]
        entry = arriving.setdefault(
            each.user,
            {"id": owner.seal(each.user, "id"), "id_sha256": owner.token, "releases": 0, "served": None}
            | {"created_at": at, "updated_at": at},
        )
        entry["releases"] += 1
        places.append(entry["releases"])
        if each.passed:
            entry["served"] = entry["releases"]
    counted = {row.id_sha256: row for row in connection.execute(upsert, list(arriving.values()))}
    records, rows, notes = [], [], []
    for each, place in zip(new, places, strict=True):
        entry = arriving[each.user]
        counter = counted[entry["id_sha256"]]
        number = counter.releases - entry["releases"] + place
        record = seal(each, number, at)
        owner = owners[each.user]
        kind: EventKind = "published" if each.passed else "held_back"
        records.append(record)
        rows.append(owner.row(record) | {"user_key": counter.key, "passed": each.passed})
        notes.append(event(counter.key, owner, kind=kind, number=number, reason=each.reason, at=at))
    connection.execute(sa.insert(releases), rows)
    connection.execute(sa.insert(events), notes)
    _prune(connection, [counter.key for counter in counted.values() if counter.releases > KEPT_RELEASES])
    known = ((counted[entry["id_sha256"]], entry) for entry in arriving.values() if entry["served"] is not None)
    return records, [counter.key for counter, entry in known if counter.releases > entry["releases"]]


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
