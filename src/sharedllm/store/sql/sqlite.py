"""SQLite as this store needs it: how connections are set up, what its errors mean, and how deleted bytes really go."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from sharedllm.errors import CorruptStore, DiskFull, OutcomeUnknown, StaleStore, StoreBusy, StoreError
from sharedllm.files import is_full, keep_private, make_private
from sharedllm.store.rules import folded
from sharedllm.store.sql.database import Database, Result, SqlRow, Work
from sharedllm.store.sql.schema import HEAD
from sharedllm.store.sql.upgrade import migrate, version
from sharedllm.store.sql.watermark import SUFFIX, Watermark, count, counted

# How long a change that is to be settled waits for others to be done with the log.
SETTLING_MILLISECONDS = 200

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
            StaleStore: it went back to an earlier state. It is left as it is.
        """
        self._path = path
        self._mark = Watermark(path)
        with suppress(OSError):
            # SQLite gives the files that it puts beside this one the same permissions.
            make_private(Path(path))
            # What was there before has been deleted.
            self._mark.reset(0)
        # Waiting for another process is asking again and again, and whoever asks at the wrong moments is refused in the
        # end. Threads of this one need not be: they wait for this.
        self._writing = threading.Lock()
        self._reader, self._writer = _engines(path)
        self._alone = _alone(path)
        self._check_mark()
        self._prepare()
        for suffix in ("", "-wal", "-shm", SUFFIX):
            keep_private(Path(path + suffix))
        # Finishes an erasure that was interrupted. If that cannot be done now, the next opening tries again.
        try:
            self.scrub()
        except CorruptStore:
            raise
        except StoreError:
            pass

    def contains(self, column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
        return sa.func.instr(sa.func.lower(column), folded(text)) > 0

    def find(self, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> list[SqlRow]:
        return self.read(lambda connection: list(connection.execute(statement, parameters)))

    def read(self, work: Work[Result]) -> Result:
        with typed_errors(self._path):
            try:
                with self._reader.begin() as connection:
                    return work(connection)
            except sa.exc.OperationalError as error:
                if code(error.orig) not in CANNOT_WRITE:
                    raise
                first = error
            # Whoever reads also writes: a file beside this one, in which processes tell one another what they read.
            try:
                with self._alone.begin() as connection:
                    return work(connection)
            except sa.exc.OperationalError:
                raise first from None

    def write(self, work: Work[Result], *, settle: bool = False) -> Result:
        with typed_errors(self._path), self._writing:
            with self._writer.begin() as connection:
                before = _changes(connection)
                result = work(connection)
                if _changes(connection) == before:
                    return result
                number = count(connection)
                self._open_mark()
            try:
                self._mark.raise_to(number, sync=settle)
            except (OSError, CorruptStore) as error:
                raise OutcomeUnknown(
                    f"{self._path} was changed, and that could not be noted in {self._mark.path}: {error}",
                    remedy="Put that right before you rely on the change; do not repeat it.",
                ) from error
            if settle:
                self._settle()
        return result

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
        with typed_errors(self._path), self._writing, closing(self._reader.raw_connection()) as connection:
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
        with typed_errors(self._path):
            self._reader.dispose()
        self._mark.close()

    def _check_mark(self) -> None:
        """Refuse a file that is behind its mark. One that has none gets it with the next transaction.

        Raises:
            StaleStore: it went back.
            CorruptStore: the mark is damaged.
        """
        try:
            # In this order: others may change the file meanwhile.
            noted = self._mark.read()
        except OSError as error:
            raise unusable(self._mark.path, error) from error
        found = self.read(counted)
        if found < noted:
            raise StaleStore(
                f"{self._path} went back to an earlier state: it holds {found:,} changes, and {noted:,} were confirmed",
                remedy="Put its -wal file back, or restore both from a backup; to lose what is missing, revocations and"
                " erasures included, and go on: sharedllm store accept",
            )

    def _open_mark(self) -> None:
        try:
            self._mark.open()
        except OSError as error:
            raise unusable(self._mark.path, error) from error

    def _settle(self) -> None:
        """Empty the log into the file, unless others are reading; the mark tells if it is lost before that is done."""
        with closing(self._reader.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {SETTLING_MILLISECONDS}")
            with suppress(sqlite3.Error):
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")

    def _prepare(self) -> None:
        if self.read(version) != HEAD:
            self.write(migrate, settle=True)


def accept(path: Path) -> tuple[int, int]:
    """Take a file as it is, also if it went back to an earlier state.

    Returns:
        how many changes it holds, and how many had been confirmed; 0 where that is not known.

    Raises:
        StoreError: it cannot be opened, or is damaged.
    """
    if not path.is_file():
        raise StoreError(f"There is no file {path}", remedy="Name the store.")
    mark = Watermark(str(path))
    reader, _ = _engines(str(path))
    try:
        with typed_errors(str(path)), reader.begin() as connection:
            found = counted(connection)
        noted = 0
        with suppress(CorruptStore):
            noted = mark.read()
        mark.reset(found)
    except OSError as error:
        raise unusable(mark.path, error) from error
    finally:
        reader.dispose()
        mark.close()
    return found, noted


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


def _alone(path: str) -> sa.Engine:
    """An engine for reading where nothing can be written: each connection shuts others out, and is closed at once."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        except sqlite3.OperationalError:
            connection.close()
            log = Path(path + "-wal")
            # What is in the log is not in the file, and this way the log is not read.
            if log.exists() and log.stat().st_size:
                raise
            connection = sqlite3.connect(f"file:{quote(str(Path(path).resolve()))}?immutable=1", uri=True)
            connection.isolation_level = None
        return connection

    engine = sa.create_engine(sa.URL.create("sqlite", database=path), creator=connect, poolclass=sa.NullPool)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _: Any) -> None:
    # The driver would begin transactions by itself, too late and only for some statements.
    connection.isolation_level = None
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma)
    except UnicodeDecodeError as error:
        # The driver fails on SQLite's own message where that quotes a damaged schema.
        raise sqlite3.DatabaseError(f"damaged schema: {error}") from None


def _changes(connection: sa.Connection) -> object:
    """How many rows this connection has ever changed."""
    return connection.connection.driver_connection.total_changes  # type: ignore[union-attr]


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


BUSY_SECONDS = 5.0


@contextmanager
def typed_errors(path: str) -> Iterator[None]:
    """Turn the database's errors into ours. Every statement of the store runs inside this."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise typed(error.orig, path) from error
    except sqlite3.Error as error:
        raise typed(error, path) from error


def code(error: BaseException | None) -> int:
    """SQLite's primary code for an error."""
    # Extended codes carry the primary one in their low byte. The driver's own complaints have none: they are about
    # text that is not UTF-8, which only damage can have put there.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF


# What a full disk, or a folder that is read-only, gives to whoever only reads.
CANNOT_WRITE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}


def unusable(path: Path, error: OSError) -> StoreError:
    """What to raise where a file beside the database cannot be used."""
    if is_full(error):
        return DiskFull(f"No room is left to write {path}", remedy="Free some space and try again.")
    return StoreError(f"{path} cannot be used: {error.strerror}", remedy="Make the file and its folder writable.")


def typed(error: BaseException | None, path: str) -> StoreError:
    """What to raise for an error of the driver's."""
    # The file in which readers tell one another what they read cannot grow.
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return DiskFull(f"No room is left to write {path}", remedy="Free some space and try again.")
    match code(error):
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
        case sqlite3.SQLITE_CANTOPEN if Path(path).is_dir():
            return StoreError(
                f"{path} cannot be opened: it is a folder", remedy=f"Name a file, such as {Path(path) / 'people.db'}."
            )
        case sqlite3.SQLITE_CANTOPEN:
            return StoreError(f"{path} cannot be opened", remedy="Check that its folder exists and may be written to.")
        case sqlite3.SQLITE_READONLY:
            return StoreError(f"{path} is read-only", remedy="Make the file and its folder writable.")
    return StoreError(f"{path} cannot be used: {error}", remedy="Check the disk that it is on.")
