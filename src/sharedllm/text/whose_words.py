"""Whose words a document holds: which are the person's and learned, and which are only read, or left alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sharedllm.text.choices import Choices
from sharedllm.text.conversations.cutting import joined, messages_of
from sharedllm.text.conversations.me import choose_me, guess_me
from sharedllm.text.documents import MAILS, Document, Turn
from sharedllm.text.passages import ASSISTANT, Passage, passages_of

OTHERS = "words of others"
NOBODYS = "documents in which it is not known who you are"
RUNNING = "running text, which answers nothing"
WITHOUT_ANSWERS = "chats and mails without an assistant's answers"

_UNANSWERED = "there are no answers of an assistant in it"
UNKNOWN = "which of its authors is meant is not known"


@dataclass(frozen=True)
class DocumentReading:
    """How a document is read.

    Attributes:
        source: as in `Document`.
        kind: as in `Document`.
        authors: characters by author; empty where it names none.
        me: which of them is learned; None where nobody is, or it names none.
        why: how that was decided, in words that go after "because"; or why nothing of it is learned.
        passages: what is learned and what is only read.
        own: characters of the document that are learned, without what joins messages and before anything is masked.
        others: characters of the document that are read before these and not learned, counted likewise.
        left_out: the other characters of the document, by why.
        doubts: as in `Document`.
    """

    source: str
    kind: str
    authors: Mapping[str, int]
    me: str | None
    why: str
    passages: tuple[Passage, ...] = field(repr=False)
    own: int = 0
    others: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def unknown(self) -> bool:
        """Whether it has several authors, and nothing tells which is meant."""
        return self.why == UNKNOWN

    @property
    def nameless(self) -> bool:
        """Whether it has authors, and it takes a name to tell which of them is meant."""
        return self.me is None and bool(self.authors) and self.why != _UNANSWERED

    @property
    def read(self) -> int:
        """Characters of the document: its own and others' that are used, and what is left out."""
        return self.own + self.others + sum(self.left_out.values())

    @property
    def learned(self) -> int:
        """Characters that are learned."""
        return sum(len(passage.text) for passage in self.passages if passage.learned)

    @property
    def context(self) -> int:
        """Characters of others that are read before what is learned, and not learned."""
        return sum(len(passage.text) for passage in self.passages if not passage.learned)


def whose_words(documents: Sequence[Document], choices: Choices) -> list[DocumentReading]:
    """Decide of each document who in it is the person, and take her words.

    Where answers are learned it is the assistant's words that are taken, of chats with one. Else it is who is called as
    was chosen; or whom the export itself says to be its owner, of mails nobody where that owner wrote none; or, where
    nobody was chosen, its only author, if no other document of its kind has another; or whom the exports together tell
    (`guess_me`).

    Raises:
        TextError: nobody is called as was chosen, or several are in one document.
    """
    if choices.learn == "answers":
        return [_answers(document) for document in documents]
    chosen = choose_me(documents, choices.me) if choices.me else (None,) * len(documents)
    guesses = guess_me(documents)
    people: dict[str, set[str]] = {}
    for document in documents:
        people.setdefault(_sort(document), set()).update(document.authors)
    found: list[DocumentReading] = []
    for document, name, guess in zip(documents, chosen, guesses, strict=True):
        authors = document.authors
        if not authors:
            found.append(_reading(document, None, "", _running(document.turns)))
        elif name is not None:
            found.append(_reading(document, name, "you said so", _own(document, name)))
        elif document.me is not None and not _only_others(document):
            found.append(_reading(document, document.me, "the export says so", _own(document, document.me)))
        elif choices.me:
            why = f"nobody in it is called {' or '.join(choices.me)}; give every name by which you go in it (--me)"
            found.append(_reading(document, None, why))
        elif document.me is not None:
            why = f"it is of {document.me}, who wrote nothing in it; say whose words are meant (--me)"
            found.append(_reading(document, None, why))
        elif len(people[_sort(document)]) == 1 and ASSISTANT not in authors:
            (only,) = authors
            found.append(_reading(document, only, "nobody else wrote in it", _own(document, only)))
        elif guess.author is not None:
            found.append(_reading(document, guess.author, guess.why, _own(document, guess.author)))
        else:
            found.append(_reading(document, None, UNKNOWN))
    return found


def _sort(document: Document) -> str:
    """What a document is of the same sort as others by: a mail in a file of its own has one author, whoever that is."""
    return MAILS[0] if document.kind in MAILS else document.kind


def _only_others(document: Document) -> bool:
    """Whether it is mails of which their owner wrote none."""
    return document.kind in MAILS and document.me is not None and document.me not in document.authors


@dataclass(frozen=True)
class _Taken:
    """What is taken of a document: passages, and the messages that they are made of."""

    passages: tuple[Passage, ...] = ()
    turns: tuple[Turn, ...] = ()


def _reading(
    document: Document, me: str | None, why: str, taken: _Taken | None = None, unused: str | None = None
) -> DocumentReading:
    taken = taken or _Taken()
    left_out = dict(document.left_out)
    own = sum(len(turn.text) for turn in taken.turns if turn.author in (me, None))
    others = sum(len(turn.text) for turn in taken.turns) - own
    rest = sum(len(turn.text) for turn in document.turns) - own - others
    if rest:
        whose = unused or (OTHERS if me is not None or _only_others(document) else NOBODYS)
        left_out[whose] = left_out.get(whose, 0) + rest
    return DocumentReading(
        document.source,
        document.kind,
        document.authors,
        me,
        why,
        taken.passages,
        own,
        others,
        left_out,
        document.doubts,
    )


def _answers(document: Document) -> DocumentReading:
    if ASSISTANT in document.authors:
        return _reading(document, ASSISTANT, "its answers are learned", _own(document, ASSISTANT))
    unused = WITHOUT_ANSWERS if document.authors else RUNNING
    return _reading(document, None, _UNANSWERED, unused=unused)


def _running(turns: Sequence[Turn]) -> _Taken:
    """Words without an author: running text, in one where nothing of it has a time."""
    said = [turn for turn in turns if turn.text.strip()]
    if any(turn.when for turn in said):
        return _Taken(tuple(Passage(turn.text, "text", turn.when) for turn in said), tuple(turns))
    return _Taken((Passage("\n\n".join(turn.text for turn in said), "text"),) if said else (), tuple(turns))


def _own(document: Document, me: str) -> _Taken:
    """Her conversations, each with what others said in it; mails, and what nobody answered, are running text."""
    if len(document.authors) == 1 or document.kind in MAILS:
        return _running([turn for turn in document.turns if turn.author == me])
    passages: list[Passage] = []
    used: list[Turn] = []
    for messages in messages_of(document):
        found = passages_of(replace(document, turns=joined(messages)), {me})
        if any(passage.learned for passage in found):
            passages += found
            used += messages
    return _Taken(tuple(passages), tuple(used))
