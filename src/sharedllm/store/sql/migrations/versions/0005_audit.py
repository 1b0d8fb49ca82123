"""A log of what happened, each entry bound to all before it."""

import sqlalchemy as sa
from alembic import op

revision = "store_0005"
down_revision = "store_0004"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "audit",
        sa.Column("key", KEY, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.LargeBinary(32)),
        sa.Column("number", sa.Integer),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("signature", sa.LargeBinary(64)),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("audit")
