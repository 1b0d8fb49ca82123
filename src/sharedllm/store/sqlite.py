"""SQLite as this store needs it: how connections are set up, what its errors mean, and how deleted bytes really go."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from sharedllm.errors import CorruptStore, DiskFull, StoreBusy, StoreError
from sharedllm.files import keep_private, make_private
from sharedllm.store.database import Database, Result, Row, Work
from sharedllm.store.schema import HEAD
from sharedllm.store.upgrade import migrate, version

BUSY_SECONDS = 5.0

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # NORMAL would be faster and as safe against a killed process, but losing power could undo the last transactions,
    # and a revocation or an erasure that was confirmed must not come undone.
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
)


class SQLite(Database):
    """One file that any number of threads and processes may read while one writes; another writer waits."""

    insert = staticmethod(insert)
    scrubbed_by = "open the store again, which removes them"

    def __init__(self, path: str) -> None:
        """Open the file, making or migrating its tables.

        Raises:
            StoreError: it cannot be opened, is damaged, or was made by a newer version.
        """
        self._path = path
        with suppress(OSError):
            # SQLite gives the files that it puts beside this one the same permissions.
            make_private(Path(path))
        # Waiting for another process is asking again and again, and whoever asks at the wrong moments is refused in the
        # end. Threads of this one need not be: they wait for this.
        self._writing = threading.Lock()
        self._reader, self._writer = _engines(path)
        self._prepare()
        for suffix in ("", "-wal", "-shm"):
            keep_private(Path(path + suffix))
        # Finishes an erasure that was interrupted. If that cannot be done now, the next opening tries again.
        with suppress(StoreBusy, DiskFull):
            self.scrub()

    def find(self, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> list[Row]:
        return self.read(lambda connection: list(connection.execute(statement, parameters)))

    def read(self, work: Work[Result]) -> Result:
        with _typed_errors(self._path), self._reader.begin() as connection:
            return work(connection)

    def write(self, work: Work[Result]) -> Result:
        with _typed_errors(self._path), self._writing, self._writer.begin() as connection:
            return work(connection)

    def number_changes(self, connection: sa.Connection) -> None:
        """Nothing to do: nobody else writes until this transaction has ended."""

    def hold_off_writers(self, connection: sa.Connection) -> None:
        """Nothing to do: see `number_changes`."""

    def mark_for_scrubbing(self, connection: sa.Connection) -> None:
        mark = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        connection.exec_driver_sql(f"PRAGMA user_version = {mark + 1}")

    def scrub(self) -> None:
        """Rewrite the file without what was deleted from it, if anything was marked.

        ``secure_delete`` zeroes a deleted row, but not the stale copies that a b-tree leaves in a page's free space
        when it moves rows to a neighbour (seen in about one erasure in a thousand). Only a rewrite leaves nothing.

        Raises:
            StoreBusy: another process is reading or writing, so that the old pages cannot go yet.
        """
        with _typed_errors(self._path), self._writing, closing(self._reader.raw_connection()) as connection:
            cursor = connection.cursor()
            (mark,) = cursor.execute("PRAGMA user_version").fetchone()
            if not mark:
                return
            cursor.execute("VACUUM")
            (blocked, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if blocked:
                raise StoreBusy(
                    "another process is reading, and until it is done the log keeps deleted rows",
                    remedy="Try again once it is done.",
                )
            # An erasure that began meanwhile has raised the mark, and must not lose it.
            cursor.execute("BEGIN IMMEDIATE")
            if cursor.execute("PRAGMA user_version").fetchone() == (mark,):
                cursor.execute("PRAGMA user_version = 0")
            cursor.execute("COMMIT")

    def close(self) -> None:
        with _typed_errors(self._path):
            self._reader.dispose()

    def _prepare(self) -> None:
        if self.read(version) != HEAD:
            self.write(migrate)


def _engines(path: str) -> tuple[sa.Engine, sa.Engine]:
    """An engine for reading, and one whose transactions take the write lock when they begin.

    A transaction that begins by reading and asks for the lock later is refused at once if anyone wrote in between;
    one that asks first waits its turn, up to `BUSY_SECONDS`.
    """
    url = sa.URL.create("sqlite", database=path)
    reading = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(reading, "connect", _set_up)
    sa.event.listen(reading, "begin", _begin)
    return reading, reading.execution_options(begin="BEGIN IMMEDIATE")


@contextmanager
def _typed_errors(path: str) -> Iterator[None]:
    """Turn the database's errors into ours. Every statement of the store runs inside this."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _typed(error.orig, path) from error
    except sqlite3.Error as error:
        raise _typed(error, path) from error


def _set_up(connection: sqlite3.Connection, _: Any) -> None:
    # The driver would begin transactions by itself, too late and only for some statements.
    connection.isolation_level = None
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma)
    except UnicodeDecodeError as error:
        # The driver fails on SQLite's own message where that quotes a damaged schema.
        raise sqlite3.DatabaseError(f"damaged schema: {error}") from None


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _typed(error: BaseException | None, path: str) -> StoreError:
    # Extended codes carry the primary one in their low byte. The driver's own complaints have none: they are about
    # text that is not UTF-8, which only damage can have put there.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"No room is left to write {path}", remedy="Free some space and try again.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBusy(
                f"Another process has been writing {path} for over {BUSY_SECONDS:.0f} seconds",
                remedy="Try again when it has finished.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return CorruptStore(
                f"{path} is damaged, or is not a store ({error})",
                remedy="Restore it from a backup, or name another file.",
            )
        case sqlite3.SQLITE_CANTOPEN:
            return StoreError(f"{path} cannot be opened", remedy="Check that its folder exists and may be written to.")
        case sqlite3.SQLITE_READONLY:
            return StoreError(f"{path} is read-only", remedy="Make the file and its folder writable.")
    return StoreError(f"{path} cannot be used: {error}", remedy="Check the disk that it is on.")
