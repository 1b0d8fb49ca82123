"""Pages of people with their releases, in an SQL database."""

import sqlalchemy as sa

from sharedllm.errors import CorruptAdapter
from sharedllm.store.contract import Headcount, ListedUser, People, ReleaseSummary, Standing
from sharedllm.store.release_format import summarise
from sharedllm.store.rules import is_found
from sharedllm.store.sql.checksums import check_entry
from sharedllm.store.sql.database import Database, SqlRow
from sharedllm.store.sql.protection import Owner, Protection, owned
from sharedllm.store.sql.schema import releases, users
from sharedllm.store.sql.user_rows import SUMMARIES, read_standing

LOOKED_AT = 20_000
"""Of people who are looked for, as many are looked at for a page, so that it takes no longer where there are more."""
OPENED = 2_000
"""The same where the database cannot read ids and each has to be opened, which takes a good part of a second in all."""

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
_LAST = sa.select(sa.func.max(users.c.key))
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
    span = LOOKED_AT if by_database else OPENED
    wanted = sa.select(users).where(users.c.key > after).order_by(users.c.key)
    if state is not None:
        wanted = wanted.where(_STANDING[state])
    if search and by_database:
        wanted = wanted.where(database.contains(users.c.id, search))
    bounded = bool(search) or state is not None
    if bounded:
        wanted = wanted.where(users.c.key <= after + span)
    if by_database:
        wanted = wanted.limit(limit + 1)

    def find(connection: sa.Connection) -> tuple[list[tuple[Owner, SqlRow]], list[SqlRow], int | None]:
        rows = connection.execute(wanted).all()
        found = [
            (owner, row)
            for owner, row in owned(protection, iter(rows), token="id_sha256", stored="id")
            if owner is not None and (by_database or is_found(owner.user, search))
        ]
        last = None
        if len(rows if by_database else found) > limit:
            last = (rows if by_database else [row for _, row in found])[limit - 1].key
            found = [(owner, row) for owner, row in found if row.key <= last]
        elif bounded and after + span < (connection.scalar(_LAST) or 0):
            last = after + span
        theirs = connection.execute(_THEIRS, {"keys": [row.key for _, row in found]}).all() if found else []
        return found, list(theirs), last

    found, theirs, last = database.read(find)
    by_number = {(row.user_key, row.number): row for row in theirs}
    return People([_person(owner, row, by_number) for owner, row in found], last)


def headcount(database: Database) -> Headcount:
    """See `Store.headcount`."""
    row = database.read(lambda connection: connection.execute(_COUNTS).one())
    return Headcount(people=row.people, revoked=row.revoked, not_served=row.not_served)


def _person(owner: Owner, row: SqlRow, theirs: dict[tuple[int, int], SqlRow]) -> ListedUser:
    check_entry(owner, row._mapping)
    summary = read_standing(owner, row)
    newest = _outline(owner, theirs.get((row.key, summary.releases)))
    if summary.served == summary.releases:
        return ListedUser(summary, newest, newest)
    return ListedUser(summary, newest, _outline(owner, theirs.get((row.key, summary.served or 0))))


def _outline(owner: Owner, row: SqlRow | None) -> ReleaseSummary | None:
    if row is None:
        return None
    try:
        return summarise(*owner.head(row))
    except CorruptAdapter:
        return None
