"""Files and folders that appear under their name only when they are whole."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from sharedllm.errors import DiskFull, InvalidInput, SharedLLMError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, and move it to ``path`` once the block has ended without an error.

    Raises:
        InvalidInput: ``path`` exists already, or cannot be written.
        DiskFull: no room is left. Nothing of the file stays.
    """
    with _whole_or_nothing(path) as partial:
        if path.exists():
            raise InvalidInput(f"{path} exists already", remedy="Give another name, or remove it first.")
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
        partial.mkdir()
        yield partial


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[Path]:
    from safetensors import SafetensorError

    path = path.absolute()
    # Beside the target, so that the final move stays on one file system and cannot be half done.
    partial = path.parent / f".{uuid4().hex}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise _typed(path, error) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            with suppress(OSError):
                partial.unlink()


def _typed(path: Path, error: Exception) -> SharedLLMError:
    # safetensors leaves the system's error number only in its text.
    number = re.search(r"\(os error (\d+)\)", str(error))
    code = error.errno if isinstance(error, OSError) else int(number[1]) if number else None
    if code in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"No room is left to write {path}", remedy="Free some space and try again.")
    reason = os.strerror(code) if code else str(error)
    return InvalidInput(f"{path} cannot be written: {reason}", remedy="Check the path and its permissions.")
