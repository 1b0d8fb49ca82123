"""Files that are replaced whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, and move it over ``path`` once the block has ended without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{uuid4().hex}.partial"
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
