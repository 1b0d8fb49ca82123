"""Google Chat, as Takeout has it: ``messages.json`` of each room or person, ``user_info.json`` of whose they are."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sharedllm.text.conversations.gathering import (
    DELETED,
    MACHINES,
    QUOTED,
    SYSTEM,
    Gathering,
    broken,
    fields,
    objects,
    shown_name,
    told_apart,
    words,
)
from sharedllm.text.documents import Document

KIND = "Google Chat export"
SIGNS = (('"creator"', '"user_type"', '"created_date"'),)
_CHAT = "Google Chat"
_TIME = "%A, %B %d, %Y at %I:%M:%S %p %Z"


def holds(value: Any) -> bool:
    """Whether parsed JSON is such an export of one chat."""
    messages = objects(fields(value).get("messages"))
    return any("creator" in each and "created_date" in each for each in messages[:10])


def documents(source: str, value: Any) -> list[Document]:
    """One document."""
    return [chat(source, value)]


def chat(source: str, value: Any, owner: str | None = None) -> Document:
    """A chat. Of a message that was edited its last version is read.

    Args:
        source: how it is shown.
        value: parsed ``messages.json``.
        owner: the address of whose export it is, where another file of it says so.

    Raises:
        TextError: it has no list of messages.
    """
    if not isinstance(value.get("messages"), list):
        raise broken(source, KIND, "it has no list of messages")
    creators = [fields(each.get("creator")) for each in objects(value["messages"])]
    names = told_apart((_who(each), words(each.get("name"))) for each in creators if _who(each))
    read = Gathering()
    for message in read.understood(value["messages"]):
        _take(read, message, names)
    me = read.owner(names.get(owner, owner)) if owner else None
    return read.document(source, _CHAT, me=me, in_order=False)


def owner_of(value: Any) -> str | None:
    """The address of whose export it is, by parsed ``user_info.json``; None where that is none."""
    return words(fields(fields(value).get("user")).get("email")) or None


def _who(creator: Mapping[str, Any]) -> str:
    return words(creator.get("email")) or words(creator.get("name"))


def _take(read: Gathering, message: Mapping[str, Any], names: Mapping[str, str]) -> None:
    creator = fields(message.get("creator"))
    text = words(message.get("text"))
    read.leave_out(QUOTED, words(fields(message.get("quoted_message_metadata")).get("text")))
    for each in objects(message.get("previous_message_versions")):
        read.leave_out(DELETED, words(each.get("text")))
    if message.get("message_state") == "DELETED":
        read.leave_out(DELETED, text)
    elif words(creator.get("user_type")) not in ("", "Human"):
        read.leave_out(MACHINES, text)
    elif author := names.get(_who(creator)):
        read.say(author, text, _when(words(message.get("created_date"))))
    else:
        read.leave_out(SYSTEM, text)


def _when(spelled: str) -> datetime | None:
    try:
        return datetime.strptime(f"{shown_name(spelled).removesuffix(' UTC')} +0000", _TIME.replace("%Z", "%z"))
    except ValueError:
        return None
