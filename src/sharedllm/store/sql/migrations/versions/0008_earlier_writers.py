"""Nothing more from processes of an earlier version that have had the store open since before it was upgraded.

They do not ask whether somebody was erased since, nor write checksums. Each of their changes leaves out one of these.
"""

import sqlalchemy as sa
from alembic import op

revision = "store_0008"
down_revision = "store_0007"

LEFT_OUT = {"users": "length(NEW.checksum) = 0", "keys": "length(NEW.checksum) = 0", "changes": "NEW.schema IS NULL"}
WHY = "a newer version of sharedllm has upgraded this store: stop the earlier one"
# What an earlier version erases of somebody who has nothing but API keys leaves their stay, and no change in the log.
END_STAY = "DELETE FROM stays WHERE id_sha256 = OLD.holder_sha256"


def upgrade() -> None:
    """Create the column and the triggers."""
    op.add_column("changes", sa.Column("schema", sa.String(16)))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE changes ALTER COLUMN schema SET STATISTICS 0")
        _make_function("refuse_earlier", f"RAISE EXCEPTION '{WHY}'; RETURN NULL")
        _make_function("end_stay", f"{END_STAY}; RETURN NULL")
        refuse, end = (f"EXECUTE FUNCTION {name}()" for name in ("refuse_earlier", "end_stay"))
    else:
        refuse, end = (f"BEGIN {does}; END" for does in (f"SELECT RAISE(ABORT, '{WHY}')", END_STAY))
    for table, condition in LEFT_OUT.items():
        op.execute(f"CREATE TRIGGER {table}_earlier BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) {refuse}")
    op.execute(f"CREATE TRIGGER keys_end_stay AFTER DELETE ON keys FOR EACH ROW {end}")


def downgrade() -> None:
    """Drop them."""
    on_server = op.get_bind().dialect.name == "postgresql"
    for trigger, table in {**{f"{table}_earlier": table for table in LEFT_OUT}, "keys_end_stay": "keys"}.items():
        op.execute(f"DROP TRIGGER {trigger}" + (f" ON {table}" if on_server else ""))
    if on_server:
        for name in ("refuse_earlier", "end_stay"):
            op.execute(f"DROP FUNCTION {name}")
    op.drop_column("changes", "schema")


def _make_function(name: str, body: str) -> None:
    op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$")
