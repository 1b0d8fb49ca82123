"""Who, of the authors of a person's exports, that person is: guessed from the exports, or chosen by name."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sharedllm.errors import TextError
from sharedllm.text.conversations.gathering import folded_name, shown_name
from sharedllm.text.conversations.whatsapp import other_by_name
from sharedllm.text.documents import Document
from sharedllm.text.passages import ASSISTANT

_FEWEST_DIGITS = 7
_SHOWN = 12


@dataclass(frozen=True)
class Guess:
    """Who is taken for the owner of one document.

    Attributes:
        author: as the document names them; None where it has authors and nothing tells.
        why: in words that go after "because", empty where there is no author.
    """

    author: str | None
    why: str = ""


def guess_me(documents: Sequence[Document]) -> tuple[Guess, ...]:
    """A guess a document, for somebody to confirm: where two could be meant it is nobody.

    In this order: the export says it; its file is named for the only other author; another export says that its owner
    is called like one of the authors; of chats of one program between two people, all have one person in common; of
    three or more chats, all have.
    """
    chats: defaultdict[str, list[Document]] = defaultdict(list)
    for document in documents:
        if document.authors:
            chats[document.kind].append(document)
    # Where one of them says who its owner is, whoever else is in all of them is a friend.
    common = {kind: _in_all(alike) for kind, alike in chats.items() if all(each.me is None for each in alike)}
    owners = {document.me for document in documents if document.me is not None}
    return tuple(_guess(document, common.get(document.kind), owners) for document in documents)


def choose_me(documents: Sequence[Document], me: str | Sequence[str]) -> tuple[str | None, ...]:
    """Which author is meant in each document; None in a document without them.

    A name is taken as it stands, or else without case, accents, signs and spaces, or else, if it is a telephone
    number, by its digits: one way for all documents at a time, the strictest that finds somebody in that document.

    Args:
        documents: all that there are.
        me: a name, or several by which one person goes in different exports.

    Raises:
        TextError: a name is nobody's in any document, or several authors' of one document; the authors are listed.
    """
    names = [me] if isinstance(me, str) else list(me)
    chosen: list[str | None] = []
    used: set[str] = set()
    for document in documents:
        found: dict[str, str] = {}
        for name in names:
            for author in _called(name, list(document.authors)):
                found[author] = name
        if len(found) > 1:
            exact = [author for author in found if author in names]
            if len(exact) != 1:
                raise _refusal(f"{' and '.join(map(repr, found))} in {document.source} are both meant", [document])
            found = {exact[0]: exact[0]}
        chosen.append(next(iter(found), None))
        used |= set(found.values())
    missing = [name for name in names if name not in used]
    if missing:
        raise _refusal(f"Nobody is called {missing[0]!r}", documents)
    return tuple(chosen)


def _guess(document: Document, common: str | None, owners: Collection[str]) -> Guess:
    authors = document.authors
    if document.me is not None:
        return Guess(document.me, "the export says so")
    other = other_by_name(document.source)
    if other is not None and len(authors) == 2:
        others = _called(other, list(authors))
        if len(others) == 1:
            return Guess(next(each for each in authors if each not in others), f"the file is called after {others[0]}")
    elsewhere = [author for author in authors if author in owners]
    if len(elsewhere) == 1:
        return Guess(elsewhere[0], "another export says that its owner is called so")
    if common is not None and common in authors:
        return Guess(common, "nobody else occurs in all of these chats")
    return Guess(None)


def _in_all(chats: Sequence[Document]) -> str | None:
    """The one author of whom chats of one program say that they are their owner's."""
    pairs = {frozenset(chat.authors) for chat in chats if len(chat.authors) == 2}
    if len(pairs) > 1:
        both = frozenset.intersection(*pairs)
        return next(iter(both)) if len(both) == 1 and ASSISTANT not in both else None
    if len(chats) < 3:
        return None
    everywhere = set.intersection(*(set(chat.authors) for chat in chats))
    return everywhere.pop() if len(everywhere) == 1 and ASSISTANT not in everywhere else None


def _called(name: str, authors: Sequence[str]) -> list[str]:
    """The authors whom a name means, by the strictest way in which it means any."""
    for way in (str, shown_name, folded_name):
        if (meant := way(name)) and (found := [author for author in authors if way(author) == meant]):
            return found
    number = _digits(name)
    if number is None:
        return []
    return [author for author in authors if (other := _digits(author)) and _same_number(number, other)]


def _digits(name: str) -> str | None:
    """The digits of a telephone number, without what is dialled before it; None where a name is none."""
    shown = shown_name(name).removeprefix("~").strip()
    if not re.fullmatch(r"[+(]?[\d\s().\-–‑/]+", shown):
        return None
    digits = "".join(str(unicodedata.digit(each)) for each in shown if each.isdigit())
    return digits.lstrip("0") if len(digits) >= _FEWEST_DIGITS else None


def _same_number(one: str, other: str) -> bool:
    """Whether two are one number, with and without the country's."""
    short, long = sorted((one, other), key=len)
    return long.endswith(short) and len(long) - len(short) <= 3


def _refusal(what: str, documents: Sequence[Document]) -> TextError:
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(document.authors)
    total = sum(counts.values()) or 1
    shown = ", ".join(f"{author!r} ({count / total:.0%})" for author, count in counts.most_common(_SHOWN))
    more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    return TextError(
        f"{what}; the authors are {shown}{more}" if counts else f"{what}: there are no authors",
        remedy="Give one of these names as it stands.",
    )
