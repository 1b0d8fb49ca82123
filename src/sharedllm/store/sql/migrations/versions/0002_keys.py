"""API keys, as hashes."""

import sqlalchemy as sa
from alembic import op

revision = "store_0002"
down_revision = "store_0001"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "keys",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("id", sa.String(16), nullable=False, unique=True),
        sa.Column("secret_sha256", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("holder", sa.Text),
        sa.Column("holder_sha256", sa.LargeBinary(32), index=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("revoked_at", sa.String(32)),
    )
    if op.get_bind().dialect.name == "postgresql":
        # The planner's statistics would keep samples of the columns, also of users who are erased.
        for column in ("id", "secret_sha256", "holder", "holder_sha256", "label", "created_at", "revoked_at"):
            op.execute(f"ALTER TABLE keys ALTER COLUMN {column} SET STATISTICS 0")


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("keys")
