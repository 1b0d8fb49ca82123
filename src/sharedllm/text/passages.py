"""What is learned of what was read: a person's own words, and what others said only as that which came before them."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sharedllm.text.documents import Document

PassageRole = Literal["text", "own", "other", "system"]

Learn = Literal["writing", "answers"]
"""Which of two things is learned: to write as she does, or to answer as she likes to be answered."""

ASSISTANT = "assistant"
"""The author in chats with an AI whose turns are learned where answers are."""

_SYSTEM = "system"


@dataclass(frozen=True)
class Passage:
    """Words of one kind in a row, whole: blocks and folds are cut between passages, and within running text alone.

    Attributes:
        text: the words, lines ended by a line feed.
        role: ``text`` is running text of the person's own. ``own`` is what is learned of a conversation: her turn, or
            where answers are learned the assistant's. ``other`` is somebody else's turn, and ``system`` what a
            conversation was set up with: both are read and never predicted.
        when: it was written; None where that is not known.
        begins: whether a conversation begins here; also where there is none before it to go on.
    """

    text: str
    role: PassageRole
    when: datetime | None = None
    begins: bool = False

    @property
    def learned(self) -> bool:
        """Whether its words are predicted, and not only read."""
        return self.role in ("text", "own")


def plain(text: str) -> tuple[Passage, ...]:
    """Running text as passages: one."""
    return (Passage(text, "text"),)


def passages_of(document: Document, own: Container[str]) -> tuple[Passage, ...]:
    """A document as passages, without turns of white space alone.

    Args:
        document: one file, or one conversation of an export.
        own: authors whose turns are learned: the person under all her names, or `ASSISTANT` where answers are.
    """
    found: list[Passage] = []
    for turn in document.turns:
        role: PassageRole = "text"
        if turn.author is not None:
            role = "own" if turn.author in own else "system" if turn.author == _SYSTEM else "other"
        if turn.text.strip():
            found.append(Passage(turn.text, role, turn.when, begins=role != "text" and not found))
    return tuple(found)


def own_words(passages: Iterable[Passage]) -> str:
    """All words that are learned, in order, a line feed between passages."""
    return "\n".join(passage.text for passage in passages if passage.learned)
