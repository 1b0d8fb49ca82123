"""Claude, *Export data*: ``conversations.json``."""

from collections.abc import Mapping
from typing import Any

from sharedllm.text.conversations.gathering import (
    ATTACHMENTS,
    MACHINES,
    Gathering,
    broken,
    moment,
    objects,
    words,
)
from sharedllm.text.documents import Document

KIND = "Claude export"
SIGNS = (('"chat_messages"', '"sender"'),)
_CHAT = "Claude conversation"
_ROLES = {"human": "user", "user": "user", "assistant": "assistant"}


def holds(value: Any) -> bool:
    """Whether parsed JSON is such an export: an array of conversations, or one of them."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and "chat_messages" in first


def documents(source: str, value: Any) -> list[Document]:
    """A document a conversation. Whom the export calls *human* is ``user`` here, as everywhere else.

    Raises:
        TextError: a conversation has no list of messages.
    """
    found = []
    for number, each in enumerate(value if isinstance(value, list) else [value], 1):
        if not isinstance(each, dict) or not isinstance(each.get("chat_messages"), list):
            raise broken(source, KIND, f"its conversation {number} has no list of messages")
        read = Gathering()
        for message in _way(each):
            _take(read, message)
        title = words(each.get("name")) or str(number)
        found.append(read.document(f"{source}/{title}" if isinstance(value, list) else source, _CHAT, me="user"))
    return found


def _way(conversation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The messages up to the last leaf, where the export says which that is; all of them where it does not."""
    messages = objects(conversation["chat_messages"])
    nodes = {words(message.get("uuid")): message for message in messages}
    at = words(conversation.get("current_leaf_message_uuid"))
    way = []
    while at in nodes:
        way.append(nodes.pop(at))
        at = words(way[-1].get("parent_message_uuid"))
    return way[::-1] or messages


def _take(read: Gathering, message: Mapping[str, Any]) -> None:
    for attached in objects(message.get("attachments")):
        read.leave_out(ATTACHMENTS, words(attached.get("extracted_content")))
    said = []
    for part in objects(message.get("content")):
        if part.get("type") == "text":
            said.append(words(part.get("text")))
        else:
            read.leave_out(MACHINES, words(part.get("text")) or words(part.get("thinking")))
    text = "\n".join(each for each in said if each) or words(message.get("text"))
    if role := _ROLES.get(words(message.get("sender"))):
        read.say(role, text, moment(message.get("created_at")))
    else:
        read.leave_out(MACHINES, text)
