"""How many transactions there have been."""

import sqlalchemy as sa
from alembic import op

from sharedllm.store.watermark import Watermark

revision = "store_0007"
down_revision = "store_0006"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "progress",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("commits", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop the table, and the mark of a file, which would be behind it then."""
    op.drop_table("progress")
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        Watermark(str(bind.engine.url.database)).path.unlink(missing_ok=True)
