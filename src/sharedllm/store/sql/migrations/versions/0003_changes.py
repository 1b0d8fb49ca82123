"""A log of whose answer changed, for those who keep a copy of the answers."""

from secrets import randbits

import sqlalchemy as sa
from alembic import op

revision = "store_0003"
down_revision = "store_0002"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table, and give the log its number."""
    changes = op.create_table(
        "changes",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("user_key", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sqlite_autoincrement=True,
    )
    op.bulk_insert(changes, [{"user_key": randbits(63), "kind": "began"}])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("changes")
