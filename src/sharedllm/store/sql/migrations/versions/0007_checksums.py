"""Checksums over users and API keys, and how many transactions there have been."""

import sqlalchemy as sa
from alembic import op

from sharedllm.store.sql import schema
from sharedllm.store.sql.checksums import fill
from sharedllm.store.sql.watermark import Watermark

revision = "store_0007"
down_revision = "store_0006"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
CHECKED = ("users", "keys")


def upgrade() -> None:
    """Create the table and the columns, and fill those in."""
    op.create_table(
        "progress",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("commits", sa.BigInteger, nullable=False),
    )
    for name in CHECKED:
        op.add_column(name, sa.Column("checksum", sa.LargeBinary(32), nullable=False, server_default=""))
        fill(op.get_bind(), schema.metadata.tables[name])
        if op.get_bind().dialect.name == "postgresql":
            # The planner's statistics would keep samples of the columns, also of users who are erased.
            op.execute(f"ALTER TABLE {name} ALTER COLUMN checksum SET STATISTICS 0")


def downgrade() -> None:
    """Drop them, and the mark of a file, which would be behind it then."""
    for name in CHECKED:
        op.drop_column(name, "checksum")
    op.drop_table("progress")
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        Watermark(str(bind.engine.url.database)).path.unlink(missing_ok=True)
