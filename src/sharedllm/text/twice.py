"""What was given more than once: of messages that several documents hold, each is kept once."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sharedllm.text.documents import Document, Turn
from sharedllm.text.repeats import RUN

TWICE = "what was given more than once"

_MOST_ASKED = 16
"""Documents with one message in common that are compared: a greeting at midnight is in hundreds."""

_Key = tuple[float, str]
"""The minute, in seconds since 1970, and what was said."""


_Counts = dict[_Key, Counter[str | None]]
"""How often each author wrote it."""


@dataclass(frozen=True)
class _Kept:
    """A document of which what is new was kept: its messages, and the minutes in which they were written, in order."""

    number: int
    counts: _Counts
    authors: frozenset[str | None]
    minutes: list[float]

    def within(self, first: float, last: float) -> int:
        return bisect_right(self.minutes, last) - bisect_left(self.minutes, first)

    def also_in(self, other: "_Kept", key: _Key) -> Counter[str | None]:
        """How many of its messages of a key the other holds too, by their authors here.

        Whoever is called otherwise there is nobody who writes in both under their own name.
        """
        there = other.counts[key]
        renamed = sum(count for author, count in there.items() if author not in self.authors)
        return Counter(
            {
                author: min(count, there[author] if author in other.authors else renamed)
                for author, count in self.counts[key].items()
            }
        )


def each_once(documents: Sequence[Document]) -> list[Document]:
    """The documents without messages that another of them holds too, which are counted among what is left out.

    The longest keeps all of its own, so that what was said before a message stays with it; of equal ones the first.
    Where all messages of a document have a time, two are one if they were written in the same minute, to which some
    exports round, and say the same; and if they are either of `RUN` characters and more, or in two documents of
    which each has half of the other's messages in the time that both cover: two who write *ok* in the same minute
    have not written the same message. Their author may be called otherwise in the one than in the other, as sent
    mail and address books have it, and not like somebody else who writes there. Where messages have no time, a
    document is left out that another is or begins with, author by author.
    """
    found = list(documents)
    dated: dict[_Key, list[_Kept]] = {}
    begun: set[int] = set()
    sizes = [sum(len(turn.text) for turn in document.turns) for document in documents]
    for number in sorted(range(len(found)), key=lambda each: -sizes[each]):
        document = found[number]
        if not document.turns:
            continue
        if all(turn.when is not None for turn in document.turns):
            new = _new(number, document, dated)
        else:
            new = _not_begun(document, begun)
        if len(new) < len(document.turns):
            again = sizes[number] - sum(len(turn.text) for turn in new)
            left_out = {**document.left_out, TWICE: document.left_out.get(TWICE, 0) + again}
            found[number] = replace(document, turns=tuple(new), left_out=left_out)
    return found


def _new(number: int, document: Document, dated: dict[_Key, list[_Kept]]) -> list[Turn]:
    """The messages of a document in which all have a time that no document before it has."""
    keys = [_key(turn) for turn in document.turns]
    counts: _Counts = {}
    for key, turn in zip(keys, document.turns, strict=True):
        counts.setdefault(key, Counter())[turn.author] += 1
    authors = frozenset(turn.author for turn in document.turns)
    this = _Kept(number, counts, authors, sorted(minute for minute, _ in keys))
    met = {other.number: other for key in counts for other in dated.get(key, ())}
    again: dict[_Key, Counter[str | None]] = {}
    for other in met.values():
        shared = {key: this.also_in(other, key) for key in counts if key in other.counts}
        one = 2 * sum(each.total() for each in shared.values()) >= _most_in_common(this, other)
        for key, each in shared.items():
            if one or len(key[1]) >= RUN:
                again[key] = again.get(key, Counter()) | each
    new = []
    for key, turn in zip(keys, document.turns, strict=True):
        if key in again and again[key][turn.author]:
            again[key][turn.author] -= 1
        else:
            new.append(turn)
    for key in {_key(turn) for turn in new}:
        those = dated.setdefault(key, [])
        if len(those) < _MOST_ASKED:
            those.append(this)
    return new


def _most_in_common(one: _Kept, other: _Kept) -> int:
    """The messages of the one of two documents that has more of them in the time that both cover."""
    first, last = max(one.minutes[0], other.minutes[0]), min(one.minutes[-1], other.minutes[-1])
    return max(one.within(first, last), other.within(first, last))


def _not_begun(document: Document, begun: set[int]) -> list[Turn]:
    """All messages of a document in which some have no time; none if a document before it is or begins with these."""
    beginnings = list(_beginnings(document.turns))
    if beginnings[-1] in begun:
        return []
    begun.update(beginnings)
    return list(document.turns)


def _beginnings(turns: Sequence[Turn]) -> Iterator[int]:
    so_far = 0
    for turn in turns:
        so_far = hash((so_far, turn.author, _said(turn)))
        yield so_far


def _key(turn: Turn) -> _Key:
    when = turn.when or datetime.min
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return when.timestamp() // 60 * 60, _said(turn)


def _said(turn: Turn) -> str:
    return " ".join(turn.text.split())
