"""Telegram Desktop, *Export Telegram data* and *Export chat history* as machine-readable JSON."""

from collections.abc import Mapping
from typing import Any

from sharedllm.text.conversations.gathering import (
    ATTACHMENTS,
    FORWARDED,
    MACHINES,
    POLLS,
    QUOTED,
    SYSTEM,
    Gathering,
    broken,
    fields,
    moment,
    objects,
    shown_name,
    told_apart,
    words,
)
from sharedllm.text.documents import Document

KIND = "Telegram export"
SIGNS = (('"personal_information"', '"chats"'), ('"messages"', '"date_unixtime"', '"from_id"'), ('"text_entities"',))
_CHAT = "Telegram chat"


def holds(value: Any) -> bool:
    """Whether parsed JSON is such an export: of one chat, or of all of them."""
    if not isinstance(value, dict):
        return False
    if isinstance(fields(value.get("chats")).get("list"), list):
        return True
    first = next(iter(objects(value.get("messages"))), None)
    if first is None:
        return {"name", "type", "id", "messages"} <= value.keys()
    return {"id", "type", "date"} <= first.keys() and ("from" in first or "actor" in first or "text" in first)


def documents(source: str, value: Any) -> list[Document]:
    """A document a chat that has messages.

    Raises:
        TextError: a chat has no list of messages.
    """
    everything = isinstance(fields(value.get("chats")).get("list"), list)
    chats = [value]
    if everything:
        chats = [chat for each in ("chats", "left_chats") for chat in objects(fields(value.get(each)).get("list"))]
    for chat in chats:
        if not isinstance(chat.get("messages"), list):
            raise broken(source, KIND, f"the chat {chat.get('name')!r} has no list of messages")
    messages = [message for chat in chats for message in objects(chat["messages"])]
    names = told_apart((_who(message), words(message.get("from"))) for message in messages if _who(message))
    own = fields(value.get("personal_information"))
    me = names.get(f"user{own['user_id']}") or names.get(str(own["user_id"])) if "user_id" in own else None
    if me is None and own:
        called = shown_name(f"{words(own.get('first_name'))} {words(own.get('last_name'))}")
        me = called if called in names.values() else None
    found = []
    for number, chat in enumerate(chats, 1):
        title = words(chat.get("name")) or words(chat.get("type")) or f"chat {number}"
        read = _chat(chat["messages"], names)
        found.append(read.document(f"{source}/{title}" if everything else source, _CHAT, me=me))
    return [each for each in found if each.turns or each.left_out] or found[:1]


def _who(message: Mapping[str, Any]) -> str:
    return str(message.get("from_id") or "") or words(message.get("from"))


def _chat(messages: list[Any], names: Mapping[str, str]) -> Gathering:
    read = Gathering()
    for message in read.understood(messages):
        text, quoted = _text(message.get("text", message.get("text_entities")))
        read.leave_out(QUOTED, quoted)
        if message.get("type") != "message":
            read.leave_out(SYSTEM, text or words(message.get("action")))
            continue
        if "poll" in message:
            read.leave_out(POLLS, words(fields(message["poll"]).get("question")))
        if "media_type" in message or "file" in message or "photo" in message:
            read.leave_out(ATTACHMENTS, words(message.get("file")) or words(message.get("photo")))
        # Of a chat that has been left the name may be gone, and even of a forwarded message's first author.
        if "forwarded_from" in message or "saved_from" in message:
            read.leave_out(FORWARDED, text)
        elif "via_bot" in message:
            read.leave_out(MACHINES, text)
        elif author := names.get(_who(message)):
            read.say(author, text, moment(message.get("date_unixtime")) or moment(message.get("date")))
        else:
            read.leave_out(SYSTEM, text)
    return read


def _text(value: Any) -> tuple[str, str]:
    """What a message says, and what it quotes: a text, or pieces of which some are marked up."""
    if isinstance(value, str):
        return value, ""
    said: list[str] = []
    quoted: list[str] = []
    for piece in value if isinstance(value, list) else ():
        if isinstance(piece, str):
            said.append(piece)
        elif isinstance(piece, dict):
            (quoted if piece.get("type") == "blockquote" else said).append(words(piece.get("text")))
    return "".join(said), "".join(quoted)
