"""Exports of chats as the programs write them, for `benchmarks.exports`: WhatsApp in nine spellings, and nine others.

Each is written from two lists of messages, what Alice wrote and what others did, by code that shares nothing with the
readers. WhatsApp's spellings are those of its telephones; the others' shapes are those of Telegram Desktop,
DiscordChatExporter, Slack's export, Signal Desktop's and sigexport's, Messenger's download, ChatGPT's and Claude's.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from benchmarks.exports_words import OTHERS, OWN, messages

Said = list[tuple[datetime, str, str]]
"""When, by whom, what."""

MARK = "\u200e"
COUNT = 150


def said(seed: int, *, others: Sequence[str] = ("Bob", "Carol K."), me: str = "Alice M.") -> Said:
    """A chat of some weeks, in turns of one to three messages."""
    own, theirs = messages(OWN, COUNT, seed), messages(OTHERS, COUNT, seed + 1)
    found: Said = []
    at = datetime(2024, 2, 26, 8, 4, 11)
    for number in range(COUNT):
        at += timedelta(minutes=7, seconds=13) if number % 9 else timedelta(hours=11, minutes=3)
        pair = [(me, own[number]), (others[number // 3 % len(others)], theirs[number])]
        for author, text in pair if number % 4 < 2 else pair[::-1]:
            at += timedelta(seconds=41)
            found.append((at, author, text))
    return found


def by(chat: Said, me: str) -> list[str]:
    return [text for _, author, text in chat if author == me]


def _twelve(at: datetime, am: str, pm: str, gap: str) -> str:
    return f"{at.hour % 12 or 12}:{at:%M}{gap}{am if at.hour < 12 else pm}"


SPELLINGS: dict[str, tuple[Callable[[datetime], str], bool]] = {
    "Android, British": (lambda at: f"{at:%d/%m/%Y, %H:%M} - ", False),
    "Android, American": (lambda at: f"{at.month}/{at.day}/{at:%y}, {_twelve(at, 'AM', 'PM', chr(0x202F))} - ", False),
    "Android, German": (lambda at: f"{at:%d.%m.%y, %H:%M} - ", False),
    "Android, Spanish": (
        lambda at: f"{at.day}/{at.month}/{at.year}, {_twelve(at, 'a. m.', 'p. m.', chr(0x202F))} - ",
        False,
    ),
    "Android, Japanese": (lambda at: f"{at:%Y/%m/%d %H:%M} - ", False),
    "iOS, British": (lambda at: f"[{at:%d/%m/%Y, %H:%M:%S}] ", True),
    "iOS, American": (
        lambda at: f"[{at.month}/{at.day}/{at:%y}, {at.hour % 12 or 12}:{at:%M:%S}\u202f{at:%p}] ",
        True,
    ),
    "iOS, German": (lambda at: f"[{at:%d.%m.%y, %H:%M:%S}] ", True),
    "iOS, Dutch": (lambda at: f"[{at:%d-%m-%Y %H:%M:%S}] ", True),
}


def whatsapp(stamp: Callable[[datetime], str], ios: bool, chat: Said) -> tuple[str, list[str], list[str]]:
    """The file, what Alice wrote in it, and what else is in it."""
    lines: list[str] = []
    own: list[str] = []
    others: list[str] = []
    notice = "Messages and calls are end-to-end encrypted. Only people in this chat can read, listen to, or share them."
    begin = chat[0][0]
    lines.append(f"{stamp(begin)}Bob: {MARK}{notice}" if ios else f"{stamp(begin)}{notice}")
    others.append(notice)
    for number, (at, author, text) in enumerate(chat):
        said, extra = text, ""
        if number % 17 == 5:
            # What looks like the beginning of a message, and is a line of one.
            said += f"\n{at.day}/{at.month} or {at.day + 1}/{at.month}: which suits you?\n\nand 10:30 - why not"
        if number % 23 == 7:
            extra = f"{MARK if ios else ''} {MARK if ios else ''}<This message was edited>"
        lines.append(f"{stamp(at)}{author}: {said}{extra}")
        (own if author == "Alice M." else others).append(said)
        others += [extra] * bool(extra)
        aside = None
        if number % 29 == 3:
            aside = (author, f"{MARK}image omitted" if ios else "<Media omitted>")
        elif number % 31 == 4:
            aside = ("Bob", f"{MARK}This message was deleted." if ios else "This message was deleted")
        elif number % 37 == 6:
            name = f"IMG-20240301-WA{number:04}.jpg"
            aside = (author, f"{MARK}<attached: {name}>" if ios else f"{MARK}{name} (file attached)")
        if aside:
            lines.append(f"{MARK if ios else ''}{stamp(at)}{aside[0]}: {aside[1]}")
            others.append(aside[1])
        if number % 61 == 8:
            note = "Carol K. added +49 151 23456789"
            lines.append(f"{MARK}{stamp(at)}Carol K.: {MARK}{note}" if ios else f"{stamp(at)}{note}")
            others.append(note)
    ends = "\r\n" if ios else "\n"
    return ends.join(lines) + ends, own, others


def telegram(chat: Said) -> bytes:
    ids = {"Alice M.": "user1", "Bob": "user2", "Carol K.": "user3"}
    told: list[dict[str, object]] = []
    for number, (at, author, text) in enumerate(chat):
        parts: object = text
        if "https://" in text:
            before, _, rest = text.partition("https://")
            link, space, after = rest.partition(" ")
            parts = [before, {"type": "link", "text": f"https://{link}"}, f"{space}{after}"]
        told.append(
            {"id": number, "type": "message", "date": f"{at:%Y-%m-%dT%H:%M:%S}", "date_unixtime": str(unix(at))}
            | {"from": author, "from_id": ids[author], "text": parts, "text_entities": []}
        )
        if number % 30 == 4:
            told.append(told[-1] | {"id": 9_000 + number, "forwarded_from": "Eve", "text": OTHERS[number % 15]})
            told.append({"id": 8_000 + number, "type": "service", "date": f"{at:%Y-%m-%dT%H:%M:%S}"})
            told[-1] |= {"actor": author, "actor_id": ids[author], "action": "pin_message", "text": ""}
    talk = {"name": "Friends", "type": "private_group", "id": 77, "messages": told}
    whole = {
        "about": "Here is the data you requested.",
        "personal_information": {"user_id": 1, "first_name": "Alice", "last_name": "M.", "bio": ""},
        "chats": {"about": "This page lists all chats from this export.", "list": [talk]},
    }
    return json.dumps(whole, ensure_ascii=False, indent=1).encode()


def discord(chat: Said) -> bytes:
    told: list[dict[str, object]] = [
        {"id": str(10_000 + number), "type": "Default", "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.123+00:00"}
        | {"timestampEdited": None, "callEndedTimestamp": None, "isPinned": False}
        | {"content": f"> {OTHERS[number % 15]}\n{text}" if number % 25 == 3 else text}
        | {
            "author": {
                "id": str(100 + ord(author[0])),
                "name": author,
                "discriminator": "0000",
                "nickname": author,
                "isBot": False,
            }
        }
        | {"attachments": [], "embeds": [], "stickers": [], "reactions": [], "mentions": []}
        for number, (at, author, text) in enumerate(chat)
    ]
    joined = told[0] | {"id": "1", "type": "GuildMemberJoin", "content": "Joined the server."}
    channel = {
        "id": "5",
        "type": "GuildTextChat",
        "categoryId": "6",
        "category": "Text",
        "name": "general",
        "topic": None,
    }
    whole = {"guild": {"id": "4", "name": "Friends", "iconUrl": ""}, "channel": channel, "messages": [joined, *told]}
    return json.dumps(whole | {"messageCount": len(told) + 1}, ensure_ascii=False).encode()


def slack(chat: Said) -> bytes:
    ids = {"Alice M.": "U01", "Bob": "U02", "Carol K.": "U03"}
    users = [
        {"id": ids[name], "name": name.split()[0].lower(), "real_name": name}
        | {"profile": {"real_name": name, "display_name": name}}
        for name in ids
    ]
    days: dict[str, list[dict[str, object]]] = {}
    for number, (at, author, text) in enumerate(chat):
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        words = [f"<{each}>" if each.startswith("https://") else each for each in escaped.split(" ")]
        day = days.setdefault(f"{at:%Y-%m-%d}", [])
        day.append({"type": "message", "user": ids[author], "ts": f"{unix(at)}.{number:06}", "text": " ".join(words)})
        if number % 40 == 2:
            notice = f"<@{ids[author]}> has joined the channel"
            day.append(
                {
                    "type": "message",
                    "subtype": "channel_join",
                    "user": ids[author],
                    "ts": f"{unix(at)}.9",
                    "text": notice,
                }
            )
    channels = [{"id": "C01", "name": "general", "members": list(ids.values())}]
    files = {
        "users.json": users,
        "channels.json": channels,
        **{f"general/{day}.json": each for day, each in days.items()},
    }
    return zipped({name: json.dumps(value).encode() for name, value in files.items()})


def sigexport(chat: Said) -> bytes:
    lines = [
        {"date": f"{at:%Y-%m-%dT%H:%M:%S}", "sender": "Me" if author == "Alice M." else author, "body": text}
        | {"quote": "", "sticker": "", "reactions": [], "attachments": []}
        for at, author, text in chat
    ]
    return "\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()


def messenger(chat: Said) -> bytes:
    def garbled(text: str) -> str:
        return text.encode().decode("latin-1")

    told: list[dict[str, object]] = []
    for number, (at, author, text) in enumerate(chat):
        told.append({"sender_name": garbled(author), "timestamp_ms": unix(at) * 1000, "content": garbled(text)})
        told[-1] |= {"is_geoblocked_for_viewer": False}
        if number % 33 == 3:
            sent = f"{author} sent an attachment."
            told.append({"sender_name": author, "timestamp_ms": unix(at) * 1000 + 1, "content": sent, "photos": [{}]})
    people = [{"name": name} for name in ("Bob", "Carol K.", "Alice M.")]
    whole = {"participants": people, "messages": told[::-1], "title": "Friends", "is_still_participant": True}
    place = "your_facebook_activity/messages/inbox/friends_5"
    profile = {"profile_v2": {"name": {"full_name": "Alice M."}}}
    return zipped(
        {
            f"{place}/message_1.json": json.dumps(whole | {"thread_path": "inbox/friends_5"}).encode(),
            "personal_information/profile_information/profile_information.json": json.dumps(profile).encode(),
        }
    )


def chatgpt(chat: Said) -> bytes:
    conversations = []
    for number in range(0, len(chat), 30):
        nodes: dict[str, dict[str, object]] = {
            "root": {"id": "root", "message": None, "parent": None, "children": ["system"]}
        }
        system = {
            "id": "system",
            "author": {"role": "system"},
            "content": {"content_type": "text", "parts": [OTHERS[0]]},
        }
        nodes["system"] = {"id": "system", "message": system, "parent": "root", "children": []}
        before = "system"
        for place, (at, author, text) in enumerate(chat[number : number + 30]):
            name = f"m{place}"
            message = {
                "id": name,
                "author": {"role": "user" if author == "user" else "assistant", "metadata": {}},
                "create_time": unix(at),
                "content": {"content_type": "text", "parts": [text]},
                "recipient": "all",
                "metadata": {},
            }
            nodes[name] = {"id": name, "message": message, "parent": before, "children": []}
            nodes[before]["children"] = [name]
            before = name
        conversations.append(
            {"title": "Talk", "create_time": unix(chat[number][0]), "mapping": nodes, "current_node": before}
        )
    told = json.dumps(conversations)
    page = f"<html><head></head><body><div id=root></div><script>var jsonData = {told};</script></body></html>"
    return zipped({"conversations.json": told.encode(), "chat.html": page.encode()})


def claude(chat: Said) -> bytes:
    told = [
        {"uuid": str(number), "text": text, "content": [{"type": "text", "text": text}], "attachments": [], "files": []}
        | {"sender": "human" if author == "user" else "assistant", "created_at": f"{at:%Y-%m-%dT%H:%M:%S}.000000Z"}
        for number, (at, author, text) in enumerate(chat)
    ]
    whole = [{"uuid": "a", "name": "Talk", "created_at": "", "account": {"uuid": "b"}, "chat_messages": told}]
    return json.dumps(whole, ensure_ascii=False).encode()


def openai_lines(chat: Said) -> bytes:
    lines = []
    for number in range(0, len(chat), 10):
        told = [{"role": "system", "content": OTHERS[1]}]
        told += [
            {"role": "user" if author == "user" else "assistant", "content": text}
            for _, author, text in chat[number : number + 10]
        ]
        lines.append(json.dumps({"messages": told}, ensure_ascii=False))
    return "\n".join(lines).encode()


def chats() -> Iterator[tuple[str, str, str, bytes, str, list[str], list[str]]]:
    """Kind, name, file name, bytes, who is meant, what she wrote, and what others and programs did."""
    for number, (name, (stamp, ios)) in enumerate(SPELLINGS.items()):
        text, own, others = whatsapp(stamp, ios, said(10 * number))
        encoded = text.encode("utf-8-sig" if number % 2 else "utf-8")
        yield (
            "WhatsApp",
            name,
            "_chat.txt" if ios else "WhatsApp Chat with Friends.txt",
            encoded,
            "Alice M.",
            own,
            others,
        )
    groups: tuple[tuple[str, str, Callable[[Said], bytes], str], ...] = (
        ("Telegram", "result.json", telegram, "Alice M."),
        ("Discord", "general.json", discord, "Alice M."),
        ("Slack", "export.zip", slack, "Alice M."),
        ("Signal", "data.json", sigexport, "Me"),
        ("Messenger", "facebook.zip", messenger, "Alice M."),
    )
    for number, (kind, file, write, me) in enumerate(groups):
        chat = said(200 + 10 * number)
        own = by(chat, "Alice M.")
        yield (
            "chats of other programs",
            kind,
            file,
            write(chat),
            me,
            own,
            [each for *_, each in chat if each not in own],
        )
    models: tuple[tuple[str, str, Callable[[Said], bytes]], ...] = (
        ("ChatGPT", "chatgpt.zip", chatgpt),
        ("Claude", "conversations.json", claude),
        ("messages", "chats.jsonl", openai_lines),
    )
    for number, (kind, file, write_model) in enumerate(models):
        chat = said(300 + 10 * number, others=("assistant",), me="user")
        own = by(chat, "user")
        yield "chats with a model", kind, file, write_model(chat), "user", own, by(chat, "assistant")


def unix(at: datetime) -> int:
    return int(at.replace(tzinfo=UTC).timestamp())


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()
