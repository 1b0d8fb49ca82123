"""Archives of chats with models for `benchmarks.exports`, as ChatGPT and Claude hand them out today.

Branches, custom instructions, canvases, tools, thoughts, attachments, and the files that lie beside the conversations.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.exports_chats import Said, by, said, unix, zipped
from benchmarks.exports_programs import Json, Written
from benchmarks.exports_words import OTHERS


def chatgpt(chat: Said) -> Written:
    extra: list[Any] = []
    conversations = []

    def node(nodes: Json, at: str, parent: str, role: str, content: Json, **more: Any) -> str:
        message: Json = {"id": at, "author": {"role": role, "name": more.pop("name", None), "metadata": {}}}
        message |= {"content": content, "recipient": "all", "metadata": {}, "status": "finished_successfully"} | more
        nodes[at] = {"id": at, "message": message, "parent": parent, "children": []}
        nodes[parent]["children"].append(at)
        return at

    def text(*parts: Any) -> Json:
        return {"content_type": "text", "parts": list(parts)}

    for number in range(0, len(chat), 30):
        nodes: Json = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
        at = node(nodes, "s", "root", "system", text(""), metadata={"is_visually_hidden_from_conversation": True})
        about = {
            "content_type": "user_editable_context",
            "user_profile": "Preferred name: Al",
            "user_instructions": "Be brief",
        }
        at = node(nodes, "c", at, "user", about, metadata={"is_user_system_message": True})
        extra += ["Preferred name: Al", "Be brief"]
        for place, (when, author, wrote) in enumerate(chat[number : number + 30]):
            name = f"m{place}"
            if author == "user":
                if place % 5 == 1:
                    given_up = f"{wrote} given up"
                    node(nodes, f"b{place}", at, "user", text(given_up), create_time=unix(when))
                    extra.append(given_up)
                content = text(wrote)
                if place % 7 == 2:
                    picture = {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_1"}
                    content = {"content_type": "multimodal_text", "parts": [picture, wrote]}
                at = node(nodes, name, at, "user", content, create_time=unix(when))
                continue
            thought = {"content_type": "thoughts", "thoughts": [{"summary": "Thinking", "content": OTHERS[place % 15]}]}
            at = node(nodes, f"t{place}", at, "assistant", thought)
            canvas = {"content_type": "code", "language": "json", "text": '{"name": "Plan", "content": "a canvas"}'}
            at = node(nodes, f"v{place}", at, "assistant", canvas, recipient="canmore.create_textdoc")
            made = text("Successfully created text document with id 1")
            at = node(nodes, f"w{place}", at, "tool", made, name="canmore.create_textdoc")
            at = node(nodes, name, at, "assistant", text(wrote), create_time=unix(when))
            extra += [OTHERS[place % 15], made["parts"][0], "a canvas"]
        conversations.append({"title": "Talk", "create_time": 1.0, "mapping": nodes, "current_node": at})
        conversations[-1] |= {"id": str(number), "conversation_template_id": None, "is_archived": False}
    user: Json = {
        "id": "user-1",
        "email": "alice@example.org",
        "chatgpt_plus_user": True,
        "phone_number": "+4915112345678",
    }
    feedback = [{"id": "1", "rating": "thumbs_down", "content": '{"text": "too long"}'}]
    shared = [{"id": "1", "conversation_id": "1", "title": "How to bake bread", "is_anonymous": True}]
    told = json.dumps(conversations)
    page = f"<html><head></head><body><div id=root></div><script>var jsonData = {told};</script></body></html>"
    files = {
        "conversations.json": told.encode(),
        "user.json": json.dumps(user).encode(),
        "message_feedback.json": json.dumps(feedback).encode(),
        "shared_conversations.json": json.dumps(shared).encode(),
        "chat.html": page.encode(),
    }
    return zipped(files), [*extra, "How to bake bread", "alice@example.org"]


def claude(chat: Said) -> Written:
    extra: list[Any] = []
    told = []
    for number, (at, author, text) in enumerate(chat):
        human = author == "user"
        parts: list[Json] = [{"type": "text", "text": text, "citations": []}]
        message: Json = {
            "uuid": str(number),
            "sender": "human" if human else "assistant",
            "attachments": [],
            "files": [],
        }
        message |= {"created_at": f"{at:%Y-%m-%dT%H:%M:%S}.000000Z", "updated_at": "", "text": text}
        if human and number % 9 == 3:
            attached: Json = {
                "file_name": "paper.pdf",
                "file_size": 1,
                "file_type": "pdf",
                "extracted_content": OTHERS[number % 15],
            }
            message["attachments"] = [attached]
            extra.append(attached["extracted_content"])
        if not human:
            parts.insert(
                0, {"type": "thinking", "thinking": OTHERS[number % 14], "summaries": [{"summary": "Weighing"}]}
            )
            used: Json = {
                "type": "tool_use",
                "name": "artifacts",
                "input": {"content": "an artifact", "command": "create"},
            }
            parts += [used, {"type": "tool_result", "name": "artifacts", "content": [{"type": "text", "text": "OK"}]}]
            message["text"] = f"{text}\n```\nThis block is not supported on your current device yet.\n```"
            extra += [OTHERS[number % 14], "an artifact"]
        told.append(message | {"content": parts})
    whole = [{"uuid": "a", "name": "Talk", "summary": "They talk of the river.", "created_at": ""}]
    whole[0] |= {"account": {"uuid": "b"}, "chat_messages": told}  # type: ignore[dict-item]
    users = [{"uuid": "b", "full_name": "Alice Miller", "email_address": "alice@example.org"}]
    paper = "An inquiry into the nature and causes of the wealth of nations, by somebody else."
    projects = [{"uuid": "p", "name": "Thesis", "description": "", "prompt_template": "Be strict"}]
    projects[0] |= {"docs": [{"uuid": "d", "filename": "smith.txt", "content": paper}]}  # type: ignore[dict-item]
    memories = [{"conversations_memory": "Alice bakes bread and lives by the river.", "account_uuid": "b"}]
    files = {
        "conversations.json": json.dumps(whole, ensure_ascii=False).encode(),
        "users.json": json.dumps(users).encode(),
        "projects.json": json.dumps(projects).encode(),
        "memories.json": json.dumps(memories).encode(),
    }
    return zipped(files), [*extra, paper, "Alice bakes bread and lives by the river.", "They talk of the river."]


def model_chats() -> Iterator[tuple[str, str, str, bytes, str, list[str], list[str]]]:
    """As `benchmarks.exports_chats.chats`."""
    models: tuple[tuple[str, Callable[[Said], Written]], ...] = (
        ("ChatGPT, the archive", chatgpt),
        ("Claude, the archive", claude),
    )
    for number, (name, write) in enumerate(models):
        chat = said(800 + 10 * number, others=("assistant",), me="user")
        data, extra = write(chat)
        yield "chats with a model", name, "export.zip", data, "user", by(chat, "user"), by(chat, "assistant") + extra
