"""What is gathered while an export is read: turns, what is left out and why, and names that are one person's."""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sharedllm.errors import TextError
from sharedllm.text.documents import Document, Turn

SYSTEM = "system lines"
PASTED = "pasted chats"
ATTACHMENTS = "attachments"
FORWARDED = "forwarded text"
QUOTED = "quoted text"
DELETED = "deleted messages"
POLLS = "polls"
MACHINES = "what tools and systems wrote"
UNKNOWN = "what was not understood"

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_SPACES = re.compile(r"\s+")
_QUOTE = re.compile(r"[ \t]*>(?:>>)?(?:[ \t]|$)")
_QUOTE_TO_THE_END = re.compile(r"[ \t]*>>>(?:[ \t]|$)")


class Gathering:
    """The turns of one chat as they come, and the characters that are left out, by why."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.left_out: Counter[str] = Counter()

    def say(self, author: str, text: str, when: datetime | None) -> None:
        """Take what somebody wrote; nothing where that is nothing but white space."""
        text = _LINE_ENDS.sub("\n", text).strip()
        if text:
            self.turns.append(Turn(text, author, when))

    def say_without_quotes(self, author: str, text: str, when: datetime | None) -> None:
        """The same where a line that begins with ``> `` is quoted, and everything after ``>>> ``."""
        said, quoted = parted_quotes(text)
        self.leave_out(QUOTED, quoted)
        self.say(author, said, when)

    def leave_out(self, why: str, text: str) -> None:
        """Count what is in the file and becomes no turn."""
        if text:
            self.left_out[why] += len(text)

    def understood(self, values: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The objects among parts of JSON; others are nothing of what a program writes there, and counted."""
        for value in values:
            if isinstance(value, dict):
                yield value
            else:
                self.leave_out(UNKNOWN, json.dumps(value, ensure_ascii=False, default=str))

    def owner(self, name: str) -> str | None:
        """Whom an export calls so by rule, if that is somebody here, or all here is one other person's; else nobody.

        Where several write and nobody is called so, somebody may have had the program use another name.
        """
        authors = {turn.author for turn in self.turns}
        return name if name in authors or len(authors) == 1 else None

    def document(
        self, source: str, kind: str, *, me: str | None = None, doubts: Sequence[str] = (), in_order: bool = True
    ) -> Document:
        """All of it; ``in_order=False`` puts turns in the order of their times first, where all of them have one."""
        turns = self.turns
        if not in_order and all(turn.when is not None for turn in turns):
            turns = sorted(turns, key=lambda turn: turn.when.timestamp() if turn.when else 0.0)
        return Document(source, kind, tuple(turns), me, dict(self.left_out), tuple(doubts))


def parted_quotes(text: str, *, to_the_end: bool = True) -> tuple[str, str]:
    """The lines that somebody wrote and those that they quoted, after ``> `` and, where asked for, from ``>>> `` on."""
    if ">" not in text:
        return text, ""
    said: list[str] = []
    quoted: list[str] = []
    ends = False
    for line in _LINE_ENDS.sub("\n", text).split("\n"):
        ends = ends or (to_the_end and _QUOTE_TO_THE_END.match(line) is not None)
        (quoted if ends or _QUOTE.match(line) else said).append(line)
    return ("\n".join(said), "\n".join(quoted)) if quoted else (text, "")


def shown_name(name: str) -> str:
    """A name without direction marks, its white space plain: as people read it, and as they will type it."""
    return _SPACES.sub(" ", _INVISIBLE.sub("", name)).strip()


def folded_name(name: str) -> str:
    """A name without case, accents, signs and spaces."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(each for each in plain if each.isalnum())


def told_apart(people: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One name each for people by id, with the id where several are called alike: two people are never one author."""
    names: dict[str, str] = {}
    for who, name in people:
        names[who] = shown_name(name) or names.get(who, who)
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for who, name in names.items():
        alike[name].append(who)
    return {who: name if len(alike[name]) == 1 else f"{name} ({who})" for who, name in names.items()}


def moment(value: Any, *, unit: float = 1.0) -> datetime | None:
    """A time as exports write it: a number of units since 1970, or an ISO 8601 text; None where it is neither.

    Args:
        value: what stands in the file.
        unit: seconds in the unit of a number.
    """
    try:
        if isinstance(value, str) and not re.fullmatch(r"-?\d+(\.\d+)?", value):
            when = datetime.fromisoformat(value.strip())
            when.timestamp()  # At the ends of the calendar there is none.
            return when
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return datetime.fromtimestamp(float(value) * unit, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def on_day(day: tuple[int, int, int] | None, hours: int, minutes: int, after_noon: bool | None) -> datetime | None:
    """A time of a day; None where there is no day, or no such time.

    Args:
        day: year, month and day of the month.
        hours: by a clock of twelve hours, or of 24 where ``after_noon`` is None.
        minutes: after these.
        after_noon: which half of the day it is.
    """
    try:
        hour = hours if after_noon is None else hours % 12 + 12 * after_noon
        return None if day is None else datetime(*day, hour, minutes)
    except ValueError:
        return None


def words(value: Any) -> str:
    """A text; empty where the value is none."""
    return value if isinstance(value, str) else ""


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of an array; none where the value is none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def fields(value: Any) -> Mapping[str, Any]:
    """An object; an empty one where the value is none."""
    return value if isinstance(value, dict) else {}


def broken(source: str, kind: str, what: str) -> TextError:
    """What is raised where an export is recognised, and cannot be read."""
    return TextError(
        f"{source} is a {kind}, but {what}", remedy="Export it again, or leave it out; nothing of it was used."
    )
