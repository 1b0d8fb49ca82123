"""Checksums of the rows that decide who is answered and with what, checked whenever those are read.

They find damage, as those of releases do, and not malice: whoever may write to the database can make them, too.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from sharedllm.errors import CorruptStore
from sharedllm.store.sql.protection import Owner
from sharedllm.store.sql.schema import users

_COLUMN = "checksum"
# Of a row that is not shown to anybody before it has its own: the database gives it the number that this covers.
COMING = bytes(32)


def checksum(table: sa.Table, row: Mapping[Any, Any]) -> bytes:
    """32 bytes over all of a row but its checksum.

    Args:
        table: which row it is.
        row: its values by column; others are left out.
    """
    fields = [row[column.name] for column in table.c if column.name != _COLUMN]
    # A JSON list keeps the fields apart. Damage may have put anything into one, which is then told by its type, too.
    return hashlib.sha256(json.dumps([table.name, fields], default=_shown).encode(errors="surrogatepass")).digest()


def is_sound(table: sa.Table, row: Mapping[Any, Any]) -> bool:
    """Whether a row is what was written."""
    return bool(row[_COLUMN] == checksum(table, row))


def labelled(table: sa.Table) -> list[sa.Label[Any]]:
    """A table's columns under names of their own, so that they can be read with another's."""
    return [column.label(_label(table, column.name)) for column in table.c]


def unlabelled(table: sa.Table, row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of the table, out of one that was read as `labelled`."""
    return {column.name: row[_label(table, column.name)] for column in table.c}


def fill(connection: sa.Connection, table: sa.Table, *, rows_at_a_time: int = 500) -> None:
    """Put into every row the checksum of what it holds."""
    page = sa.select(table).where(table.c.key > sa.bindparam("last")).order_by(table.c.key).limit(rows_at_a_time)
    update = sa.update(table).where(table.c.key == sa.bindparam("row")).values(checksum=sa.bindparam("sum"))
    last = 0
    while found := connection.execute(page, {"last": last}).mappings().all():
        connection.execute(update, [{"row": row["key"], "sum": checksum(table, row)} for row in found])
        last = found[-1]["key"]


def check_entry(owner: Owner, entry: Mapping[Any, Any]) -> None:
    """Check that a user's row is what was written for them.

    Raises:
        CorruptStore: it is not.
    """
    # Also whose it is: a damaged index leads to somebody else's, with what was asked for in the place of its token.
    whole = is_sound(users, entry) and entry["id_sha256"] == owner.token
    if not whole or owner.open(entry["id"], "id") != owner.user:
        raise damaged_entry(owner.user)


def damaged_entry(user: str) -> CorruptStore:
    """A user's row is not what was written."""
    return CorruptStore(
        f"What the store holds of {user!r}, such as which release is served, is damaged",
        remedy="Restore it from a backup, or erase them and train them again.",
    )


def _label(table: sa.Table, name: str) -> str:
    return f"{table.name}_{name}"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
