"""PostgreSQL as this store needs it: transactions that outlive a lost connection, and what its errors mean."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from sharedllm.errors import OutcomeUnknown, StoreBusy, StoreError
from sharedllm.store.database import Database, Result, Row, Work
from sharedllm.store.postgres_errors import parsed, passes, shown, typed
from sharedllm.store.schema import HEAD, metadata
from sharedllm.store.upgrade import migrate, version

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
            InvalidInput: the address cannot be read.
            StoreError: there is no such database, it does not let us in, holds something else, or was made by a newer
                version.
        """
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

    def find(self, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> list[Row]:
        def attempt() -> list[Row]:
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
