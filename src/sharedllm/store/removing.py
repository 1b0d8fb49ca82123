"""Rows out of tables: all that one token finds."""

from collections.abc import Mapping

import sqlalchemy as sa

from sharedllm.store.schema import events, keys, releases, stays, users


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
