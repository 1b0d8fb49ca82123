"""What readers find, and the words that they share for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from sharedllm.errors import SharedLLMError, TextError
from sharedllm.text.documents import Document, Turn

LARGEST_FILE = 256_000_000
"""Bytes of a file that is parsed as a whole."""


class Unreadable(TextError):
    """A file is not what it should be, or holds no words: its message goes on after the file's name."""


class TooMuchText(TextError):
    """There is more text in a file than there is room for."""


@dataclass(frozen=True)
class Unread:
    """What could not be read.

    Attributes:
        source: its path as it is shown, like `Document.source`.
        error: why, and what to do about it.
        named: whether the caller named it itself, and did not come upon it in a folder or an archive.
    """

    source: str
    error: SharedLLMError
    named: bool = False


@dataclass(frozen=True)
class InnerFile:
    """A file within a file, to be read in its turn.

    Attributes:
        name: its path within.
        content: open at its beginning.
    """

    name: str
    content: BinaryIO


@dataclass(frozen=True)
class Taken:
    """Files of a folder that what was found before is made of: nobody else needs to read them.

    Attributes:
        paths: of them, as they were given.
    """

    paths: frozenset[str]


ReadResult = Document | InnerFile | Unread | Taken

FileReader = Callable[[BinaryIO, str], Iterator[ReadResult]]
"""What a reader is: of an open file and its path as it is shown, what is in it.

Raises `Unreadable`, and whatever its library raises, which is taken for a damaged file.
"""


def whole(file: BinaryIO) -> bytes:
    """Everything in a file.

    Raises:
        Unreadable: it is larger than `LARGEST_FILE`.
    """
    data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise Unreadable(
            f"is larger than {LARGEST_FILE / 1e6:g} MB", remedy="Give a smaller file, or its text as plain text."
        )
    return data


def document_to(document: Document) -> dict[str, Any]:
    """A document as JSON."""
    turns = [[turn.text, turn.author, turn.when and turn.when.isoformat()] for turn in document.turns]
    return {
        "what": "document",
        "source": document.source,
        "kind": document.kind,
        "turns": turns,
        "me": document.me,
        "left_out": dict(document.left_out),
        "doubts": list(document.doubts),
    }


def document_from(found: dict[str, Any]) -> Document:
    """The document that `document_to` wrote.

    Raises:
        ValueError, KeyError, TypeError: it did not.
    """
    turns = tuple(
        Turn(text, author, None if when is None else datetime.fromisoformat(when))
        for text, author, when in found["turns"]
    )
    left_out = {str(why): int(count) for why, count in found["left_out"].items()}
    return Document(found["source"], found["kind"], turns, found["me"], left_out, tuple(found["doubts"]))
