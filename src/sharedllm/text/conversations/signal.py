"""Signal: what its desktop program saves as JSON lines, and what tools write who read its database (*sigexport*)."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from sharedllm.text.conversations.gathering import (
    ATTACHMENTS,
    DELETED,
    MACHINES,
    QUOTED,
    SYSTEM,
    Gathering,
    fields,
    moment,
    objects,
    told_apart,
    words,
)
from sharedllm.text.conversations.names import kept, parted
from sharedllm.text.documents import Document

KIND = "Signal export"
SIGNS = (('"chatItem"', '"authorId"'), ('"sender"', '"body"', '"reactions"'), ('"conversationId"', '"outgoing"'))
_CHAT = "Signal chat"
_ME = "Me"
_HEAD = re.compile(r"\[(\d{4}-\d\d-\d\d),? (\d\d:\d\d(?::\d\d)?)\] ([^\n]{1,120}?:(?: [^\n]*)?$)")
_SIGN = re.compile(":(?: |$)")
_OWN_SIGN = re.compile(r"^\[[^\[\]\n]{16,22}\] (?:Me:|[^:\n]{1,80}: [^\n]*  $)", re.MULTILINE)
_REACTIONS = re.compile(r"\(- .* -\)\s*")
_STICKER = re.compile(r"\(\( .* \)\)\s*")
_ATTACHED = re.compile(r"!?\[[^\[\]\n]*\]\((?:\./)?(?:media|\.\./exported_stickers)/[^()\n]*\) *")
_CALL = re.compile(r"(?:Incoming|Outgoing|Missed) (?:voice |video )?call(?: \([^()]*\))?")


def holds(value: Any) -> bool:
    """Whether parsed JSON, or an array of the lines of a file, is such an export."""
    if isinstance(value, dict):
        messages = objects(value.get("messages"))
        return bool(messages) and _is_of_database(messages[0])
    found = objects(value)
    if not found:
        return False
    if all({"date", "sender", "body"} <= each.keys() for each in found[:10]):
        return True
    if _is_of_database(found[0]):
        return True
    return any("chatItem" in each for each in found) and any("recipient" in each for each in found)


def documents(source: str, value: Any) -> list[Document]:
    """A document a chat."""
    found = objects(value.get("messages")) if isinstance(value, dict) else objects(value)
    if any("chatItem" in each for each in found):
        return _of_backup(source, found)
    if _is_of_database(found[0]):
        return _of_database(source, found)
    read = Gathering()
    for each in found:
        read.leave_out(QUOTED, words(each.get("quote")))
        text = _ATTACHED.sub("", words(each.get("body")))
        if each.get("deleted"):
            read.leave_out(DELETED, text)
        elif each.get("call") or _CALL.fullmatch(text.strip()) or words(each.get("sender")) in ("", "No-Sender"):
            read.leave_out(SYSTEM, text)
        else:
            read.say(words(each.get("sender")), text, moment(each.get("date")))
    return [_with_me(read, source)]


def text_documents(source: str, text: str) -> list[Document] | None:
    """One document; None where a text is no chat as *sigexport* writes it.

    Some phones spell times in WhatsApp's exports alike. Here the owner is *Me*, or a message ends with two spaces.
    """
    first = text.lstrip("\n ").split("\n", 1)[0]
    if not _HEAD.match(first) or not _OWN_SIGN.search(text):
        return None
    read = Gathering()
    whens: list[datetime | None] = []
    messages: list[list[str]] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if found := _HEAD.match(line):
            whens.append(moment(f"{found[1]}T{found[2]}"))
            messages.append([found[3]])
        elif messages:
            messages[-1].append(line)
    said, doubts = parted(["\n".join(lines) for lines in messages], _SIGN, other=PurePosixPath(source).parent.name)
    for number, author, body in kept(read, said):
        _take_lines(read, author, body.split("\n"), whens[number])
    return [_with_me(read, source, doubts)]


def _take_lines(read: Gathering, author: str, lines: list[str], when: datetime | None) -> None:
    said = []
    for line in lines:
        bare = _ATTACHED.sub("", line)
        if _REACTIONS.fullmatch(bare):
            read.leave_out(SYSTEM, line)
        elif _STICKER.fullmatch(bare):
            read.leave_out(ATTACHMENTS, line)
        else:
            said.append(bare.rstrip())
    text = "\n".join(said)
    if text.strip() == "(This message was deleted)":
        read.leave_out(DELETED, text)
    elif _CALL.fullmatch(text.strip()) or author == "No-Sender":
        read.leave_out(SYSTEM, text)
    else:
        read.say_without_quotes(author, text, when)


def _with_me(read: Gathering, source: str, doubts: Sequence[str] = ()) -> Document:
    return read.document(source, _CHAT, me=read.owner(_ME), doubts=doubts)


def _is_of_database(message: Mapping[str, Any]) -> bool:
    return message.get("type") in ("incoming", "outgoing") and "body" in message and "conversationId" in message


def _of_database(source: str, messages: list[Mapping[str, Any]]) -> list[Document]:
    chats: dict[str, Gathering] = {}
    for each in messages:
        read = chats.setdefault(str(each.get("conversationName") or each.get("conversationId")), Gathering())
        author = words(each.get("source")) or words(each.get("sourceUuid")) or words(each.get("conversationName"))
        read.leave_out(QUOTED, words(fields(each.get("quote")).get("text")))
        when = moment(each.get("sent_at") or each.get("timestamp"), unit=0.001)
        if each.get("type") == "outgoing":
            read.say(_ME, words(each.get("body")), when)
        elif each.get("type") == "incoming" and author:
            read.say(author, words(each.get("body")), when)
        else:
            read.leave_out(SYSTEM, words(each.get("body")))
    return [
        read.document(f"{source}/{name}" if len(chats) > 1 else source, _CHAT, me=_ME, in_order=False)
        for name, read in chats.items()
    ]


def _of_backup(source: str, frames: list[Mapping[str, Any]]) -> list[Document]:
    recipients = [fields(frame["recipient"]) for frame in frames if "recipient" in frame]
    names = told_apart((str(each.get("id")), _called(each)) for each in recipients)
    me = next((str(each.get("id")) for each in recipients if "self" in each), None)
    titles = {
        str(chat.get("id")): names.get(str(chat.get("recipientId")), str(chat.get("id")))
        for chat in (fields(frame["chat"]) for frame in frames if "chat" in frame)
    }
    chats: dict[str, Gathering] = {}
    for item in (fields(frame["chatItem"]) for frame in frames if "chatItem" in frame):
        read = chats.setdefault(str(item.get("chatId")), Gathering())
        message = fields(item.get("standardMessage"))
        text = words(fields(message.get("text")).get("body"))
        read.leave_out(QUOTED, words(fields(fields(message.get("quote")).get("text")).get("body")))
        author = me if "outgoing" in item else str(item.get("authorId"))
        if "directionless" in item or author not in names:
            read.leave_out(MACHINES, text)
        else:
            read.say(names[author], text, moment(item.get("dateSent"), unit=0.001))
    return [
        read.document(f"{source}/{titles.get(chat, chat)}", _CHAT, me=names.get(me or ""), in_order=False)
        for chat, read in chats.items()
    ]


def _called(recipient: Mapping[str, Any]) -> str:
    if "self" in recipient:
        return _ME
    contact, group = fields(recipient.get("contact")), fields(fields(recipient.get("group")).get("snapshot"))
    for first, last in (("nicknameGiven", "nicknameFamily"), ("systemGivenName", "systemFamilyName")):
        if name := f"{words(contact.get(first))} {words(contact.get(last))}".strip():
            return name
    name = f"{words(contact.get('profileGivenName'))} {words(contact.get('profileFamilyName'))}".strip()
    title = words(fields(group.get("title")).get("title"))
    return name or title or words(contact.get("e164")) or words(contact.get("username")) or str(recipient.get("id"))
