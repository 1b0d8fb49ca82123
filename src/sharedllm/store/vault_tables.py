"""The tables of a vault, and the file that they are in."""

import sqlalchemy as sa

from sharedllm.store.sqlite import SQLite

metadata = sa.MetaData()

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

keys = sa.Table(
    "user_keys",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("lookup", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("token", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)

# At most one row: how many transactions there have been, see `watermark.py`.
progress = sa.Table(
    "progress",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("commits", sa.BigInteger, nullable=False),
)

# Who is being erased: what finds their rows, with or without a key by now. Rows go first and the key next, so that
# somebody without a key has no rows, and is here only until whoever asked for the erasure was told that it ended.
erasing = sa.Table(
    "erasing",
    metadata,
    sa.Column("lookup", sa.LargeBinary(32), primary_key=True),
    sa.Column("token", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("at", sa.String(32), nullable=False),
)

FIND = sa.select(keys).where(keys.c.lookup == sa.bindparam("lookup"))
LEAVING = sa.select(erasing).where(erasing.c.lookup == sa.bindparam("lookup"))
STAYING = sa.select(keys).where(keys.c.token.not_in(sa.select(erasing.c.token)))


class VaultFile(SQLite):
    """A file of these tables."""

    def _prepare(self) -> None:
        if not self.read(lambda connection: sa.inspect(connection).has_table(progress.name)):
            self.write(metadata.create_all)
