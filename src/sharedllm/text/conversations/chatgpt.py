"""ChatGPT, *Export data*: ``conversations.json``, each conversation a tree of which ``current_node`` is a leaf."""

from collections.abc import Mapping
from typing import Any

from sharedllm.text.conversations.gathering import ATTACHMENTS, MACHINES, Gathering, broken, fields, moment, words
from sharedllm.text.documents import Document

KIND = "ChatGPT export"
SIGNS = (('"mapping"', '"parent"', '"children"'),)
_CHAT = "ChatGPT conversation"
_TEXTS = ("text", "multimodal_text")


def holds(value: Any) -> bool:
    """Whether parsed JSON is such an export: an array of conversations, or one of them."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, dict) or not isinstance(first.get("mapping"), dict):
        return False
    nodes = first["mapping"].values()
    return "current_node" in first or any("children" in fields(node) for node in nodes)


def documents(source: str, value: Any) -> list[Document]:
    """A document a conversation: what stands on the way to its current node, without branches that were given up.

    Raises:
        TextError: a conversation's nodes lead in a circle, or to one that is not there.
    """
    found = []
    for number, each in enumerate(value if isinstance(value, list) else [value], 1):
        if not isinstance(each, dict) or not isinstance(each.get("mapping"), dict):
            raise broken(source, KIND, f"its conversation {number} has no nodes")
        read = Gathering()
        for node in _way(source, number, each):
            _take(read, fields(node.get("message")))
        title = words(each.get("title")) or str(number)
        found.append(read.document(f"{source}/{title}" if isinstance(value, list) else source, _CHAT, me="user"))
    return found


def _way(source: str, number: int, conversation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    nodes = conversation["mapping"]
    at = conversation.get("current_node") or _latest_leaf(nodes)
    way: list[Mapping[str, Any]] = []
    seen = set()
    while at is not None:
        if not isinstance(at, str) or not isinstance(nodes.get(at), dict):
            raise broken(source, KIND, f"in its conversation {number} the node {at!r} is missing")
        if at in seen:
            raise broken(source, KIND, f"in its conversation {number} the nodes lead in a circle")
        seen.add(at)
        way.append(nodes[at])
        at = nodes[at].get("parent")
    return way[::-1]


def _latest_leaf(nodes: Mapping[str, Any]) -> str | None:
    leaves = [each for each, node in nodes.items() if isinstance(node, dict) and not node.get("children")]

    def written(leaf: str) -> float:
        when = fields(nodes[leaf].get("message")).get("create_time")
        return when if isinstance(when, (int, float)) else 0.0

    return max(leaves, key=written, default=None)


def _take(read: Gathering, message: Mapping[str, Any]) -> None:
    role = fields(message.get("author")).get("role")
    content = fields(message.get("content"))
    parts = content.get("parts")
    said = []
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, str):
            said.append(part)
        elif text := words(fields(part).get("text")):
            # What was spoken, written down.
            said.append(text)
        else:
            read.leave_out(ATTACHMENTS, words(fields(part).get("asset_pointer")))
    text = "\n".join(each for each in said if each)
    hidden = fields(message.get("metadata")).get("is_visually_hidden_from_conversation") is True
    spoken = content.get("content_type", "text") in _TEXTS and message.get("recipient", "all") == "all" and not hidden
    if role in ("user", "assistant") and spoken:
        read.say(role, text, moment(message.get("create_time")))
    else:
        read.leave_out(MACHINES, text or words(content.get("text")) or words(content.get("user_instructions")))
