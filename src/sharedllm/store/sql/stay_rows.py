"""Stays in tables: who has anything begun for them, and whether they were erased since."""

from collections.abc import Iterable, Mapping, Sequence
from secrets import randbits

import sqlalchemy as sa

from sharedllm.store import rules
from sharedllm.store.contract import Stay
from sharedllm.store.sql.database import ROWS_PER_PAGE, Database
from sharedllm.store.sql.protection import Owner
from sharedllm.store.sql.schema import stays
from sharedllm.store.sql.user_rows import LOG


def found(connection: sa.Connection, owners: Sequence[Owner]) -> dict[str, Stay]:
    """The stays of those who have one."""
    users = {owner.token: owner.user for owner in owners}
    log, tokens = _log(connection), list(users)
    having: dict[str, Stay] = {}
    for start in range(0, len(tokens), ROWS_PER_PAGE):
        mine = stays.c.id_sha256.in_(tokens[start : start + ROWS_PER_PAGE])
        having |= {
            users[row.id_sha256]: Stay(log, row.number) for row in connection.execute(sa.select(stays).where(mine))
        }
    return having


def begin(connection: sa.Connection, database: Database, owners: Sequence[Owner]) -> dict[str, Stay]:
    """Everybody's stay, made for those who have none, in the caller's transaction."""
    users = {owner.token: owner.user for owner in owners}
    insert = database.insert(stays)
    # Whoever has one by now keeps it: the update changes nothing, and has the row returned.
    upsert = insert.on_conflict_do_update(
        index_elements=[stays.c.id_sha256], set_={"id_sha256": insert.excluded.id_sha256}
    ).returning(stays.c.number, stays.c.id_sha256)
    # In one order, so that no two who begin for the same people wait for each other.
    rows = [{"number": randbits(63), "id_sha256": token} for token in sorted(users)]
    log = _log(connection)
    begun: dict[str, Stay] = {}
    for start in range(0, len(rows), ROWS_PER_PAGE):
        having = connection.execute(upsert, rows[start : start + ROWS_PER_PAGE])
        begun |= {users[row.id_sha256]: Stay(log, row.number) for row in having}
    return begun


def check(connection: sa.Connection, owners: Mapping[str, Owner], given: Mapping[str, Stay]) -> None:
    """Hold users' stays until the caller's transaction ends, so that an erasure comes before it or after it.

    Raises:
        ErasedMeanwhile: one is over, or is somebody else's.
    """
    if not given:
        return
    log, numbers = _log(connection), [stay.number for stay in given.values()]
    kept: dict[Stay, bytes] = {}
    for start in range(0, len(numbers), ROWS_PER_PAGE):
        these = sa.select(stays).where(stays.c.number.in_(numbers[start : start + ROWS_PER_PAGE]))
        held = connection.execute(these.with_for_update(read=True, key_share=True))
        kept |= {Stay(log, row.number): row.id_sha256 for row in held}
    for user, stay in given.items():
        if kept.get(stay) != owners[user].token:
            raise rules.erased_meanwhile(user)


def erased(connection: sa.Connection, given: Iterable[Stay]) -> set[Stay]:
    """Those that are over, or another store's."""
    asked = set(given)
    log, numbers = _log(connection), [stay.number for stay in asked]
    kept: set[Stay] = set()
    for start in range(0, len(numbers), ROWS_PER_PAGE):
        these = sa.select(stays.c.number).where(stays.c.number.in_(numbers[start : start + ROWS_PER_PAGE]))
        kept |= {Stay(log, number) for number in connection.scalars(these)}
    return asked - kept


def _log(connection: sa.Connection) -> int:
    found: int = connection.execute(LOG).scalar_one()
    return found
