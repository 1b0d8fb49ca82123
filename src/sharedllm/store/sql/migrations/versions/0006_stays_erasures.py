"""Who has anything begun for them, so that nothing of it outlives their erasure; and erasures until their receipt."""

import sqlalchemy as sa
from alembic import op

revision = "store_0006"
down_revision = "store_0005"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "stays",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id_sha256", sa.LargeBinary(32), nullable=False, unique=True),
    )
    op.create_table(
        "erasures",
        sa.Column("person", sa.LargeBinary(32), primary_key=True),
        sa.Column("id_sha256", sa.LargeBinary(32), unique=True),
        sa.Column("account", sa.Text, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # The planner's statistics would keep samples of the columns, also of users who are erased.
        for table, columns in {
            "stays": ("number", "id_sha256"),
            "erasures": ("person", "id_sha256", "account"),
        }.items():
            for column in columns:
                op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


def downgrade() -> None:
    """Drop the tables."""
    for table in ("erasures", "stays"):
        op.drop_table(table)
