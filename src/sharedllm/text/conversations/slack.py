"""Slack, *Export workspace data*: a folder a channel, a file a day, and ``users.json`` with everybody's names."""

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sharedllm.text.conversations.gathering import (
    ATTACHMENTS,
    MACHINES,
    SYSTEM,
    Gathering,
    fields,
    moment,
    objects,
    told_apart,
    words,
)
from sharedllm.text.documents import Document

KIND = "Slack export"
SIGNS = (('"type": "message"', '"user"', '"ts"'), ('"type":"message"', '"user"', '"ts"'))
_CHAT = "Slack channel"
_SAID = {None, "", "me_message", "thread_broadcast", "file_share", "reply_broadcast"}
"""Subtypes of messages that somebody wrote: the others are Slack's, or an app's."""

_MENTION = re.compile(r"<@([A-Z0-9]+)(?:\|([^<>]*))?>")
_LINKED = re.compile(r"<(#?)(?:[^<>|]*)\|([^<>]*)>")
_BARE = re.compile(r"<([#!]?)([^<>|]*)\|?>")


def holds(value: Any) -> bool:
    """Whether parsed JSON is a day of a channel."""
    found = objects(value)
    return bool(found) and all(
        each.get("type") == "message" and isinstance(each.get("ts"), str) and ("text" in each or "subtype" in each)
        for each in found[:10]
    )


def documents(source: str, value: Any) -> list[Document]:
    """One document, of that day; people are called as their messages say, or by their ids."""
    return [channel(source, [value], {})]


def people(value: Any) -> dict[str, str] | None:
    """Names by id of an export's ``users.json``; None where parsed JSON is none."""
    users = objects(value)
    if not users or not all(isinstance(user.get("id"), str) and "name" in user for user in users):
        return None
    if not any("profile" in user for user in users):
        return None
    return told_apart((user["id"], _name(fields(user.get("profile"))) or words(user["name"])) for user in users)


def channel(source: str, days: Iterable[Any], names: Mapping[str, str]) -> Document:
    """A channel, of all of its days, in order of time.

    Args:
        source: how it is shown.
        days: parsed files.
        names: people by their ids, as far as they are known.
    """
    found = [each for day in days for each in (day if isinstance(day, list) else [])]
    known = {
        words(each.get("user")): _name(fields(each.get("user_profile")))
        for each in objects(found)
        if each.get("user") and each.get("user_profile")
    }
    names = {**told_apart(known.items()), **names}
    read = Gathering()
    for each in read.understood(found):
        _take(read, each, names)
    return read.document(source, _CHAT, in_order=False)


def _name(profile: Mapping[str, Any]) -> str:
    return words(profile.get("display_name")) or words(profile.get("real_name")) or words(profile.get("name"))


def _take(read: Gathering, message: Mapping[str, Any], names: Mapping[str, str]) -> None:
    user = words(message.get("user"))
    text = _plain(words(message.get("text")), names)
    for file in objects(message.get("files")):
        read.leave_out(ATTACHMENTS, words(file.get("name")))
    if message.get("subtype") not in _SAID or message.get("type") != "message":
        read.leave_out(MACHINES if message.get("subtype") == "bot_message" else SYSTEM, text)
    elif not user or "bot_id" in message or user == "USLACKBOT":
        read.leave_out(MACHINES, text)
    else:
        read.say_without_quotes(names.get(user) or user, text, moment(message.get("ts")))


def _plain(text: str, names: Mapping[str, str]) -> str:
    """What stood in the channel: links and mentions as they are shown, and no entities."""
    text = _MENTION.sub(lambda found: "@" + (names.get(found[1]) or found[2] or found[1]), text)
    text = _LINKED.sub(r"\1\2", text)
    text = _BARE.sub(lambda found: ("@" if found[1] == "!" else found[1]) + found[2], text)
    return html.unescape(text)
