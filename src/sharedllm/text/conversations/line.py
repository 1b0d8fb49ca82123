"""LINE, *Export chat history*: days as headings, and a line of time, name and text a message."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sharedllm.errors import TextError
from sharedllm.text.conversations.gathering import ATTACHMENTS, SYSTEM, Gathering, on_day, shown_name
from sharedllm.text.documents import Document

KIND = "LINE chat"
_HEAD = re.compile(r"\[LINE\] ?\S|Chat history (?:in|with) |\S.{0,80}とのトーク")
_DAY = re.compile(
    r"(?:[^\W\d]{2,9}\.?, )?(?:(\d{4})[./](\d{1,2})[./](\d{1,2})|(\d{1,2})/(\d{1,2})/(\d{4}))"
    r"(?: ?\([^()\n]{1,9}\)| \S{1,9})?"
)
_MESSAGE = re.compile(r"((?:[^\W\d]{1,4} ?)?)(\d{1,2}):(\d{2})(?: ?([AaPp])\.?[Mm]\.?)?\t([^\t\n]*)(?:\t(.*))?")
_UNPARTED = re.compile(r"\d\d:\d\d (\S+) \S.*")
_FEWEST, _SHARE = 6, 0.9
_AFTER_NOON = ("午後", "下午", "오후", "p", "P")
_PROGRAM = re.compile(
    r"\[[^\[\]\n]{1,24}\]|\((?:emoji|emoticon|null|絵文字|表情貼|表情贴|이모티콘|อิโมจิ)\)|☎ .{0,60}"
    r"|\W{1,4}(?:Missed call|Canceled call|No answer)",
    re.IGNORECASE,
)
"""What stands for a picture, a sticker or a call. Other words in round brackets, like (laughs), are somebody's own."""


def text_documents(source: str, text: str) -> list[Document] | None:
    """One document; None where a text is no chat as LINE saves it.

    Raises:
        TextError: it is one of its program for computers, which parts names from texts by spaces, as names have them.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if _is_unparted(lines):
        raise TextError(
            f"{source} is a {KIND} of a computer, in which nothing says where a name ends and the text begins",
            remedy="Export it on a telephone, or give your own messages alone, as plain text.",
        )
    if not any(_HEAD.match(line) for line in lines[:2]) or not any(_MESSAGE.fullmatch(line) for line in lines):
        return None
    read = Gathering()
    day: tuple[int, int, int] | None = None
    said: list[str] = []
    head: tuple[str, datetime | None] | None = None

    def end() -> None:
        if head is not None:
            _take(read, head[0], "\n".join(said), head[1])

    for line in lines:
        found = _MESSAGE.fullmatch(line)
        dated = _DAY.fullmatch(shown_name(line)) if found is None else None
        if found is None and dated is None:
            if head is None:
                read.leave_out(SYSTEM, line)
            else:
                said.append(line)
            continue
        end()
        head = None
        if dated is not None:
            year, month, number, other_month, other_number, other_year = dated.groups()
            day = int(year or other_year), int(month or other_month), int(number or other_number)
            read.leave_out(SYSTEM, line)
        elif found is not None and found[6] is None:
            read.leave_out(SYSTEM, found[5])
        elif found is not None:
            head, said = (shown_name(found[5]), _when(day, found)), [found[6]]
    end()
    return [read.document(source, KIND)]


def _is_unparted(lines: Sequence[str]) -> bool:
    """Whether it begins with a day, and nearly all lines with times go on with one of a few words: names, or of one."""
    first = next((line for line in lines[:6] if line.strip() and not _HEAD.match(line) and ":" not in line), "")
    words = Counter(found[1] for line in lines if (found := _UNPARTED.fullmatch(line)))
    told = sum(count for count in words.values() if count > 1)
    several = sum(count > 1 for count in words.values()) > 1
    return bool(_DAY.fullmatch(shown_name(first))) and several and told >= max(_FEWEST, _SHARE * words.total())


def _when(day: tuple[int, int, int] | None, found: re.Match[str]) -> datetime | None:
    half = found[1].strip() or found[4]
    return on_day(day, int(found[2]), int(found[3]), half in _AFTER_NOON if half else None)


def _take(read: Gathering, author: str, text: str, when: datetime | None) -> None:
    text = text.rstrip()
    if text.startswith('"') and text.endswith('"') and "\n" in text:
        # What has several lines stands in quotes.
        text = text[1:-1].replace('""', '"')
    if _PROGRAM.fullmatch(text):
        read.leave_out(ATTACHMENTS, text)
    elif author:
        read.say(author, text, when)
    else:
        read.leave_out(SYSTEM, text)
