"""How far an SQLite file has come, noted beside it, so that one that went back is noticed when it is opened.

What was committed lies in the file's log (``-wal``) until SQLite copies it into the file. If that log is deleted, or a
bit in it flips, SQLite takes the file for what it was before, without a word, and revoked users are served again. So
every transaction counts in the file itself, and once it is committed its number is written here (``-mark``). A file
that is behind its mark is refused; one that has none, such as a copy or a backup, gets one with its next transaction.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from sharedllm.errors import CorruptStore

SUFFIX = "-mark"
# Fewer bytes than a sector of any disk, always as many, so that power loss leaves the earlier one or this one.
_LINE = "{number:020d} {sha256}\n"

_COUNT = sa.text(
    "INSERT INTO progress VALUES (1, 1) ON CONFLICT (key) DO UPDATE SET commits = commits + 1 RETURNING commits"
)
_COUNTED = sa.text("SELECT commits FROM progress")


def count(connection: sa.Connection) -> int:
    """Count the caller's transaction, and return how many there have been with it."""
    return int(connection.execute(_COUNT).scalar_one())


def counted(connection: sa.Connection) -> int:
    """How many transactions the file has counted; 0 for one that an earlier version wrote."""
    if not sa.inspect(connection).has_table("progress"):
        return 0
    return int(connection.execute(_COUNTED).scalar() or 0)


class Watermark:
    """The highest number that was noted of a file, by whichever process."""

    def __init__(self, path: str) -> None:
        """Look at the one of the SQLite file ``path``."""
        self.path = Path(os.path.realpath(path) + SUFFIX)
        self._file: int | None = None

    def read(self) -> int:
        """The number; 0 where there is none.

        Raises:
            CorruptStore: the mark is damaged.
            OSError: it cannot be read.
        """
        try:
            file = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return 0
        try:
            with _locked(file, fcntl.LOCK_SH):
                return self._number(os.read(file, 1000))
        finally:
            os.close(file)

    def open(self) -> int:
        """Have the mark at hand for `raise_to`; its descriptor.

        Raises:
            OSError: it cannot be made, or not be written.
        """
        if self._file is None or not os.fstat(self._file).st_nlink:
            self.close()
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        return self._file

    def raise_to(self, number: int, *, sync: bool = False) -> None:
        """Note a number, unless another process has noted a higher one.

        Without ``sync`` it survives this process, and what power loss takes makes the mark too low and never too high.

        Raises:
            CorruptStore: the mark is damaged.
            OSError: it cannot be written.
        """
        file = self.open()
        with _locked(file, fcntl.LOCK_EX):
            if number > self._number(os.pread(file, 1000, 0)):
                os.pwrite(file, _line(number), 0)
                if sync:
                    os.fdatasync(file)

    def reset(self, number: int) -> None:
        """Note a number whatever was noted before.

        Raises:
            OSError: it cannot be written.
        """
        file = self.open()
        with _locked(file, fcntl.LOCK_EX):
            os.ftruncate(file, 0)
            os.pwrite(file, _line(number), 0)
            os.fsync(file)

    def close(self) -> None:
        """Give back the file. Closing twice is safe."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _number(self, line: bytes) -> int:
        if not line:
            return 0
        with suppress(ValueError):
            number = int(line[:20])
            if line == _line(number):
                return number
        raise CorruptStore(
            f"{self.path} is damaged, and nobody can tell whether the store beside it went back to an earlier state",
            remedy="Restore both from a backup, or take the store as it is: sharedllm store accept",
        )


def _line(number: int) -> bytes:
    return _LINE.format(number=number, sha256=hashlib.sha256(f"mark {number}".encode()).hexdigest()).encode()


@contextmanager
def _locked(file: int, mode: int) -> Iterator[None]:
    fcntl.flock(file, mode)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
