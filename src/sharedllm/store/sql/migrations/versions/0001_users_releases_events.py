"""Users, their releases, and what happened to them."""

import sqlalchemy as sa
from alembic import op

revision = "store_0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

PERSONAL = {
    "users": ("id", "id_sha256", "revoked", "created_at", "updated_at"),
    "releases": ("id", "provenance", "gate", "created_at", "checksum", "deviations"),
    "events": ("reason", "at"),
}


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "users",
        sa.Column("key", KEY, primary_key=True),
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
        sa.Column("user_key", KEY, sa.ForeignKey("users.key"), primary_key=True),
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
        sa.Column("key", KEY, primary_key=True),
        sa.Column("user_key", KEY, sa.ForeignKey("users.key"), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Deviations do not compress, and trying takes longer than writing them.
        op.execute("ALTER TABLE releases ALTER COLUMN deviations SET STORAGE EXTERNAL")
        # The planner's statistics would keep samples of the columns, also of users who are erased.
        for table, columns in PERSONAL.items():
            for column in columns:
                op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


def downgrade() -> None:
    """Drop the three tables."""
    for table in ("events", "releases", "users"):
        op.drop_table(table)
