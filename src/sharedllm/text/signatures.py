"""Signatures in mails that no line sets apart: told by all mails of their author, whose ends they are again and again.

The last lines of all of an author's mails are read backwards as one tree. A signature grows by a line where nearly
all mails that end with what it has so far have the same line before it, or where several lines that come again and
again stand there and each holds something like a number or an address: so a closing word before a signature stays if it
is not always the same.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sharedllm.text.documents import MAILS, Document
from sharedllm.text.readers.mail_quotes import SIGNATURES

_FEWEST, _SHARE = 3, 0.02
"""Mails that end alike, at least, and of all mails of their author; a mail that was sent to many counts once."""

_NEARLY_ALL = 0.8
_MOST_LINES = 14
_SMALL, _SHORT, _LINES = 40, 80, 3
"""Characters of so many lines, and of fewer, up to which recurring ends are closing words unless a detail is there."""

_DETAIL = re.compile(r"(?:\d\D{0,3}){5}|@|\bwww\.|https?:", re.IGNORECASE)


@dataclass
class _Ends:
    """Mails that end alike: how many, and those that go on alike, by the line before.

    Attributes:
        count: of the mails.
        before: by the line before.
        recurs: whether what they have in common does so often, and belongs together.
    """

    count: int = 0
    before: "dict[str, _Ends]" = field(default_factory=dict)
    recurs: bool = False


def without_signatures(documents: Sequence[Document]) -> list[Document]:
    """The documents; mails among them without the ends that recur in their author's mails, which are counted.

    An end is left out if it holds something like a number or an address, or has some length: a word of thanks and a
    name are words of hers, however often she writes them.
    """
    bodies: dict[str | None, set[tuple[str, ...]]] = defaultdict(set)
    for document in documents:
        if document.kind in MAILS:
            for turn in document.turns:
                bodies[turn.author].add(tuple(line for _, line in _lines(turn.text)))
    ends = {author: _ends_of(of) for author, of in bodies.items()}
    return [_without(document, ends) if document.kind in MAILS else document for document in documents]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with something on them, the last first, each with where it begins."""
    end = len(text)
    while end > 0:
        begin = text.rfind("\n", 0, end) + 1
        if line := " ".join(text[begin:end].split()):
            yield begin, line
        end = begin - 1


def _ends_of(bodies: Collection[tuple[str, ...]]) -> _Ends:
    """The tree of how an author's mails end; each is given by its lines, the last first."""
    top = _Ends(len(bodies))
    for lines in bodies:
        at = top
        for line in lines[:_MOST_LINES]:
            at = at.before.setdefault(line, _Ends())
            at.count += 1
    _grow(top, (), max(_FEWEST, _SHARE * len(bodies)))
    return top


def _grow(ends: _Ends, lines: tuple[str, ...], least: float) -> None:
    for line, longer in ends.before.items():
        often = longer.count >= least
        if often and (not lines or longer.count >= _NEARLY_ALL * ends.count or _DETAIL.search(line)):
            longer.recurs = True
            _grow(longer, (*lines, line), least)


def _without(document: Document, ends: Mapping[str | None, _Ends]) -> Document:
    turns = [replace(turn, text=_own(turn.text, ends[turn.author])) for turn in document.turns]
    removed = sum(len(turn.text) for turn in document.turns) - sum(len(turn.text) for turn in turns)
    if not removed:
        return document
    left_out = {**document.left_out, SIGNATURES: document.left_out.get(SIGNATURES, 0) + removed}
    return replace(document, turns=tuple(turn for turn in turns if turn.text), left_out=left_out)


def _own(text: str, ends: _Ends) -> str:
    """A mail without the longest signature that it ends with."""
    found: list[str] = []
    begins = None
    for begin, line in _lines(text):
        longer = ends.before.get(line)
        if longer is None or not longer.recurs:
            break
        ends = longer
        found.append(line)
        if _is_signature(found):
            begins = begin
    return text if begins is None else text[:begins].rstrip()


def _is_signature(lines: Sequence[str]) -> bool:
    size = sum(map(len, lines))
    return size >= _SHORT or (len(lines) >= _LINES and size >= _SMALL) or any(map(_DETAIL.search, lines))
