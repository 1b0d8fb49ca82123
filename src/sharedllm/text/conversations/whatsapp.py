"""WhatsApp, *Export chat*: a text with a line a message, and more where a message has more."""

import re
from collections import Counter
from collections.abc import Container, Sequence
from datetime import datetime

from sharedllm.text.conversations import whatsapp_deletions as deletions
from sharedllm.text.conversations import whatsapp_phrases as phrases
from sharedllm.text.conversations.gathering import ATTACHMENTS, DELETED, PASTED, POLLS, SYSTEM, Gathering, shown_name
from sharedllm.text.conversations.names import kept, parted
from sharedllm.text.conversations.whatsapp_spelling import COLON, Spelling, decide, split, stamp_of
from sharedllm.text.documents import Document

KIND = "WhatsApp chat"

_LINE_ENDS = re.compile("\r\n?")
_ISOLATES = dict.fromkeys([0x2068, 0x2069])
_MOST_ONCE = 12
_SHORTEST_NOTE, _LONGEST_NOTE = 14, 250
_LONGEST_NOTICE = 600
_FIRST = 4
"""Messages among which WhatsApp says that they are encrypted: later on people may speak of that."""

_LRM = "\u200e"
_MARKS = (_LRM, "\u200f")
"""One of which, by the direction of its language, iOS puts before what WhatsApp wrote."""

_EDGES = "\u200e\u200f\u202a\u202c \u00a0\u202f\t\n\r"
_LEVELS = re.compile(r"(?:INFO|DEBUG|TRACE|WARN|WARNING|ERROR|FATAL|CRITICAL|NOTICE)\b", re.IGNORECASE)
_CLOCK = r"(?:[^\W\d]{1,4} ?)?\d{1,2}(?:[:.]|\s?h\s?)\d{2}(?:[:.]\d{2})?(?:[ \u00a0\u202f]?[^\W\d][^\[\]:]{0,6})?"
_DAY = r"\d{1,4}[./\-] ?\d{1,2}(?:\.|[./\-] ?\d{2,4}\.?)?"
_COPIED = re.compile(
    rf"\[(?:{_DAY},? (?:klo )?{_CLOCK}|{_CLOCK}, {_DAY})\] ?[^\n]{{1,80}}?:(?: |$)"
    rf"|^[^\n]{{1,60}}, \[{_DAY},? {_CLOCK}\]:?\s{{0,9}}$"
)
"""A line as WhatsApp and Telegram put it on the clipboard when messages are copied, the former anywhere in a line."""

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
    said, doubts = parted(
        bodies,
        COLON,
        other=other_by_name(source),
        is_notice=_is_notice,
        tells=phrases.SYSTEM_VERBS.search,
        stands_for=_stands_for,
    )
    texts = [each.text for each in said if each.author]
    marks = _marks_programs(texts, on_ios=spelling.heads[0].shape[0] is not None)
    edits = _marks_of_edits(texts)
    owner: set[str] = set()
    for number, author, whole in kept(read, said):
        body, mark = _without_mark_of_edit(whole, edits)
        read.leave_out(SYSTEM, mark)
        _take(read, author, body, spelling.times[number], number, owner, marks)
    me = owner.pop() if len(owner) == 1 else None
    return [read.document(source, KIND, me=me, doubts=[*spelling.doubts, *doubts])]


def other_by_name(path: str) -> str | None:
    """Whom, or which group, a chat is with, by what WhatsApp calls its file; None where a path does not tell."""
    for part in reversed(path.split("/")):
        stem = re.sub(r"(?:\.(?:txt|zip))+$", "", part.strip(), flags=re.IGNORECASE)
        stem = re.sub(r" ?\(\d+\)$", "", stem)
        if found := phrases.NAMED.fullmatch(shown_name(stem)):
            return next(group for group in found.groups() if group)
    return None


def _is_chat(lines: Sequence[str], spelling: Spelling) -> bool:
    """Whether people write in it: a log has levels for authors, a diary none, and a long list another for each line.

    A short one is taken for a chat: what is taken for no chat is taken for one person's words.
    """
    authors = Counter(author for head in spelling.heads if (author := split(lines[head.line][head.end :])[0]))
    said = sum(authors.values())
    levels = sum(count for author, count in authors.items() if _LEVELS.match(author))
    return said * 4 >= len(spelling.heads) and levels * 2 <= said and len(authors) <= said / 2 + _MOST_ONCE


def _bodies(lines: Sequence[str], spelling: Spelling, read: Gathering) -> list[str]:
    """What stands after each head, up to the next, without chats that were pasted in."""
    starts = [head.line for head in spelling.heads]
    read.leave_out(SYSTEM, "\n".join(lines[: starts[0]]).strip())
    authors = {split(lines[head.line][head.end :])[0] for head in spelling.heads}
    bodies = []
    for head, end in zip(spelling.heads, [*starts[1:], len(lines)], strict=True):
        first = lines[head.line][head.end :]
        author, said = split(first)
        if author is not None and _is_pasted_first(said, authors):
            read.leave_out(PASTED, "\n".join([said, *lines[head.line + 1 : end]]))
            bodies.append(first.removesuffix(said))
            continue
        own = [first]
        for number in range(head.line + 1, end):
            if _is_pasted(lines[number], number, spelling, authors):
                read.leave_out(PASTED, "\n".join(lines[number:end]))
                break
            own.append(lines[number])
        bodies.append("\n".join(own))
    return bodies


def _is_pasted_first(said: str, authors: set[str | None]) -> bool:
    """Whether a line of a chat is on the first of a message: it was copied, and is of whom it names."""
    if _COPIED.search(said):
        return True
    head = stamp_of(0, said)
    return head is not None and (author := split(said[head.end :])[0]) is not None and author in authors


def _is_pasted(line: str, number: int, spelling: Spelling, authors: set[str | None]) -> bool:
    """Whether a line within a message is one of another chat, or of another place of this one, and of no list."""
    if "[" in line and _COPIED.search(line):
        return True
    if not line or not (line[0].isdigit() or line[0] in "[\u200e\u200f"):
        return False
    head = stamp_of(number, line)
    # A time and a colon, as only old phones wrote it, is rather how somebody begins a line of their own.
    if head is None or (head.shape[2] is not None and number not in spelling.strays):
        return False
    author, _ = split(line[head.end :])
    listed = number in spelling.strays and head.shape[0] is None and author not in authors
    return author is not None and not listed


def _is_notice(name: str, known: Container[str | None]) -> bool:
    """Whether what stands before a colon begins what WhatsApp tells, like ``Ann changed the name to "A``."""
    if len(_QUOTES.findall(name)) % 2:
        return True
    begins = any(name[:at] in known for at, sign in enumerate(name) if sign == " ")
    return begins and phrases.SYSTEM_VERBS.search(name) is not None


def _marks_programs(texts: Sequence[str], *, on_ios: bool) -> tuple[str, ...]:
    """The marks of direction before a text that say that WhatsApp wrote it, as on iOS: those that stand not everywhere.

    A mark to the right may be somebody's own on other telephones.
    """
    found = []
    for mark in _MARKS[: 2 if on_ios else 1]:
        marked = sum(text.startswith(mark) for text in texts)
        if marked < 0.6 * len(texts) or len(texts) < 20:
            found.append(mark)
    return tuple(found)


def _take(
    read: Gathering, author: str, body: str, when: datetime | None, number: int, owner: set[str], marks: tuple[str, ...]
) -> None:
    marked = body.startswith(marks)
    body = body.strip(_EDGES)
    first, _, rest = body.partition("\n")
    first = first.strip(_EDGES)
    plain = first.casefold().strip(" .🚫ⓘ\ufe0f") if len(first) <= _LONGEST_NOTE else ""
    if not rest and plain in deletions.DELETED_BY_OWNER:
        owner.add(author)
        read.leave_out(DELETED, body)
    elif not rest and (plain in deletions.DELETED or deletions.DELETED_BY_ADMIN.fullmatch(plain)):
        read.leave_out(DELETED, body)
    elif plain and rest and _is_poll(first, rest):
        read.leave_out(POLLS, body)
    elif plain and _stands_for_a_file(first, marked):
        read.leave_out(ATTACHMENTS, first)
        _say_caption(read, author, rest, when)
    elif "<" in body and (tags := phrases.ATTACHED_TAG.findall(body)):
        for tag in tags:
            read.leave_out(ATTACHMENTS, tag)
        left = phrases.ATTACHED_TAG.sub("", body).strip(_EDGES)
        # A document's name and pages come before it.
        if " • " in left and _LRM in left:
            read.leave_out(ATTACHMENTS, left)
        else:
            read.say(author, left, when)
    elif marked or _is_of_the_program(body, plain if not rest else "", number):
        read.leave_out(SYSTEM, body)
    else:
        read.say(author, body.translate(_ISOLATES), when)


def _is_of_the_program(body: str, plain: str, number: int) -> bool:
    if number < _FIRST and phrases.NOTICE.search(body[:_LONGEST_NOTICE]):
        return True
    return plain != "" and (phrases.CALL.fullmatch(plain) or phrases.OTHER.fullmatch(plain)) is not None


def _is_poll(first: str, rest: str) -> bool:
    known = phrases.POLL.fullmatch(first) and any(map(phrases.OPTION.match, rest.split("\n")))
    return bool(known) or phrases.VOTES.fullmatch(f"{first}\n{rest}") is not None


def _marks_of_edits(texts: Sequence[str]) -> Container[str]:
    """What ends two messages and more of which it is not all, in brackets: what is said of edits in any language."""
    tags = Counter(_end_in_tags(text)[1] for text in texts)
    long = (tag for tag, count in tags.items() if count > 1 and len(tag) >= _SHORTEST_NOTE)
    return {tag for tag in long if phrases.IN_TAGS.fullmatch(tag)}


def _without_mark_of_edit(body: str, known: Container[str]) -> tuple[str, str]:
    """A text and what stands after it if it was edited."""
    text, tag = _end_in_tags(body)
    if not tag or not (tag in known or phrases.EDITED.fullmatch(f"{text[-1:]}{tag}".lstrip())):
        return body, ""
    return text.removesuffix(_LRM), tag


def _end_in_tags(text: str) -> tuple[str, str]:
    """A text before and in the brackets that it ends with; nothing in them where it ends otherwise, or is no more."""
    end = text.rstrip()
    start = end.rfind("<", -_LONGEST_NOTE) if end.endswith(">") else -1
    return (end[:start], end[start:]) if start >= 0 and end[:start].strip(_EDGES) else (text, "")


def _stands_for(text: str) -> bool:
    text = text.strip(_EDGES)
    tag = phrases.ATTACHED_TAG.search(text)
    return phrases.OTHER.fullmatch(text) is not None or (tag is not None and ":" not in text[: tag.start()])


def _stands_for_a_file(line: str, marked: bool) -> bool:
    # On iOS a document that was left out has its name and its pages before that, set apart by marks.
    named, mark, said = line.rpartition(_LRM)
    if mark and phrases.OMITTED.fullmatch(said) and re.match(phrases.FILE, named):
        return True
    if phrases.IN_TAGS.fullmatch(line) or phrases.OMITTED.fullmatch(line) or phrases.WHATSAPP_FILE.match(line):
        return True
    name, found, note = line.rpartition(" (")
    if not found:
        return line.endswith(".vcf")
    note = note.removesuffix(")").casefold()
    return phrases.FILE.fullmatch(name) is not None and (marked or note.startswith(phrases.FILE_ATTACHED))


def _say_caption(read: Gathering, author: str, text: str, when: datetime | None) -> None:
    """What stands below a file: its caption, or once more its name."""
    if phrases.FILE.fullmatch(text.strip(_EDGES)):
        read.leave_out(ATTACHMENTS, text)
    else:
        read.say(author, text.translate(_ISOLATES), when)
