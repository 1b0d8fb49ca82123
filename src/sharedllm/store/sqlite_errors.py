"""What SQLite's errors mean."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from sharedllm.errors import CorruptStore, DiskFull, StoreBusy, StoreError

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
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
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
        case sqlite3.SQLITE_CANTOPEN:
            return StoreError(f"{path} cannot be opened", remedy="Check that its folder exists and may be written to.")
        case sqlite3.SQLITE_READONLY:
            return StoreError(f"{path} is read-only", remedy="Make the file and its folder writable.")
    return StoreError(f"{path} cannot be used: {error}", remedy="Check the disk that it is on.")
