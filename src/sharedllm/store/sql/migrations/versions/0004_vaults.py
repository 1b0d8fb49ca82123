"""Which vault holds the keys of what is encrypted here."""

import sqlalchemy as sa
from alembic import op

revision = "store_0004"
down_revision = "store_0003"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "vaults",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("complete", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("vaults")
