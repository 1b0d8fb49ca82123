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


@dataclass(frozen=True)
class _Kept:
    """A document of which what is new was kept: its messages, and the minutes in which they were written, in order."""

    number: int
    counts: Counter[_Key]
    minutes: list[float]

    def within(self, first: float, last: float) -> int:
        return bisect_right(self.minutes, last) - bisect_left(self.minutes, first)


def each_once(documents: Sequence[Document]) -> list[Document]:
    """The documents without messages that another of them holds too, which are counted among what is left out.

    The longest keeps all of its own, so that what was said before a message stays with it; of equal ones the first.
    Where all messages of a document have a time, two are one if they were written in the same minute, to which some
    exports round, and say the same; and if they are either of `RUN` characters and more, or in two documents of which
    each has half of the other's messages in the time that both cover: two who write *ok* in the same minute have not
    written the same message. Where messages have no time, a document is left out that another is or begins with, author
    by author.
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
    this = _Kept(number, Counter(keys), sorted(minute for minute, _ in keys))
    met: dict[int, _Kept] = {}
    shared: Counter[int] = Counter()
    for key, count in this.counts.items():
        for other in dated.get(key, ()):
            met[other.number] = other
            shared[other.number] += min(count, other.counts[key])
    again: Counter[_Key] = Counter()
    for which, other in met.items():
        one = 2 * shared[which] >= _most_in_common(this, other)
        for key in this.counts:
            if key in other.counts and (one or len(key[1]) >= RUN):
                again[key] = max(again[key], other.counts[key])
    new = []
    for key, turn in zip(keys, document.turns, strict=True):
        if again[key]:
            again[key] -= 1
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
