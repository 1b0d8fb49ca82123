"""What a file holds, whoever wrote it: the one shape that every reader gives and everything after it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

MAILS = ("mail", "mailbox")
"""Kinds of documents in which nobody's turn is an answer to the one before it."""


@dataclass(frozen=True)
class Turn:
    """Words of one author in a row: a message of a chat, a mail, the whole of a book.

    Attributes:
        text: what they wrote, lines ended by a line feed, without what was quoted, forwarded or put there by a program.
        author: as the file names them, a name, a telephone number or a role; None where the file has one author, whom
            it need not name.
        when: they wrote it; None where the file does not say. With a time zone where the file says one.
    """

    text: str
    author: str | None = None
    when: datetime | None = None


@dataclass(frozen=True)
class Document:
    """What was read of one file, or of one conversation of an export that holds many.

    Attributes:
        source: its path as it is shown; a member of an archive or an export after that archive's path and a slash.
        kind: what it was taken for, as a person would say it, like ``PDF document`` or ``WhatsApp chat``.
        turns: in the order in which they were written.
        me: which author the export itself says that its owner is, also where they wrote nothing in it; None where it
            does not say.
        left_out: characters that are in the file and in no turn, by why, like ``quoted mail`` or ``system lines``.
        doubts: what could not be decided, in sentences for the reader, like which of two numbers is the month.
    """

    source: str
    kind: str
    turns: tuple[Turn, ...]
    me: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def authors(self) -> dict[str, int]:
        """Characters by author, the most first; without turns of nobody named."""
        counts: dict[str, int] = {}
        for turn in self.turns:
            if turn.author is not None:
                counts[turn.author] = counts.get(turn.author, 0) + len(turn.text)
        return dict(sorted(counts.items(), key=lambda each: -each[1]))


def normalise_newlines(text: str) -> str:
    """Return ``text`` with every line ended by a line feed, whichever system wrote it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
