"""Text messages of Android, as *SMS Backup & Restore* writes them: XML with an element a message."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from sharedllm.text.conversations.gathering import ATTACHMENTS, Gathering, moment, shown_name
from sharedllm.text.documents import Document
from sharedllm.text.readers.archive_parts import elements, local
from sharedllm.text.readers.found import whole

_CHAT = "text messages"
_ME = "Me"
_OWNERS = ("2", "3", "4", "5", "6")
"""Types of what was sent, of drafts, and of what is not sent yet or could not be."""

_UNNAMED = ("", "null", "(Unknown)")
_HALF = rb"&#(55(?:29[6-9]|[3-9]\d\d)|56\d{3}|57(?:[0-2]\d\d|3[0-3]\d|34[0-3])|[xX][dD][89a-fA-F][\da-fA-F]{2});"
_HALVES = re.compile(_HALF + rb"(?:" + _HALF + rb")?")
"""Emoji as some versions write them, by the numbers of two halves in UTF-16, which no XML may hold."""

_SENDER = "137"
"""The type of an address of a multimedia message that is its sender's."""


def read(file: BinaryIO, source: str) -> Iterator[Document]:
    """A document of whom messages were exchanged with; what the owner sent is of *Me*."""
    chats: dict[str, Gathering] = {}
    data = _HALVES.sub(_joined, whole(file))
    # Pictures are long, and what begins with messages as `kind_of` wants declares nothing before them.
    for message in elements(data, "sms", "mms", long_values=True):
        _take(chats, message)
    for title, read in chats.items():
        yield read.document(f"{source}/{title}", _CHAT, me=_ME, in_order=False)


def _joined(found: re.Match[bytes]) -> bytes:
    """The one character of which two numbers are the halves; nothing of half a one."""
    halves = [int(each[1:], 16) if each[:1] in b"xX" else int(each) for each in found.groups() if each]
    whole_one = b"".join(each.to_bytes(2, "little") for each in halves).decode("utf-16-le", "ignore")
    return whole_one.encode("ascii", "xmlcharrefreplace")


def _take(chats: dict[str, Gathering], message: Any) -> None:
    address = message.get("address") or ""
    named = shown_name(message.get("contact_name") or "")
    title = address if named in _UNNAMED else named
    read = chats.setdefault(title, Gathering())
    own = (message.get("type") or message.get("msg_box")) in _OWNERS
    other = title if title != _ME else f"{_ME} ({address})"
    author = _ME if own else _sender(message) if "~" in address else other
    when = moment(message.get("date"), unit=0.001)
    said = [message.get("body") or ""] if local(message.tag) == "sms" else []
    left_out: Counter[str] = Counter()
    for part in (each for each in message.iter() if local(each.tag) == "part"):
        if part.get("ct") == "text/plain":
            said.append(part.get("text") or "")
        else:
            left_out[ATTACHMENTS] += len(part.get("data") or part.get("text") or "")
    read.left_out.update(+left_out)
    read.say(author or other, "\n".join(said), when)


def _sender(message: Any) -> str:
    """Who wrote to a group, by number."""
    addresses = (each for each in message.iter() if local(each.tag) == "addr" and each.get("type") == _SENDER)
    return next((re.sub(r"\s", "", each.get("address") or "") for each in addresses), "")
