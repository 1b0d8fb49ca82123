"""How one WhatsApp export spells when a message was written, decided from the whole file.

A phone writes dates as its owner's country does, so that there are dozens of spellings, but each export has one:
brackets or a dash, the order of day, month and year, twelve hours or twenty-four. A line that is spelled otherwise is
part of a message, and so is one whose time does not fit between those before and after it, for messages are in order.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import inf

from sharedllm.text.conversations.gathering import shown_name
from sharedllm.text.conversations.whatsapp_phrases import CALL, MARKERS, SYSTEM_VERBS

_LONGEST_HEAD = 60
_MARKS = dict.fromkeys([0xFEFF, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_PLAIN = (
    _MARKS
    | dict.fromkeys([0xA0, 0x2007, 0x2009, 0x200A, 0x202F, 0x3000], " ")
    | {
        zero + digit: str(digit)
        for zero in (0x660, 0x6F0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0x1040, 0xFF10)
        for digit in range(10)
    }
    | {0xFF1A: ":", 0xFF0F: "/", 0x60C: ",", 0x3001: ","}
)

_DATE = r"(\d{1,4}) ?([./\-]|년|年) ?(\d{1,2}) ?(?:[./\-]|월|月) ?(\d{1,4})(?:\.|일|日)?(?: ?г\.?| ?y\.)?"
_HOURLY = re.compile(r"\d ?h ?\d")
_TIME = r"(\d{1,2})(?:[:.]| ?h ?)(\d{2})(?:(?:[:.]| ?min ?)(\d{2})(?: ?s)?)?"
_MARKER = r"([^\W\d](?:[^\d\[\]:,\-–]{0,13}[^\s\d\[\]:,\-–])?)"
_DATE_FIRST = (
    rf"{_DATE}(?:,? (?:klo|kl\.|às|as|um|at|alle(?: ore)?|a las?|о|в|à|od)? ?|,)(?:{_MARKER} ?)?{_TIME}(?: ?{_MARKER})?"
)
_TIME_FIRST = rf"{_TIME}(?: ?{_MARKER})?,? {_DATE}"
_HEAD = re.compile(
    rf"(\[)?(?:{_DATE_FIRST}|{_TIME_FIRST})(?(1)\](?: |$)|(?: ([-–—])(?: |$)|(:) ))",
)
COLON = re.compile(r":(?:[ \u00a0\u202f]|$)")
_NAMED_MONTH = re.compile(
    r"(\[)?(?:(\d{1,2})\.? (?:de )?([^\W\d]{3,10})\.?,? (?:de )?(\d{4}|\d\d)(?!\d)"
    r"|([^\W\d]{3,10})\.? (\d{1,2}),? (\d{4})(?!\d))"
)
_MONTHS = (
    "jan ene gen янв",
    "feb fev fév фев",
    "mar mär mrt maa мар",
    "apr abr avr апр",
    "may mai mei mag maj май",
    "jun giu juin июн",
    "jul lug juil июл",
    "aug ago aoû авг",
    "sep set сен",
    "oct okt ott out окт",
    "nov ноя",
    "dec dez dic déc дек",
)
_MONTH_OF = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
"""Months by how their names begin."""

_FIRST_YEAR, _LAST_YEAR = 2009, 2060
_DAY = 86_400
_HOUR = 3_600
_LONGEST_NAME = 100
_FEW = 0.1
"""Lines out of order, of all, up to which they are taken for pasted ones; beyond, the export itself is out of order."""


@dataclass(frozen=True)
class Stamp:
    """A line that begins as a message does.

    Attributes:
        line: its number.
        numbers: of the date, in the order in which they stand.
        time: hours, as they stand, minutes and seconds.
        marker: what says which half of the day it is; empty where nothing does.
        american: it is spelled as in the United States.
        shape: what all heads of one export share.
        end: characters of the line before what was written.
    """

    line: int
    numbers: tuple[int, int, int]
    time: tuple[int, int, int]
    marker: str
    american: bool
    shape: tuple[object, ...]
    end: int


@dataclass(frozen=True)
class Spelling:
    """What was decided from the whole file.

    Attributes:
        heads: the lines that begin messages, in order.
        times: when each was written; None where the calendar is another one.
        strays: lines that are spelled like them, and cannot be: they are out of order.
        doubts: what could not be decided.
    """

    heads: tuple[Stamp, ...]
    times: tuple[datetime | None, ...]
    strays: frozenset[int]
    doubts: tuple[str, ...]


def stamp_of(number: int, line: str) -> Stamp | None:
    """What a line begins with, if that is a date and a time as some phone writes them before a message."""
    plain = line[:_LONGEST_HEAD].translate(_PLAIN)
    if not plain or not (plain[0] == "[" or plain[0].isdigit() or plain[:3].casefold() in _MONTH_OF):
        return None
    spelled = _in_numbers(plain)
    found = _HEAD.match(spelled)
    if found is None:
        return None
    bracket, *rest, dash, colon = found.groups()
    if rest[0] is not None:
        first, sign, second, third, before, hours, minutes, seconds, after = rest[:9]
    else:
        hours, minutes, seconds, after, first, sign, second, third = rest[9:]
        before = None
    half = before or after or ""
    american = sign == "/" and half in ("AM", "PM") and len(third) == 2 and min(len(first), len(second)) == 1
    marker = half.lower().replace(".", "").replace(" ", "")
    if int(hours) > 23 or int(minutes) > 59 or int(seconds or 0) > 59 or (marker in MARKERS and int(hours) > 12):
        return None
    place = "before" if before else "after" if after else ""
    end = found.end()
    until = end + len(plain) - len(spelled)
    end = min(end, until)
    kept = len(line[:end].translate(_MARKS))
    while kept < until and end < len(line):
        kept += line[end : end + 1].translate(_MARKS) != ""
        end += 1
    year = 0 if len(first) == 4 else 2 if len(third) == 4 else 1
    hourly = _HOURLY.search(found[0]) is not None
    shape = (bracket, bool(dash), (colon, hourly), sign, seconds is None, place, year, rest[0] is not None)
    time = int(hours), int(minutes), int(seconds or 0)
    return Stamp(number, (int(first), int(second), int(third)), time, marker, american, shape, end)


def _in_numbers(plain: str) -> str:
    """A line with the month of its date as a number, as phones wrote it once: ``13 Mar 2024`` and ``Mar 13, 2024``."""
    found = _NAMED_MONTH.match(plain)
    if found is None:
        return plain
    bracket, day, name, year, other_name, other_day, other_year = found.groups()
    month = _MONTH_OF.get((name or other_name)[:4].casefold()) or _MONTH_OF.get((name or other_name)[:3].casefold())
    year = year or other_year
    if month is None:
        return plain
    return f"{bracket or ''}{year if len(year) == 4 else '20' + year}/{month}/{day or other_day}{plain[found.end() :]}"


def decide(lines: Sequence[str]) -> Spelling | None:
    """How a file spells its times; None where it does not look like such a file."""
    found = [head for number, line in enumerate(lines) if (head := stamp_of(number, line))]
    if not found:
        return None
    shape, count = Counter(head.shape for head in found).most_common(1)[0]
    heads = [head for head in found if head.shape == shape]
    order, doubts = _order(heads)
    if order is None:
        return None
    days = [_day(head, order) for head in heads]
    known = [(head, day) for head, day in zip(heads, days, strict=True) if day is not None]
    if len(known) < count * 0.9:
        return None
    clock = [_clock(head) for head, _ in known]
    strange = {head.marker for head, _ in known} - MARKERS.keys() - {""}
    if strange and all(head.time[0] <= 12 for head, _ in known):
        doubts.append(f"Which half of the day {sorted(strange)[0]!r} is could not be decided.")
    keys = [_key(day, seconds) for (_, day), seconds in zip(known, clock, strict=True)]
    kept = _in_order(keys, [lines[head.line][head.end :] for head, _ in known])
    strays = frozenset(head.line for (head, _), keep in zip(known, kept, strict=True) if not keep)
    heads, times = [], []
    for (head, day), seconds, keep in zip(known, clock, kept, strict=True):
        if keep:
            heads.append(head)
            times.append(_time(day, seconds))
    if not heads:
        return None
    if any(time is None for time in times):
        doubts.append("Its dates are of another calendar than the Gregorian, and are not told.")
        times = [None] * len(times)
    lost = frozenset(head.line for head, day in zip(found, days, strict=False) if day is None)
    return Spelling(tuple(heads), tuple(times), strays | lost, tuple(dict.fromkeys(doubts)))


def _order(heads: Sequence[Stamp]) -> tuple[tuple[int, int, int] | None, list[str]]:
    """Where day, month and year stand among three numbers: as positions, in this order; None if nowhere."""
    place = heads[0].shape[-2]
    orders = {0: [(2, 1, 0)], 2: [(0, 1, 2), (1, 0, 2)], 1: [(0, 1, 2), (1, 0, 2), (2, 1, 0)]}[place]  # type: ignore[index]
    judged = []
    for order in orders:
        days = [_day(head, order) for head in heads]
        known = [day for day in days if day is not None]
        if len(known) < len(days) * 0.9 or not known:
            continue
        numbers = [(year * 12 + month) * 31 + day for year, month, day in known]
        back = sum(later < earlier for earlier, later in pairwise(numbers))
        judged.append((len(days) - len(known) + back, max(numbers) - min(numbers), order, days))
    if not judged:
        return None, []
    fewest = min(judged, key=lambda each: each[0])[0]
    best = [each for each in judged if each[0] == fewest]
    if len(best) == 1:
        return best[0][2], []
    distinct = len({head.numbers for head in heads})
    best.sort(key=lambda each: each[1])
    if distinct >= 4 and best[0][1] * 8 < best[1][1]:
        return best[0][2], []
    # Only in East Asia a year of two digits goes before the month.
    eastern = any("\u3000" <= sign <= "\ud7ff" for head in heads for sign in head.marker)
    best = [each for each in best if (each[2] == (2, 1, 0)) == eastern] or best
    if heads[0].shape[3] == "." and not eastern:
        return (0, 1, 2), []  # Nobody writes the month first and dots.
    usual = (1, 0, 2) if any(head.american for head in heads) else (0, 1, 2)
    taken = next((each for each in best if each[2] == usual), best[0])
    other = next((each for each in best if each[3] != taken[3]), None)
    if other is None:
        return taken[2], []
    at = next(place for place, day in enumerate(taken[3]) if day != other[3][place])
    shown = "/".join(f"{number:02}" for number in heads[at].numbers)
    return taken[2], [
        f"Whether {shown} is {_said(taken[3][at])} or {_said(other[3][at])} cannot be decided from this file: it was "
        f"read as {_said(taken[3][at])}."
    ]


def _said(day: tuple[int, int, int] | None) -> str:
    return "no date" if day is None else f"{day[2]} {datetime(2000, day[1], 1):%B} {day[0]}"


def _day(head: Stamp, order: tuple[int, int, int]) -> tuple[int, int, int] | None:
    day, month, year = (head.numbers[place] for place in order)
    if year < 100:
        year += 2000
    if 2400 < year < 2700:
        year -= 543  # Of the Buddhist calendar, whose months are the same.
    another = 1350 < year < 1500
    if not (1 <= month <= 12 and 1 <= day <= 32 and (another or _FIRST_YEAR <= year <= _LAST_YEAR)):
        return None
    if not another:
        try:
            datetime(year, month, day)
        except ValueError:
            return None
    return year, month, day


def _clock(head: Stamp) -> int:
    hours, minutes, seconds = head.time
    if head.marker in MARKERS:
        noon = head.marker == "中午" and hours == 11
        hours = hours % 12 + (0 if noon else MARKERS[head.marker])
    return hours * 3600 + minutes * 60 + seconds


def _key(day: tuple[int, int, int] | None, seconds: int) -> int:
    year, month, number = day or (0, 0, 0)
    return ((year * 12 + month) * 32 + number) * _DAY + seconds


def _time(day: tuple[int, int, int] | None, seconds: int) -> datetime | None:
    if day is None or day[0] < _FIRST_YEAR:
        return None
    return datetime(*day, seconds // 3600, seconds // 60 % 60, seconds % 60)


def _in_order(keys: Sequence[int], texts: Sequence[str]) -> list[bool]:
    """Which lines begin messages, by their times.

    Those of people who wrote several give the order: the longest run of them that never goes back. The others of theirs
    may be a day early, for a phone that was off gets messages late, and an hour late, for clocks are put back. A line
    that is of nobody has to fit, or to say what WhatsApp says: it may be of a list of dates. After the last of those
    messages only the latter tells it from a list.
    """
    authors = [split(text)[0] for text in texts]
    counts = Counter(authors)
    counts[None] = 0
    several = 2 if any(count > 1 for count in counts.values()) else 1
    trusted = [counts[author] >= several for author in authors]
    run = _longest_run([at for at, trust in enumerate(trusted) if trust], keys)
    kept = [False] * len(keys)
    for at in run:
        kept[at] = True
    above: list[float] = [inf] * len(keys)
    high = inf
    for at in range(len(keys) - 1, -1, -1):
        high = keys[at] if kept[at] else high
        above[at] = high
    low = -inf
    strays = []
    for at, key in enumerate(keys):
        if kept[at]:
            low = key
        elif low - _DAY <= key <= above[at] + _HOUR:
            fits = low <= key <= above[at] < inf
            told = low - _HOUR <= key and _is_told(texts[at])
            kept[at] = authors[at] is not None or fits or told
        elif trusted[at]:
            strays.append(at)
    if len(strays) > sum(trusted) * _FEW:
        for at in strays:
            kept[at] = True
    return kept


def _is_told(text: str) -> bool:
    """Whether a line that is of nobody says what WhatsApp says."""
    return SYSTEM_VERBS.search(text) is not None or CALL.fullmatch(text.strip(" .\u200e").casefold()) is not None


def _longest_run(chosen: Sequence[int], keys: Sequence[int]) -> list[int]:
    """The longest subsequence of ``chosen`` whose keys never go back."""
    tails: list[int] = []
    ends: list[int] = []
    before: dict[int, int] = {}
    for at in chosen:
        place = bisect_right(tails, keys[at])
        if place:
            before[at] = ends[place - 1]
        tails[place : place + 1] = [keys[at]]
        ends[place : place + 1] = [at]
    run = ends[-1:]
    while run and run[-1] in before:
        run.append(before[run[-1]])
    return run[::-1]


def split(body: str) -> tuple[str | None, str]:
    """Author and text of what stands after a time; no author where it is a system line."""
    first = body.split("\n", 1)[0]
    found = COLON.search(first)
    if found is None or found.start() > _LONGEST_NAME:
        return None, body
    name = shown_name(first[: found.start()])
    return (name, body[found.end() :]) if name else (None, body)
