"""iMessage, as *imessage-exporter* writes a chat as text: a line of time, a line of who wrote, and what they wrote."""

import re
from datetime import datetime

from sharedllm.text.conversations.gathering import ATTACHMENTS, DELETED, QUOTED, SYSTEM, Gathering, shown_name
from sharedllm.text.documents import Document

KIND = "iMessage chat"
_ME = "Me"
_TIME = r"([A-Z][a-z]{2} \d{2}, \d{4} +\d{1,2}:\d{2}:\d{2} [AP]M)"
_HEAD = re.compile(rf"( *){_TIME}(?: \([^()\n]{{1,120}}\))?")
_TOLD = re.compile(rf" *{_TIME} \S.*")
_ASIDE = re.compile(
    r"This message responded to an earlier message\.|Sent with (?:Confetti|Echo|Fireworks|Balloons|Hearts?|Lasers"
    r"|Shooting Star|Sparkles|Spotlight|Slam|Loud|Gentle|Invisible Ink)"
    r"|(?:(?![^\n]{0,200}://)[^\s](?:[^\n]{0,200}/)?)?[Aa]ttachments/[^\n]{1,200}|Attachment missing!"
)
_EDITED = re.compile(r"Edited \d.{0,39} later: (.*)")
"""The next version of a message, below the one before."""

_REACTIONS = re.compile(r" *(?:Tapbacks|Reactions):")
_REACTION = re.compile(r" *(?:\S.{0,30} by .{1,80}|Sticker from .{1,200})")
"""A line below the former, where alone it is one: people write *drop by tomorrow* as well."""

_GONE = re.compile(
    r".{1,80} (?:unsent|deleted) (?:a|this) message.{0,80}|This message was deleted from the conversation!"
)


def text_documents(source: str, text: str) -> list[Document] | None:
    """One document; None where a text is no chat as that program writes it.

    Answers stand once more, further in, below what they answer: there they are left out.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    begins = _HEAD.fullmatch(lines[0]) or _TOLD.fullmatch(lines[0])
    if not begins or not any(map(_HEAD.fullmatch, lines[:40])):
        return None
    read = Gathering()
    heads = [number for number, line in enumerate(lines) if _HEAD.fullmatch(line) or _TOLD.fullmatch(line)]
    for begin, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        head = _HEAD.fullmatch(lines[begin])
        if head is None:
            read.leave_out(SYSTEM, "\n".join(lines[begin:end]).strip())
        elif head[1] or begin + 1 == end:
            read.leave_out(QUOTED, "\n".join(lines[begin:end]).strip())
        else:
            _take(read, shown_name(lines[begin + 1]), lines[begin + 2 : end], _when(head[2]))
    return [read.document(source, KIND, me=read.owner(_ME))]


def _take(read: Gathering, author: str, lines: list[str], when: datetime | None) -> None:
    said: list[str] = []
    reacted = False
    for line in lines:
        reacted = _REACTIONS.fullmatch(line) is not None or (reacted and _REACTION.fullmatch(line) is not None)
        if reacted:
            read.leave_out(SYSTEM, line)
        elif edited := _EDITED.fullmatch(line):
            read.leave_out(DELETED, "\n".join(said))
            said = [edited[1]]
        elif _GONE.fullmatch(line):
            read.leave_out(DELETED, line)
        elif _ASIDE.fullmatch(line):
            read.leave_out(ATTACHMENTS if "ttachment" in line else SYSTEM, line)
        else:
            said.append(line)
    if author:
        read.say(author, "\n".join(said), when)
    else:
        read.leave_out(SYSTEM, "\n".join(said))


def _when(spelled: str) -> datetime | None:
    try:
        return datetime.strptime(" ".join(spelled.split()), "%b %d, %Y %I:%M:%S %p")
    except ValueError:
        return None
