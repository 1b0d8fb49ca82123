"""WhatsApp, *Export chat*: a text with a line a message, and more where a message has more."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sharedllm.text.conversations import whatsapp_phrases as phrases
from sharedllm.text.conversations.gathering import ATTACHMENTS, DELETED, POLLS, SYSTEM, Gathering, shown_name
from sharedllm.text.conversations.whatsapp_spelling import Spelling, decide, stamp_of
from sharedllm.text.documents import Document

KIND = "WhatsApp chat"
PASTED = "pasted chats"

_LONGEST_NAME = 100
_LINE_ENDS = re.compile("\r\n?")
_COLON = re.compile(r":(?:[ \u00a0\u202f]|$)")
_ISOLATES = dict.fromkeys([0x2068, 0x2069])
_LRM = "\u200e"
_EDGES = "\u200e\u200f\u202a\u202c \u00a0\u202f\t\n\r"
_LEVELS = re.compile(r"(?:INFO|DEBUG|TRACE|WARN|WARNING|ERROR|FATAL|CRITICAL|NOTICE)\b", re.IGNORECASE)
_CLOCK = r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[ \u202f]?[AaPp]\.?[ \u00a0\u202f]?[Mm]\.?)?"
_DAY = r"\d{1,4}[./\-]\d{1,2}(?:[./\-]\d{2,4})?"
_COPIED = re.compile(
    rf"\[(?:{_DAY},? {_CLOCK}|{_CLOCK}, {_DAY})\] ?[^\n]{{1,80}}?: |[^\n]{{1,60}}, \[{_DAY},? {_CLOCK}\]:?\s*$"
)
"""A line as WhatsApp and Telegram put it on the clipboard when messages are copied."""

_QUOTES = re.compile('["“”„«»]')


def text_documents(source: str, text: str) -> list[Document] | None:
    """One document; None where a text does not begin with a message, or its spelling cannot be decided."""
    lines = _LINE_ENDS.sub("\n", text).split("\n")
    if not any(stamp_of(0, line) for line in lines[:6]):
        return None
    spelling = decide(lines)
    if spelling is None or not _is_chat(lines, spelling):
        return None
    read = Gathering()
    bodies = _bodies(lines, spelling, read)
    split = [_split(body) for body in bodies]
    names = _whole_names(split)
    marks = _marks_programs([text for author, text in split if author])
    owner: set[str] = set()
    for number, ((author, body), when) in enumerate(zip(names, spelling.times, strict=True)):
        if author is None:
            read.leave_out(SYSTEM, body)
        else:
            _take(read, author, body, when, number, owner, marks)
    me = owner.pop() if len(owner) == 1 else None
    return [read.document(source, KIND, me=me, doubts=spelling.doubts)]


def other_by_name(path: str) -> str | None:
    """Whom, or which group, a chat is with, by what WhatsApp calls its file; None where a path does not tell."""
    for part in reversed(path.split("/")):
        stem = re.sub(r"(?:\.(?:txt|zip))+$", "", part.strip(), flags=re.IGNORECASE)
        stem = re.sub(r" ?\(\d+\)$", "", stem)
        if found := phrases.NAMED.fullmatch(shown_name(stem)):
            return next(group for group in found.groups() if group)
    return None


def _is_chat(lines: Sequence[str], spelling: Spelling) -> bool:
    """Whether people write in it: a log has levels for authors, a diary none, and a list another for each line."""
    authors = Counter(author for head in spelling.heads if (author := _split(lines[head.line][head.end :])[0]))
    said = sum(authors.values())
    levels = sum(count for author, count in authors.items() if _LEVELS.match(author))
    return said * 4 >= len(spelling.heads) and levels * 2 <= said and len(authors) <= said / 2 + 2


def _bodies(lines: Sequence[str], spelling: Spelling, read: Gathering) -> list[str]:
    """What stands after each head, up to the next, without chats that were pasted in."""
    starts = [head.line for head in spelling.heads]
    read.leave_out(SYSTEM, "\n".join(lines[: starts[0]]).strip())
    authors = {_split(lines[head.line][head.end :])[0] for head in spelling.heads}
    bodies = []
    for head, end in zip(spelling.heads, [*starts[1:], len(lines)], strict=True):
        own = [lines[head.line][head.end :]]
        for number in range(head.line + 1, end):
            if _is_pasted(lines[number], number, spelling, authors):
                read.leave_out(PASTED, "\n".join(lines[number:end]))
                break
            own.append(lines[number])
        bodies.append("\n".join(own))
    return bodies


def _is_pasted(line: str, number: int, spelling: Spelling, authors: set[str | None]) -> bool:
    """Whether a line within a message is one of another chat, or of another place of this one."""
    if not line or not (line[0].isdigit() or line[0] in "[\u200e\u200f" or line.rstrip().endswith(("]", "]:"))):
        return False
    if _COPIED.match(line):
        return True
    head = stamp_of(number, line)
    if head is None:
        return False
    author, _ = _split(line[head.end :])
    return author is not None and (head.shape[0] is not None or author in authors)


def _split(body: str) -> tuple[str | None, str]:
    """Author and text; no author where it is a system line."""
    first = body.split("\n", 1)[0]
    found = _COLON.search(first)
    if found is None or found.start() > _LONGEST_NAME:
        return None, body
    name = shown_name(first[: found.start()])
    return (name, body[found.end() :]) if name else (None, body)


def _whole_names(split: Sequence[tuple[str | None, str]]) -> list[tuple[str | None, str]]:
    """The same with names that hold a colon put together, and without system lines that only look like a message.

    ``Work: Bob: hello`` is of *Work: Bob* if whatever *Work* wrote begins so; ``Ann changed the subject to "A: b"`` is
    of nobody.
    """
    counts = Counter(author for author, _ in split)
    rests: dict[str, Counter[str | None]] = {}
    for author, text in split:
        if author is not None:
            rests.setdefault(author, Counter())[_split(text)[0]] += 1
    longer = {
        author
        for author, found in rests.items()
        if None not in found and counts[author] >= 3 and len(found) <= counts[author] / 3
    }
    known = [author for author, count in counts.items() if author and count > 2]
    whole: list[tuple[str | None, str]] = []
    for author, text in split:
        if author in longer:
            rest, said = _split(text)
            whole.append((f"{author}: {rest}", said))
        elif author and counts[author] <= 2 and _is_notice(author, known):
            whole.append((None, f"{author}: {text}"))
        else:
            whole.append((author, text))
    return whole


def _is_notice(name: str, known: Sequence[str]) -> bool:
    if len(_QUOTES.findall(name)) % 2:
        return True
    return any(name.startswith(f"{each} ") for each in known) and phrases.SYSTEM_VERBS.search(name) is not None


def _marks_programs(texts: Sequence[str]) -> bool:
    """Whether a left-to-right mark before a text says that WhatsApp wrote it, as on iOS, or stands everywhere."""
    marked = sum(text.startswith(_LRM) for text in texts)
    return marked < 0.6 * len(texts) or len(texts) < 20


def _take(
    read: Gathering, author: str, body: str, when: datetime | None, number: int, owner: set[str], marks: bool
) -> None:
    edited = phrases.EDITED.search(body)
    if edited:
        read.leave_out(SYSTEM, edited[0].strip(_EDGES))
        body = body[: edited.start()]
    marked = marks and body.startswith(_LRM)
    body = body.strip(_EDGES)
    first, _, rest = body.partition("\n")
    first = first.strip(_EDGES)
    plain = first.casefold().strip(" .🚫ⓘ\ufe0f")
    if not rest and plain in phrases.DELETED_BY_OWNER:
        owner.add(author)
        read.leave_out(DELETED, body)
    elif not rest and plain in phrases.DELETED:
        read.leave_out(DELETED, body)
    elif phrases.POLL.fullmatch(first) and any(phrases.OPTION.fullmatch(line.strip()) for line in rest.split("\n")):
        read.leave_out(POLLS, body)
    elif phrases.ATTACHED_FILE.fullmatch(first) or (marked and re.fullmatch(r".+\.\w{2,5} \([^()\n]+\)", first)):
        read.leave_out(ATTACHMENTS, first)
        read.say(author, rest, when)
    elif tags := phrases.ATTACHED_TAG.findall(body):
        for tag in tags:
            read.leave_out(ATTACHMENTS, tag)
        left = phrases.ATTACHED_TAG.sub("", body).strip(_EDGES)
        # A document's name and pages come before it.
        if " • " in left and _LRM in left:
            read.leave_out(ATTACHMENTS, left)
        else:
            read.say(author, left, when)
    elif phrases.IN_TAGS.fullmatch(body) or phrases.OMITTED.fullmatch(plain):
        read.leave_out(ATTACHMENTS, body)
    elif (
        marked
        or phrases.CALL.fullmatch(plain)
        or phrases.OTHER.fullmatch(body.casefold())
        or (number < 4 and phrases.NOTICE.fullmatch(body))
    ):
        read.leave_out(SYSTEM, body)
    else:
        read.say(author, body.translate(_ISOLATES), when)
