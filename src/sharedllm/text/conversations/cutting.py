"""Where one conversation of a chat ends and the next begins."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sharedllm.text.documents import Document, Turn

GAP = timedelta(hours=6)
"""Silence after which people begin anew. A night is longer, and answers within a day's work come sooner; what was said
before it is seldom what an answer answers."""


def conversations_of(document: Document, gap: timedelta = GAP) -> list[tuple[Turn, ...]]:
    """Cut a chat where nobody wrote for a while, and join what somebody wrote in a row.

    A chat template writes an answer for each message, and some refuse two of one role in a row: within a conversation
    consecutive messages of one author are one turn, joined by line feeds, with the time of the first. Where messages
    have no time nothing is cut, and neither is a chat with a model, which reads all of it whenever one comes back.

    Args:
        document: of any kind; one without authors is one conversation.
        gap: silence that ends a conversation.
    """
    return [joined(messages) for messages in messages_of(document, gap)]


def messages_of(document: Document, gap: timedelta = GAP) -> list[tuple[Turn, ...]]:
    """The messages of each conversation as they stand in the document.

    Args: as for `conversations_of`.
    """
    with_model = set(document.authors) <= {"user", "assistant"} and "assistant" in document.authors
    found: list[list[Turn]] = []
    before: datetime | None = None
    for turn in document.turns:
        if not found or (not with_model and _is_long(before, turn.when, gap)):
            found.append([turn])
        else:
            found[-1].append(turn)
        before = turn.when or before
    return [tuple(each) for each in found]


def joined(messages: Sequence[Turn]) -> tuple[Turn, ...]:
    """The messages of a conversation, what one author wrote in a row as one turn."""
    # Texts are joined once: thousands of messages in a row would be copied with each that comes.
    rows: list[list[Turn]] = []
    for turn in messages:
        if rows and rows[-1][0].author == turn.author and turn.author is not None:
            rows[-1].append(turn)
        else:
            rows.append([turn])
    return tuple(replace(row[0], text="\n".join(turn.text for turn in row)) if row[1:] else row[0] for row in rows)


def _is_long(before: datetime | None, after: datetime | None, gap: timedelta) -> bool:
    if before is None or after is None or (before.tzinfo is None) != (after.tzinfo is None):
        return False
    return after - before > gap
