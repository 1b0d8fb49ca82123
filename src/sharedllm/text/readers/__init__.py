"""People's text as they have it: one door, and behind it a reader for each kind of file."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from sharedllm.text.documents import Document
from sharedllm.text.readers.dispatch import Dispatch
from sharedllm.text.readers.found import Unread
from sharedllm.text.readers.walk import walk

__all__ = ["Unread", "read_documents"]


def read_documents(
    sources: Iterable[str | Path],
    *,
    unread: Callable[[Unread], None],
    author: str | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Document]:
    """Read what people have: each file once, in the order given, a folder's files in that of their paths.

    What a file is, is told by its content first and by its name second. A folder is read recursively: hidden files and
    empty ones are passed over, and links out of it are not followed; so are archives, to a few levels. The string
    ``"-"`` is standard input; a file of that name is ``Path("-")``.

    Args:
        sources: paths of files and folders.
        unread: told of every file that cannot be read, and why; the others are read.
        author: whose lines are read of files in a git checkout, by name or by mail address as git has them, of the
            commit that is checked out; None for all of every file.
        stdin: what ``"-"`` reads; the process's own by default.

    Yields:
        Documents with words in them, each file's when it was read.

    Raises:
        TextError: a source cannot be a path, or together they exceed `MAX_TEXT_BYTES`.
    """
    with Dispatch(unread, stdin, author) as dispatch:
        for found in walk(sources):
            if isinstance(found, Unread):
                unread(found)
            else:
                yield from dispatch.read(found)
        dispatch.end()
