"""Small secret files: whole or not there, and their owner's alone."""

import os
import tempfile
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Write a file that nobody else may read, and that survives a crash once this returns.

    Raises:
        FileExistsError: there is one already; it is left as it is.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A temporary file is its owner's alone.
    with tempfile.NamedTemporaryFile(dir=path.parent) as part:
        part.write(data)
        part.flush()
        os.fsync(part.fileno())
        path.hardlink_to(part.name)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files survive a crash."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
