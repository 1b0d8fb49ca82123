"""Files and folders that appear under their name only when they are whole, and are their owner's alone."""

import errno
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from sharedllm.errors import DiskFull, InvalidInput, SharedLLMError

log = logging.getLogger("sharedllm.files")

_OTHERS = 0o077


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a file to write into, and move it to ``path`` once the block has ended without an error.

    Raises:
        InvalidInput: ``path`` exists already, or cannot be written.
        DiskFull: no room is left. Nothing of the file stays.
    """
    with _whole_or_nothing(path) as partial:
        if path.exists():
            raise InvalidInput(f"{path} exists already", remedy="Give another name, or remove it first.")
        make_private(partial)
        yield partial


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, and move it to ``path`` once the block has ended without an error.

    Raises:
        InvalidInput: ``path`` exists and is not an empty folder, or cannot be written.
        DiskFull: no room is left. Nothing of the folder stays.
    """
    with _whole_or_nothing(path) as partial:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InvalidInput(
                f"{path} exists already and is not an empty folder", remedy="Give another name, or remove it first."
            )
        partial.mkdir(0o700)
        yield partial


def write_private(path: Path, data: bytes) -> None:
    """Write a new file, which survives a crash once this returns.

    Raises:
        FileExistsError: there is one already; it is left as it is.
        OSError: it cannot be written.
    """
    make_folder(path.parent)
    # A temporary file is its owner's alone.
    with tempfile.NamedTemporaryFile(dir=path.parent) as part:
        part.write(data)
        part.flush()
        os.fsync(part.fileno())
        path.hardlink_to(part.name)
    sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a private file to write into, and move it over ``path`` once the block has ended without an error.

    A crash leaves the earlier file or this one, and at worst this one in a folder beside it.

    Raises:
        OSError: it cannot be written. Nothing of the file stays.
    """
    path = path.absolute()
    make_folder(path.parent)
    # Nobody else may look into such a folder while the file is written.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", suffix=".partial") as scratch:
        part = Path(scratch) / path.name
        yield part
        part.chmod(0o600)
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)


def replace_private(path: Path, data: bytes) -> None:
    """`replacing` with these bytes."""
    with replacing(path) as part:
        part.write_bytes(data)


def make_private(path: Path, *, anew: bool = False) -> None:
    """Make an empty file that nobody else may read.

    Args:
        path: where.
        anew: in place of one that is there.

    Raises:
        FileExistsError: there is one already.
        OSError: it cannot be made.
    """
    if anew:
        path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def private_folder(path: Path) -> None:
    """`make_folder`, and nobody else may look into one that is there, or at anything in it.

    Raises:
        OSError: it cannot be made.
    """
    make_folder(path)
    keep_private(path)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are not yet, for their owner alone; those that are there stay.

    Raises:
        OSError: it cannot be made.
    """
    # One by one: those above would be as the process's umask has it.
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(0o700, exist_ok=True)


def keep_private(path: Path) -> None:
    """Take from others what a file, or a folder and all in it, lets them do; log a warning where that cannot be.

    Earlier versions made files as the process's umask has it. Nothing happens where there is no such file.
    """
    with suppress(FileNotFoundError):
        if not path.stat().st_mode & _OTHERS:
            return
        # What is in a folder first, so that one that was left half done is not taken for done.
        for each in (*(path.rglob("*") if path.is_dir() else ()), path):
            with suppress(OSError):
                each.chmod(stat.S_IMODE(each.stat().st_mode) & ~_OTHERS)
        if path.stat().st_mode & _OTHERS:
            log.warning("%s is private, and others may read it: chmod -R go= it, or have its owner do so", path)


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files survive a crash."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def is_full(error: BaseException) -> bool:
    """Whether the system, or a library under it, had no room left to write."""
    return _number(error) in (errno.ENOSPC, errno.EDQUOT)


def refused(
    error: BaseException,
    what: str,
    kind: type[SharedLLMError] = InvalidInput,
    *,
    remedy: str = "Check the path and its permissions.",
    room: str = "Free some space and try again.",
) -> SharedLLMError:
    """What to raise where the system refuses to write: `DiskFull` where there is no room, else an error of ``kind``.

    Args:
        error: the system's, or that of a library under it.
        what: cannot be done; the reason follows it.
        kind: of the error.
        remedy: the way out.
        room: the way out of a full disk.
    """
    number = _number(error)
    said = f"{what}: {os.strerror(number) if number else error}"
    return DiskFull(said, remedy=room) if is_full(error) else kind(said, remedy=remedy)


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    # safetensors leaves the system's error number only in its text.
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[Path]:
    from safetensors import SafetensorError

    path = path.absolute()
    # Beside the target, so that the final move stays on one file system and cannot be half done.
    partial = path.parent / f".{uuid4().hex}.partial"
    try:
        make_folder(path.parent)
        yield partial
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise refused(error, f"{path} cannot be written") from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            with suppress(OSError):
                partial.unlink()
