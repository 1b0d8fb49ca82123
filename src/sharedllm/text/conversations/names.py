"""Where a name ends and the words begin, in chats that part them by a sign that names hold, too.

Of ``Ann: Lee: hello`` no line says whether Ann wrote *Lee: hello* or *Ann: Lee* wrote *hello*. All of the file may, and
where it does not it is neither's: others' words are never learned as somebody's, and a few of her own can be spared.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sharedllm.text.conversations.gathering import SYSTEM, Gathering, folded_name, shown_name

IN_DOUBT = "messages of which it is not told who wrote them"

_LONGEST_NAME, _LONGEST_REST = 100, 60
_FEWEST_OF_ONE, _MOST_OF_NOTICES = 3, 2
_MOST_WORDS, _MOST_SMALL_WORDS = 4, 2
_OFTEN = 0.2
_OF_SENTENCES = frozenset('?!;"“”„«»')
_SHOWN = 3
_END_OF_NAME = re.compile(r"\W|님|$")


@dataclass(frozen=True)
class Parted:
    """What stands after the time of a message.

    Attributes:
        author: who wrote it; None where a program did.
        text: what they wrote, or all of it.
        doubtful: whether somebody else may have, whose name is the author's and how the text begins.
    """

    author: str | None
    text: str
    doubtful: bool = False


@dataclass(frozen=True)
class _Begun:
    """A line up to a sign: what it names, how many characters that takes with the sign, and whether nothing follows."""

    name: str
    end: int
    is_heading: bool = False


def parted(
    bodies: Sequence[str],
    sign: re.Pattern[str],
    *,
    other: str | None = None,
    is_notice: Callable[[str, Collection[str]], bool] = lambda name, known: False,
    tells: Callable[[str], object] = lambda line: False,
    stands_for: Callable[[str], object] = lambda text: False,
) -> tuple[list[Parted], list[str]]:
    """Part names from texts, decided from all of a chat.

    A name ends at the first sign, or at the second where whatever the first part wrote goes on like a name, as in
    ``Work: Bob: hello``, or where the chat is known to be with somebody so called. In a chat with one person who is
    called otherwise nobody else writes. In others a message is in doubt whose text begins as a name would go on: in
    capitals, or as others of its author do.

    Args:
        bodies: what stands after the time of each message, of one line or more.
        sign: what parts a name from a text on the first of them.
        other: whom the chat is with, or which group, as far as the export says it.
        is_notice: whether a name, beside all that there are, is rather the beginning of what a program tells.
        tells: whether a message may be what a program tells of somebody.
        stands_for: whether a text is what a program writes for something else, like a place.

    Returns:
        What was said, in its order, and what could not be decided, for the reader.
    """
    begun = [_begun(body, sign) for body in bodies]
    begun = [
        each[:1] if len(each) > 1 and stands_for(body[each[0].end :]) else each
        for body, each in zip(bodies, begun, strict=True)
    ]
    counts = Counter(each[0].name for each in begun if each)
    notices = {name for name, count in counts.items() if count <= _MOST_OF_NOTICES and is_notice(name, counts.keys())}
    people = {name: count for name, count in counts.items() if name not in notices}
    going_on: defaultdict[str, Counter[str | None]] = defaultdict(Counter)
    for each in begun:
        if each and each[0].name in people:
            going_on[each[0].name][each[1].name if len(each) > 1 and not each[1].is_heading else None] += 1
    whole: set[str] = set()
    doubtful: set[str] = set()
    if not _is_pair(people, other):
        for person, found in going_on.items():
            longer = {name: count for name, count in found.items() if name is not None}
            if len(longer) == len(found) and people[person] >= _FEWEST_OF_ONE * max(1, len(found)):
                whole |= longer.keys()
            for name, count in longer.items():
                if other is not None and _is_called(name, other):
                    whole.add(name)
                elif _may_go_on(name[len(person) :].strip(" :"), count, people[person], alone=len(people) == 1):
                    doubtful.add(name)
    doubtful -= whole
    longer_names = whole | doubtful
    lengths = {len(name) for name in longer_names}
    said = []
    for body, each in zip(bodies, begun, strict=True):
        if not each or each[0].name in notices:
            said.append(Parted(None, body))
        elif (longest := each[-1]).name in whole:
            said.append(Parted(longest.name, body[longest.end :]))
        elif longest.name in doubtful:
            said.append(Parted(each[0].name, body[each[0].end :], doubtful=True))
        elif any(body[:end] in longer_names and _END_OF_NAME.match(body, end) for end in lengths) and tells(body):
            said.append(Parted(None, body))
        else:
            said.append(Parted(each[0].name, body[each[0].end :]))
    return said, _doubts(doubtful, said)


def kept(read: Gathering, said: Iterable[Parted]) -> Iterator[tuple[int, str, str]]:
    """Number, author and text of each that is somebody's; others are left out of what is read, and counted."""
    for number, each in enumerate(said):
        if each.author is None:
            read.leave_out(SYSTEM, each.text)
        elif each.doubtful:
            read.leave_out(IN_DOUBT, each.text)
        else:
            yield number, each.author, each.text


def _begun(body: str, sign: re.Pattern[str]) -> list[_Begun]:
    """What a message names up to the first sign and up to the second, as far as they are there."""
    line = body.split("\n", 1)[0]
    first = sign.search(line)
    if first is None or first.start() > _LONGEST_NAME or not (name := shown_name(line[: first.start()])):
        return []
    second = sign.search(line, first.end())
    begun = [_Begun(name, first.end())]
    if second is not None and 0 < len(line[first.end() : second.start()].strip()) <= _LONGEST_REST:
        # With nothing after it a sign ends a heading, as of a list or a poll, or a name above an empty line.
        is_heading = not second[0][-1].isspace()
        begun.append(_Begun(shown_name(line[: second.start()]), second.end(), is_heading))
    return begun


def _is_pair(people: Collection[str], other: str | None) -> bool:
    """Whether a chat is between two, one of whom it is with."""
    return other is not None and len(people) == 2 and any(_is_called(name, other) for name in people)


def _is_called(name: str, other: str) -> bool:
    """Whether two names are one as people spell it; those of signs alone, like emoji, as they stand."""
    return name == other or folded_name(name) == folded_name(other) != ""


def _may_go_on(rest: str, count: int, of: int, *, alone: bool) -> bool:
    """Whether what stands between two signs may belong to the name before the first.

    Args:
        rest: that.
        count: messages that begin so.
        of: messages that begin with the name.
        alone: whether nobody else writes in the chat, as if it were with oneself.
    """
    words = rest.split()
    is_number = rest.isascii() and not any(map(str.isalpha, rest))
    is_time = is_number and ":" in rest
    if not words or is_time or (count == 1 and (is_number or not _OF_SENTENCES.isdisjoint(rest))):
        return False
    if alone or (count >= _FEWEST_OF_ONE and count >= _OFTEN * of):
        return True
    if count > 1 and len(words) <= _MOST_SMALL_WORDS:
        return True
    return (count > 1 or len(words) <= _MOST_WORDS) and not any(word[0].islower() for word in words)


def _doubts(names: Collection[str], said: Sequence[Parted]) -> list[str]:
    doubtful = sum(each.doubtful for each in said)
    if not doubtful:
        return []
    shown = " or ".join(map(repr, sorted(names)[:_SHOWN]))
    more = f" or like one of {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    count = "1 message that begins so is" if doubtful == 1 else f"{doubtful:,} messages that begin so are"
    return [
        f"Whether somebody is called {shown}{more}, or these are a name and how a text begins, is not told: {count} "
        "left out. Where somebody is, save them under a name without a colon and export the chat again."
    ]
