"""Conversations as models are trained on them: ``messages`` of a role and a content each, in JSON or JSON lines."""

from collections.abc import Mapping
from typing import Any

from sharedllm.text.conversations.gathering import MACHINES, UNKNOWN, Gathering, broken, objects, words
from sharedllm.text.documents import Document

KIND = "file of messages"
SIGNS = (('"role"', '"content"'), ('"conversations"', '"from"', '"value"'))
_CHAT = "conversation in messages"
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def holds(value: Any) -> bool:
    """Whether parsed JSON is such a file: conversations in an array, one of them, or the messages of one."""
    if isinstance(value, list):
        return bool(value) and (holds(value[0]) if isinstance(value[0], dict) else _are_messages(value[0]))
    return isinstance(value, dict) and (_is_message(value) or _are_messages(_messages(value)))


def documents(source: str, value: Any) -> list[Document]:
    """A document a conversation. Which of the two roles is the owner's it does not say.

    Raises:
        TextError: one of the conversations has no messages.
    """
    if isinstance(value, dict) and _is_message(value):
        value = [value]
    if isinstance(value, list) and isinstance(value[0], dict) and _is_message(value[0]):
        return [_conversation(source, value)]
    if isinstance(value, dict):
        return [_conversation(source, _messages(value))]
    found = []
    for number, each in enumerate(value, 1):
        messages = _messages(each) if isinstance(each, dict) else each
        if not isinstance(messages, list):
            raise broken(source, KIND, f"its conversation {number} has no messages")
        found.append(_conversation(f"{source}/{number}", messages))
    return found


def _messages(value: Mapping[str, Any]) -> Any:
    return value["messages"] if "messages" in value else value.get("conversations")


def _is_message(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("role"), str) and "content" in value and "messages" not in value


def _are_messages(value: Any) -> bool:
    messages = objects(value)
    return (
        bool(messages)
        and len(messages) == len(value)
        and all(
            (isinstance(each.get("role"), str) and ("content" in each or "tool_calls" in each))
            or (isinstance(each.get("from"), str) and isinstance(each.get("value"), str))
            for each in messages
        )
    )


def _conversation(source: str, messages: list[Any]) -> Document:
    read = Gathering()
    for message in read.understood(messages):
        content = message.get("content", message.get("value"))
        text = content if isinstance(content, str) else "\n".join(words(part.get("text")) for part in objects(content))
        role = words(message.get("role")) or words(message.get("from"))
        if role in _ROLES:
            read.say(_ROLES[role], text, None)
        else:
            read.leave_out(MACHINES if role else UNKNOWN, text)
    return read.document(source, _CHAT)
