"""Skype, and Teams for private use: ``messages.json`` of what Microsoft hands out of somebody's own data."""

import html
import re
from collections.abc import Mapping
from typing import Any

from sharedllm.text.conversations.gathering import (
    ATTACHMENTS,
    QUOTED,
    SYSTEM,
    Gathering,
    broken,
    fields,
    moment,
    objects,
    told_apart,
    words,
)
from sharedllm.text.documents import Document

KIND = "Skype or Teams export"
SIGNS = (('"MessageList"', '"messagetype"'), ('"userId"', '"exportDate"', '"conversations"'))
_CHAT = "Skype or Teams chat"
_SAID = {"Text", "RichText", "RichText/Html"}
"""Types of messages that somebody wrote: others tell of calls, files and who came."""

_QUOTES = re.compile(r"<(/?)(?:block)?quote\b[^<>]*>", re.IGNORECASE)
_EDITED = re.compile(r"<e_m\b[^<>]*>(?:</e_m>)?")
_BREAKS = re.compile(r"<br\b[^<>]*>|</p>\s*<p\b[^<>]*>|</(?:p|div|li)>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def holds(value: Any) -> bool:
    """Whether parsed JSON is such an export."""
    return "userId" in fields(value) and any("MessageList" in each for each in objects(value.get("conversations")))


def documents(source: str, value: Any) -> list[Document]:
    """A document a chat that has messages.

    Raises:
        TextError: a chat has no list of messages.
    """
    chats = objects(value["conversations"])
    for chat in chats:
        if not isinstance(chat.get("MessageList"), list):
            raise broken(source, KIND, f"the chat {words(chat.get('displayName'))!r} has no list of messages")
    messages = [message for chat in chats for message in objects(chat["MessageList"])]
    names = told_apart((_who(each), words(each.get("displayName"))) for each in messages if _who(each))
    owner = words(value["userId"])
    found = []
    for number, chat in enumerate(chats, 1):
        read = Gathering()
        for message in read.understood(chat["MessageList"]):
            _take(read, message, names)
        title = words(chat.get("displayName")) or words(chat.get("id")) or str(number)
        me = names.get(owner) or read.owner(owner)
        found.append(read.document(f"{source}/{title}", _CHAT, me=me, in_order=False))
    return [each for each in found if each.turns or each.left_out] or found[:1]


def _who(message: Mapping[str, Any]) -> str:
    return words(message.get("from"))


def _take(read: Gathering, message: Mapping[str, Any], names: Mapping[str, str]) -> None:
    spelled = words(message.get("content"))
    own, quoted = _parted(spelled)
    read.leave_out(QUOTED, _plain(quoted))
    text = _plain(own)
    kind = words(message.get("messagetype"))
    if kind not in _SAID:
        read.leave_out(ATTACHMENTS if "Media" in kind or "URIObject" in spelled else SYSTEM, text)
    elif author := names.get(_who(message)):
        read.say(author, text, moment(message.get("originalarrivaltime")))
    else:
        read.leave_out(SYSTEM, text)


def _parted(spelled: str) -> tuple[str, str]:
    """What stands outside of quotes and what in them, in which others may be; one that does not end goes to the end."""
    parts: tuple[list[str], list[str]] = ([], [])
    depth = begin = 0
    for tag in _QUOTES.finditer(spelled):
        parts[depth > 0].append(spelled[begin : tag.start()])
        depth, begin = max(0, depth + (-1 if tag[1] else 1)), tag.end()
    parts[depth > 0].append(spelled[begin:])
    return "".join(parts[0]), "".join(parts[1])


def _plain(spelled: str) -> str:
    """What stood in the chat: no tags and no entities."""
    text = _BREAKS.sub("\n", _EDITED.sub("", spelled))
    return html.unescape(_TAG.sub("", text))
