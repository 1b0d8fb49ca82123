"""Pages of people with their releases, in an SQL database."""

import sqlalchemy as sa

from sharedllm.errors import CorruptAdapter
from sharedllm.store.contract import Headcount, People, Person, ReleaseSummary, Standing
from sharedllm.store.release_format import summarise
from sharedllm.store.rules import is_found
from sharedllm.store.sql.checksums import check_entry
from sharedllm.store.sql.database import Database, SqlRow
from sharedllm.store.sql.protection import Owner, Protection, owned
from sharedllm.store.sql.schema import releases, users
from sharedllm.store.sql.user_rows import SUMMARIES, read_standing

OPENED_PER_PAGE = 2_000
"""Ids that a search opens where the database cannot read them: some tens of milliseconds."""

_STANDING = {
    "active": users.c.revoked.is_(None),
    "revoked": users.c.revoked.is_not(None),
    "not_served": sa.and_(users.c.revoked.is_(None), users.c.served.is_(None)),
}
# By the primary key alone, twice for each of them.
_THEIRS = (
    SUMMARIES.add_columns(releases.c.user_key)
    .join(users, releases.c.user_key == users.c.key)
    .where(
        users.c.key.in_(sa.bindparam("keys", expanding=True)),
        releases.c.number.in_((users.c.releases, sa.func.coalesce(users.c.served, users.c.releases))),
    )
)
_COUNTS = sa.select(
    sa.func.count().label("people"),
    sa.func.count(users.c.revoked).label("revoked"),
    sa.func.count().filter(_STANDING["not_served"]).label("not_served"),
).select_from(users)


def people(
    database: Database, protection: Protection, *, state: Standing | None, search: str, after: int, limit: int
) -> People:
    """See `Store.people`."""
    by_database = protection.ids_readable or not search
    most = limit if by_database else OPENED_PER_PAGE
    wanted = sa.select(users).where(users.c.key > after).order_by(users.c.key).limit(most + 1)
    if state is not None:
        wanted = wanted.where(_STANDING[state])
    if search and by_database:
        wanted = wanted.where(database.contains(users.c.id, search))

    def find(connection: sa.Connection) -> tuple[list[tuple[Owner, SqlRow]], list[SqlRow], int | None]:
        rows = connection.execute(wanted).all()
        looked_at, more = rows[:most], len(rows) > most
        found = [
            (owner, row)
            for owner, row in owned(protection, iter(looked_at), token="id_sha256", stored="id")
            if owner is not None and (by_database or is_found(owner.user, search))
        ]
        last = looked_at[-1].key if more else None
        if len(found) > limit:
            found = found[:limit]
            last = found[-1][1].key
        theirs = connection.execute(_THEIRS, {"keys": [row.key for _, row in found]}).all() if found else []
        return found, list(theirs), last

    found, theirs, last = database.read(find)
    by_number = {(row.user_key, row.number): row for row in theirs}
    return People([_person(owner, row, by_number) for owner, row in found], last)


def headcount(database: Database) -> Headcount:
    """See `Store.headcount`."""
    row = database.read(lambda connection: connection.execute(_COUNTS).one())
    return Headcount(people=row.people, revoked=row.revoked, not_served=row.not_served)


def _person(owner: Owner, row: SqlRow, theirs: dict[tuple[int, int], SqlRow]) -> Person:
    check_entry(owner, row._mapping)
    summary = read_standing(owner, row)
    newest = _outline(owner, theirs.get((row.key, summary.releases)))
    if summary.served == summary.releases:
        return Person(summary, newest, newest)
    return Person(summary, newest, _outline(owner, theirs.get((row.key, summary.served or 0))))


def _outline(owner: Owner, row: SqlRow | None) -> ReleaseSummary | None:
    if row is None:
        return None
    try:
        return summarise(*owner.head(row))
    except CorruptAdapter:
        return None
