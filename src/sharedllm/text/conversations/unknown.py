"""Chats of programs that are not known here: told from one person's words by what stands at the heads of lines.

Whatever is taken for no chat is taken for one person's words, and others' words would be learned with hers. So a text
in which lines begin with times and with names that recur is a chat, whichever program wrote it, and is refused by name.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from sharedllm.text.conversations.gathering import shown_name
from sharedllm.text.conversations.model_chats import speakers_in
from sharedllm.text.conversations.whatsapp_phrases import MARKERS

_CLOCK = re.compile(
    r"(?<![\d:.,])\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,6})?(?!:?\d)(?: ?[AaPp]\.? ?[Mm]\.?(?![^\W\d_]))?"
    r"|(\d{1,4}[./\-]\d{1,2}[./\-]\d{1,4}),? (?:klo |kl\.? )?\d{1,2}(?:[.h]| h )\d{2}(?![\d.])"
)
"""With a dot or an h it is one only after a date: else it may be a price, or a train."""

_DATE = re.compile(
    r"\d{1,4} ?[./\-] ?\d{1,2}(?: ?[./\-] ?\d{1,4}\.?)?|\d{1,2}\.?[ \-][^\W\d]{3,10}\.?[ \-,]{1,2}\d{2,4}"
    r"|[^\W\d]{3,10}\.? \d{1,2},? \d{4}|\d{2,4} ?[년年] ?\d{1,2} ?[월月] ?\d{1,2} ?[일日]"
)
_EDGES = " \t,;.:·|()[]{}<>«»*_#=~+-–—'\"/\\"
_LEVELS = re.compile(r"(?:INFO|DEBUG|TRACE|WARN|WARNING|ERROR|FATAL|CRITICAL|NOTICE)\b", re.IGNORECASE)
_NO_NAME = frozenset('<>=%{}\\"`;')
_NICK = re.compile(r"[ \t]*<[@+%&~! ]?([^<>\s]{1,30})> \S")
_JOINED = re.compile(r"[ \t]*(?:\*|-!-|-->|<--)")
"""A line of a log that nobody said."""

_NAME_ENDS = re.compile(r"[:：](?:\s|$)|>")
_CLOCK_WITHIN, _LONGEST_NAME, _LONGEST_LINE = 60, 60, 48
_MOST_BESIDE = 3
"""Words beside a time, like *Yesterday at*, with which it still stands alone."""

_WEEKDAY = re.compile(
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch|sonnabend"
    r"|(?:lun|mar|mercre|jeu|vendre|same)di|dimanche|lunes|martes|miércoles|jueves|viernes|sábado|domingo"
    r"|(?:lune|marte|mercole|giove|vener)dì|sabato|domenica|(?:segunda|terça|quarta|quinta|sexta)-feira"
    r"|(?:maan|dins|woens|donder|vrij|zater|zon)dag",
    re.IGNORECASE,
)
"""What stands above the times of a diary."""

_MOST_LINES = 20_000
_FEWEST = 4
_LOOKED_FOR, _CLOSED_SELDOM = 20, 8
_SHARE_OF_LINES, _SHARE_OF_HEADS = 0.04, 0.6


def people_in(text: str) -> list[str]:
    """The names that recur at the heads of a text's lines beside times, the most frequent first; none in no chat.

    There are two and more on some day: what stands beside the times of a diary, like a day of the week or a place, is
    one for each day. Levels of a log are no names. Names stand before the time, after it or above it. Without times
    they are told by angle brackets, and in a chat with a model by what such chats call both.
    """
    lines = [line for line in text.split("\n", _MOST_LINES)[:_MOST_LINES] if line.strip()]
    found = [(number, _head(line, lines[number + 1 : number + 3])) for number, line in enumerate(lines)]
    heads = [(number, head) for number, head in found if head]
    before = _people([(day, name) for _, (day, name, _) in heads], len(lines))
    after = before or _people([(day, name) for _, (day, _, name) in heads], len(lines))
    above = [] if after else _people([(day, _above(lines, number)) for number, (day, _, _) in heads], len(lines))
    # Headings of one word stand above the times of plans and diaries, too.
    return after or (above if any(" " in name for name in above) else []) or _without_times(lines)


def _above(lines: Sequence[str], number: int) -> str:
    """The name above a line that is a time and nothing else."""
    line = shown_name(lines[number][: _LONGEST_LINE + 1])
    rest = _DATE.sub(" ", _CLOCK.sub(" ", line, count=1), count=1)
    alone = len(line) <= _LONGEST_LINE and not any(map(str.isdigit, rest)) and len(rest.split()) <= _MOST_BESIDE
    name = shown_name(lines[number - 1]).strip(_EDGES) if alone and number else ""
    return "" if _WEEKDAY.fullmatch(name) else _if_name(name)


def _without_times(lines: Sequence[str]) -> list[str]:
    """Who writes in a chat that was copied without times: nicks in angle brackets, or somebody and a model."""
    nicks = Counter(found[1] for line in lines if (found := _NICK.match(line)))
    several = [name for name, count in nicks.most_common() if count > 1]
    closed = sum(f"</{name}" in line for line in lines if "</" in line for name in several[:_LOOKED_FOR])
    said = sum(not _JOINED.match(line) for line in lines)
    is_log = closed * _CLOSED_SELDOM < nicks.total() >= max(_FEWEST, _SHARE_OF_HEADS * said)
    return several if len(several) > 1 and is_log else speakers_in(lines)


def _people(heads: Sequence[tuple[str, str]], lines: int) -> list[str]:
    counts = Counter(name for _, name in heads if name)
    people = {name: count for name, count in counts.most_common() if count > 1}
    days: defaultdict[str, set[str]] = defaultdict(set)
    for day, name in heads:
        if name in people:
            days[day].add(name)
    said = sum(people.values())
    is_chat = (
        said >= max(_FEWEST, _SHARE_OF_HEADS * len(heads), _SHARE_OF_LINES * lines)
        and any(len(names) > 1 for names in days.values())
        and sum(count for name, count in people.items() if _LEVELS.match(name)) * 2 <= said
    )
    return list(people) if is_chat else []


def _head(line: str, following: Sequence[str]) -> tuple[str, str, str] | None:
    """The day at the head of a line, and the names before and after its time, empty where none is; None without a time.

    A name after the time ends in a colon or a bracket, or with the line, or is all of the line that follows.
    """
    plain = shown_name(line[:300].replace("\t", ": "))
    clock = _CLOCK.search(plain[: _CLOCK_WITHIN + 12])
    if clock is None or clock.start() > _CLOCK_WITHIN or plain.startswith("|"):
        # A row of a table in Markdown is none.
        return None
    before, after = plain[: clock.start()] + (clock[1] or ""), plain[clock.end() :]
    day = " ".join([*_DATE.findall(before), *_DATE.findall(after[:24])])
    first = _DATE.sub(" ", before).strip(_EDGES)
    if first.casefold().replace(".", "") in MARKERS:
        first = ""
    rest = (_DATE.sub(" ", after[:24], count=1) + after[24:]).lstrip(_EDGES.replace("(", ""))
    ends = _NAME_ENDS.search(rest[: _LONGEST_NAME + 2])
    if ends is not None:
        second = rest[: ends.start()]
    elif not rest or rest.startswith("("):
        second = shown_name(following[0]) if len(following) > 1 and len(following[0]) <= _LONGEST_LINE else ""
    else:
        second = rest if len(rest) <= _LONGEST_LINE else ""
    return day, _if_name(first), _if_name(second.strip(_EDGES))


def _if_name(words: str) -> str:
    named = len(words) <= _LONGEST_NAME and any(map(str.isalpha, words)) and _NO_NAME.isdisjoint(words)
    return words if named else ""
