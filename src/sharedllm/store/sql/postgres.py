"""PostgreSQL as this store needs it: transactions that outlive a lost connection, and what its errors mean."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from sharedllm.errors import (
    CorruptStore,
    DiskFull,
    InvalidInput,
    OutcomeUnknown,
    StoreBusy,
    StoreError,
    StoreUnreachable,
)
from sharedllm.extras import need
from sharedllm.store.rules import folded
from sharedllm.store.sql.database import Database, Result, SqlRow, Work
from sharedllm.store.sql.schema import HEAD, metadata
from sharedllm.store.sql.upgrade import migrate, version

# How long a call waits for a server that has gone away, such as one that restarts.
PATIENCE_SECONDS = 20.0
# How long a change waits for another of the same user.
LOCK_SECONDS = 20
MIGRATION_LOCK = 0x5348_4152_4544  # any number that nobody else locks
CHANGES_LOCK = MIGRATION_LOCK + 1

# A server that is gone without a word is noticed, rather than waited for as long as the system's own settings say.
_CONNECTING = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}

# For the transaction alone. Where the server confirms before it has written, a confirmed revocation or erasure could
# come undone.
_SETTINGS = sa.text(
    "SELECT set_config('lock_timeout', :lock_timeout, true),"
    " set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), true)"
)
_NUMBER = sa.text("SELECT CAST(pg_current_xact_id_if_assigned() AS text)")
_STATUS = sa.text("SELECT pg_xact_status(CAST(CAST(:number AS text) AS xid8))")

Answer = TypeVar("Answer")


class Postgres(Database):
    """A PostgreSQL database that any number of processes read and write; whoever changes the same user waits."""

    insert = staticmethod(insert)
    scrubbed_by = "run VACUUM in the database"

    def __init__(self, address: str) -> None:
        """Connect, making or migrating the tables.

        Raises:
            MissingExtra: psycopg is not installed.
            InvalidInput: the address cannot be read.
            StoreError: there is no such database, it does not let us in, holds something else, or was made by a newer
                version.
        """
        need("postgres")
        url = parsed(address)
        self._shown = shown(url)
        self._engine = sa.create_engine(
            url.update_query_dict({name: value for name, value in _CONNECTING.items() if name not in url.query}),
            hide_parameters=True,
            pool_size=8,
            max_overflow=0,
        )
        # One statement needs no transaction, which saves two turns to the server and back.
        self._finding = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ")
        # The database's default could be stricter, and is then more often refused than of use: rows are locked.
        self._writing = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._answered = False
        if self.read(version) != HEAD:
            self.write(_migrate)

    def contains(self, column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
        # Under the database's own collation other letters would have a lower case too.
        return sa.func.strpos(sa.func.lower(column.collate("C")), folded(text)) > 0

    def find(self, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> list[SqlRow]:
        def attempt() -> list[SqlRow]:
            with self._finding.connect() as connection:
                return list(connection.execute(statement, parameters))

        return self._patiently(attempt)

    def read(self, work: Work[Result]) -> Result:
        def attempt() -> Result:
            with self._reading.connect() as connection:
                return work(connection)

        return self._patiently(attempt)

    def write(self, work: Work[Result], *, settle: bool = False) -> Result:
        """Run ``work`` in a transaction, again if the connection was lost before it was committed.

        Raises:
            OutcomeUnknown: it was lost while it was being committed, and nobody could be asked what became of it.
        """

        def attempt() -> Result:
            with self._writing.connect() as connection:
                transaction = connection.begin()
                connection.execute(_SETTINGS, {"lock_timeout": f"{LOCK_SECONDS}s"})
                result = work(connection)
                number = connection.scalar(_NUMBER)
                try:
                    transaction.commit()
                except sa.exc.DBAPIError as error:
                    if not error.connection_invalidated or number is None:
                        raise
                    lost = error
                else:
                    return result
            # Asked only now, when this one has given its connection back, so that it cannot keep others from asking.
            if self._committed(number):
                return result
            raise lost

        return self._patiently(attempt)

    def number_changes(self, connection: sa.Connection) -> None:
        """Let one transaction after the other take numbers and end.

        A sequence gives numbers out at once and a transaction shows its rows when it ends, so a reader could see a
        number while a lower one is still to come, and would never look for that again.
        """
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CHANGES_LOCK)))

    def hold_off_writers(self, connection: sa.Connection) -> None:
        """Lock the tables of which every change of anything personal changes one."""
        connection.exec_driver_sql("LOCK TABLE users, keys, stays IN SHARE MODE")

    def mark_for_scrubbing(self, connection: sa.Connection) -> None:
        """Nothing to note: each scrubbing is of everything that was ever deleted."""

    def scrub(self) -> None:
        """Let the server use the room of deleted rows again, without stopping anybody.

        That does not overwrite them: until other rows come to lie there, their bytes can still be found in the files of
        the tables and indexes (measured: most of the values, half of the ids). ``VACUUM FULL users, releases, events,
        keys, stays, erasures`` rewrites those without them, but meanwhile nobody reads or writes, so when to do that is
        for whoever runs the server to say. Its log (``pg_wal``), standbys and backups keep them for as long as they are
        kept. The planner's statistics hold nothing of them. In an encrypted store all of that is ciphertext, and the
        user's key, which was never in this database, is destroyed.
        """

        def attempt() -> None:
            with self._finding.connect() as connection:
                connection.exec_driver_sql(f"VACUUM {', '.join(metadata.tables)}")

        self._patiently(attempt)

    def close(self) -> None:
        self._engine.dispose()

    def _committed(self, number: str) -> bool:
        """Whether a transaction took place; the server remembers, also across a crash.

        Raises:
            OutcomeUnknown: it cannot be asked, or is not done with it.
        """

        def attempt() -> str | None:
            with self._finding.connect() as connection:
                state: str | None = connection.scalar(_STATUS, {"number": number})
                return state

        deadline = monotonic() + PATIENCE_SECONDS
        with suppress(StoreError):
            while monotonic() < deadline:
                state = self._patiently(attempt)
                if state in ("committed", "aborted"):
                    return state == "committed"
                sleep(0.05)
        raise OutcomeUnknown(
            f"The connection to {self._shown} was lost while it confirmed a change, which may have happened or not",
            remedy="Look at the user's history before you do it again.",
        )

    def _patiently(self, attempt: Callable[[], Answer]) -> Answer:
        """Try until it works or `PATIENCE_SECONDS` have passed; a server that never answered is not waited for."""
        deadline = monotonic() + PATIENCE_SECONDS
        pause = 0.05
        while True:
            try:
                answer = attempt()
            except sa.exc.TimeoutError as error:
                raise StoreBusy(
                    f"All connections of this process to {self._shown} are in use", remedy="Ask it less at a time."
                ) from error
            except sa.exc.DBAPIError as error:
                if not passes(error, self._answered) or monotonic() + pause > deadline:
                    raise typed(error, self._shown) from error
            else:
                self._answered = True
                return answer
            sleep(pause)
            pause = min(2 * pause, 1.0)


def _migrate(connection: sa.Connection) -> None:
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    encoding = connection.scalar(sa.select(sa.func.getdatabaseencoding()))
    if encoding != "UTF8":
        raise StoreError(
            f"The database {connection.engine.url.database} holds text in {encoding}, which not every id can be put in",
            remedy="Make another with createdb --encoding=UTF8 --template=template0.",
        )
    migrate(connection)


# Nothing of these was done: another transaction was in the way, or the server is full, stopping or starting.
_PASSING_STATES = {"40001", "40P01", "53300", "57P01", "57P02", "57P03"}
# A server that refuses to connect says so in words only. It may say them in another language; then nobody waits.
_FULL = ("too many clients", "too many connections", "connection slots")
_PASSING_REFUSALS = (*_FULL, "starting up", "shutting down", "recovery mode", "not yet accepting")


def parsed(address: str) -> sa.URL:
    """A ``postgresql://`` address, for the driver that we use.

    Raises:
        InvalidInput: it cannot be read. The message does not quote it, since it may hold a password.
    """
    try:
        url = sa.make_url(address).set(drivername="postgresql+psycopg")
    except (sa.exc.ArgumentError, ValueError):
        url = None
    # A password with a bare @ would be cut there, and its end be taken for a host and shown.
    if url is None or "@" in (url.host or ""):
        raise InvalidInput(
            "The postgresql:// address cannot be read",
            remedy="Write it as postgresql://user:password@host:port/database, with %40 for an @ in the password.",
        )
    return url


def shown(url: sa.URL) -> str:
    """The address with its password hidden, and without options, of which one may be another password."""
    host = url.query.get("host")
    return url.set(drivername="postgresql", query={"host": host} if host else {}).render_as_string()


def passes(error: sa.exc.DBAPIError, answered: bool) -> bool:
    """Whether nothing was done, and trying again may help.

    Args:
        error: what came instead of an answer.
        answered: whether the server ever did, so that no answer at all means that it is away for a while.
    """
    if error.connection_invalidated or _state(error) in _PASSING_STATES:
        return True
    if not _refused(error):
        return False
    said = str(error.orig)
    return any(words in said for words in _PASSING_REFUSALS) or (answered and "FATAL:" not in said)


def typed(error: sa.exc.DBAPIError, shown: str) -> StoreError:
    """The error of ours that says what happened at the address ``shown``, and what to do."""
    said = " ".join(str(error.orig).split()).removeprefix("connection failed: ")
    state = _state(error) or ""
    if state == "53300" or (_refused(error) and any(words in said for words in _FULL)):
        return StoreBusy(
            f"{shown} takes no more connections: {said}", remedy="Close other clients, or raise its max_connections."
        )
    if _refused(error):
        return StoreUnreachable(f"{shown} cannot be opened: {said}", remedy=_way_in(said))
    if error.connection_invalidated or state.startswith(("57P", "08")):
        return StoreUnreachable(
            f"The connection to {shown} was lost, and nothing was changed: {said}",
            remedy="Try again once the server is up.",
        )
    match state[:2], state:
        case _, "53100":
            return DiskFull(f"The server of {shown} has no room left to write", remedy="Free some space there.")
        case ("40", _) | (_, "55P03"):
            return StoreBusy(
                f"Somebody else has been changing the same users in {shown} for too long",
                remedy="Try again when they have finished.",
            )
        case "XX", _:
            return CorruptStore(f"{shown} is damaged: {said}", remedy="Restore it from a backup.")
        case _, "25006":
            return StoreError(f"{shown} is read-only", remedy="Name the primary server, not a standby.")
        case _, "42501" | "3F000":
            return StoreError(
                f"{shown} does not allow that: {said}",
                remedy="Let the user of the address own the tables, and name a schema that they may use.",
            )
    return StoreError(f"{shown} cannot be used: {said}", remedy="Look into the server's log.")


def _way_in(said: str) -> str:
    if "password" in said:
        return "Check the user and the password in the address, or put the password into PGPASSWORD or ~/.pgpass."
    if "database" in said and "does not exist" in said:
        return "Make the database with createdb, or correct its name; the tables are made for you."
    if "role" in said and "does not exist" in said:
        return "Make the user with createuser, or correct the name."
    return "Check the host and the port, and that the server is running."


def _refused(error: sa.exc.DBAPIError) -> bool:
    # Only an attempt to connect fails without a state and without losing a connection.
    return isinstance(error, sa.exc.OperationalError) and _state(error) is None and not error.connection_invalidated


def _state(error: sa.exc.DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
