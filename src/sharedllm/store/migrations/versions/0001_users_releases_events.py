"""Users, their releases, and what happened to them."""

import sqlalchemy as sa
from alembic import op

revision = "store_0001"
down_revision = None


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "users",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("id_sha256", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("releases", sa.Integer, nullable=False),
        sa.Column("served", sa.Integer),
        sa.Column("revoked", sa.Text),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "releases",
        sa.Column("user_key", sa.Integer, sa.ForeignKey("users.key"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("provenance", sa.Text, nullable=False),
        sa.Column("gate", sa.Text, nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("checksum", sa.String(64), nullable=False),
        sa.Column("deviations", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("user_key", sa.Integer, sa.ForeignKey("users.key"), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
    )


def downgrade() -> None:
    """Drop the three tables."""
    for table in ("events", "releases", "users"):
        op.drop_table(table)
