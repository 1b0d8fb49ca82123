"""The tables, as queries see them. `migrations/` is what creates them; a test keeps the two equal."""

import sqlalchemy as sa

# The newest migration. Known here so that opening an up-to-date store need not import the migration tool.
HEAD = "store_0008"

metadata = sa.MetaData()

# PostgreSQL takes a number for every row it tries to insert, also where it then finds one to update, so that four bytes
# would run out. SQLite numbers rows by itself only in an INTEGER, which has eight.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Ids are found by their hash: it is short enough for any database's index at 1,024 characters of four bytes each, and
# no collation, of any database, can take two different ids for one.
users = sa.Table(
    "users",
    metadata,
    sa.Column("key", KEY, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("id_sha256", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("releases", sa.Integer, nullable=False),
    sa.Column("served", sa.Integer),
    sa.Column("revoked", sa.Text),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("updated_at", sa.String(32), nullable=False),
    sa.Column("checksum", sa.LargeBinary(32), nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

# JSON is kept as the canonical text that the checksum covers: a database's own JSON type would rewrite it. The large
# column comes last, so that reading the others stays within a row's first page.
releases = sa.Table(
    "releases",
    metadata,
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

events = sa.Table(
    "events",
    metadata,
    sa.Column("key", KEY, primary_key=True),
    sa.Column("user_key", KEY, sa.ForeignKey("users.key"), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("number", sa.Integer),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
)

# Whose answer changed, by their key alone, which means nothing once they are erased; hence no foreign key. The first
# row is not a change: in place of a user it holds a random number that tells this log from every other.
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("key", KEY, primary_key=True),
    sa.Column("user_key", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    # `HEAD` as whoever wrote the row knew it. Who leaves it out is refused, see the migration.
    sa.Column("schema", sa.String(16)),
    sqlite_autoincrement=True,
)

# A key may be made before its user has a release, so it names them itself. None: a service's key.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("key", KEY, primary_key=True),
    sa.Column("id", sa.String(16), nullable=False, unique=True),
    sa.Column("secret_sha256", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("holder", sa.Text),
    sa.Column("holder_sha256", sa.LargeBinary(32), index=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("revoked_at", sa.String(32)),
    sa.Column("checksum", sa.LargeBinary(32), nullable=False, server_default=""),
)

# Somebody's stay begins with the first thing that is begun for them, and its row goes with them. What is begun for them
# is published with its number, a random one that tells nothing about anybody once the row is gone.
stays = sa.Table(
    "stays",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id_sha256", sa.LargeBinary(32), nullable=False, unique=True),
)

# Erasures, found by what `Protection.person` makes of an id: what each has removed, until that is all in a receipt.
# The token of the user's rows is there for as long as those are.
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("person", sa.LargeBinary(32), primary_key=True),
    sa.Column("id_sha256", sa.LargeBinary(32), unique=True),
    sa.Column("account", sa.Text, nullable=False),
)

# At most one row: the vault whose keys open what is encrypted here, and whether all of it is encrypted yet. Whoever
# writes to the audit log holds that row until the transaction ends.
vaults = sa.Table(
    "vaults",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("complete", sa.Boolean, nullable=False),
)

# At most one row: how many transactions there have been, see `watermark.py`. In PostgreSQL, whose log has checksums and
# whose files nobody else has at hand, there is none.
progress = sa.Table(
    "progress",
    metadata,
    sa.Column("key", KEY, primary_key=True),
    sa.Column("commits", sa.BigInteger, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("key", KEY, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("subject", sa.LargeBinary(32)),
    sa.Column("number", sa.Integer),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.Column("signature", sa.LargeBinary(64)),
)
