"""Discord: JSON of DiscordChatExporter, a channel a file, and the package that Discord sends of somebody's own data."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from sharedllm.text.conversations.gathering import (
    ATTACHMENTS,
    FORWARDED,
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

KIND = "Discord export"
SIGNS = (('"guild"', '"channel"', '"messages"'), ('"ID"', '"Timestamp"', '"Contents"'))
_CHAT = "Discord channel"
_SAID = {"Default", "Reply", "0", "19", "20", "ChatInputCommand"}
"""Types of messages that somebody wrote: others tell who came, called, boosted or pinned."""

_PACKAGE = {"ID", "Timestamp", "Contents"}
OWNER = "owner of the package"


def holds(value: Any) -> bool:
    """Whether parsed JSON is such an export: of a channel, or what the owner of a package wrote in one."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict) and value[0].keys() >= _PACKAGE
    if not isinstance(value, dict) or not isinstance(value.get("channel"), dict):
        return False
    return "guild" in value and "messages" in value


def documents(source: str, value: Any) -> list[Document]:
    """One document.

    Raises:
        TextError: a channel has no list of messages.
    """
    if isinstance(value, list):
        return [package_document(source, objects(value), OWNER)]
    if not isinstance(value["messages"], list):
        raise broken(source, KIND, "it has no list of messages")
    messages = objects(value["messages"])
    names = told_apart((_who(message), _name(message)) for message in messages)
    read = Gathering()
    for message in read.understood(value["messages"]):
        _take(read, message, names)
    return [read.document(source, _CHAT, in_order=False)]


def package_document(source: str, rows: list[Mapping[str, Any]], owner: str) -> Document:
    """What the owner of a package wrote in one channel: the package has nothing of anybody else."""
    read = Gathering()
    for row in rows:
        read.leave_out(ATTACHMENTS, words(row.get("Attachments")))
        read.say_without_quotes(owner, words(row.get("Contents")), moment(row.get("Timestamp")))
    return read.document(source, _CHAT, me=owner, in_order=False)


def package_rows(text: str) -> list[Mapping[str, Any]] | None:
    """The rows of a package's older ``messages.csv``; None where a text is none."""
    rows = csv.DictReader(io.StringIO(text))
    try:
        if not rows.fieldnames or not set(rows.fieldnames) >= _PACKAGE:
            return None
        return list(rows)
    except csv.Error:
        return None


def _who(message: Mapping[str, Any]) -> str:
    author = fields(message.get("author"))
    return words(author.get("id")) or words(author.get("name"))


def _name(message: Mapping[str, Any]) -> str:
    author = fields(message.get("author"))
    return words(author.get("nickname")) or words(author.get("name"))


def _take(read: Gathering, message: Mapping[str, Any], names: Mapping[str, str]) -> None:
    text = words(message.get("content"))
    for attached in objects(message.get("attachments")):
        read.leave_out(ATTACHMENTS, words(attached.get("fileName")))
    forwarded = fields(message.get("forwardedMessage")) or fields(message.get("forwarded"))
    read.leave_out(FORWARDED, words(forwarded.get("content")))
    if str(message.get("type", "Default")) not in _SAID or _who(message) not in names:
        read.leave_out(SYSTEM, text)
    else:
        read.say_without_quotes(names[_who(message)], text, moment(message.get("timestamp")))
