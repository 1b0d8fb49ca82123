"""Exports of many files that belong together: names in one, messages in others."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sharedllm.text.conversations import chatgpt, claude, discord, google_chat, meta, slack
from sharedllm.text.conversations.gathering import broken, fields, words
from sharedllm.text.conversations.recognition import decoded, parsed
from sharedllm.text.documents import Document

Read = Callable[[], bytes]


@dataclass(frozen=True)
class Recognised:
    """What belongs together in a folder or an archive.

    Attributes:
        documents: of it.
        taken: the files that they are made of, or that tell whose they are: nobody else needs to read them.
    """

    documents: tuple[Document, ...]
    taken: frozenset[str]


_SLACK_DAY = re.compile(r"(?:(.*)/)?([^/]+)/\d{4}-\d\d-\d\d\.json")
_PACKAGE_CHANNEL = re.compile(r"(.*/)?(c?\d{6,})/messages\.(json|csv)")
_GOOGLE_USER = re.compile(r"((?:.*/)?)Users/[^/]+/user_info\.json")
_GOOGLE_CHAT = re.compile(r"((?:.*/)?)Groups/([^/]+)/messages\.json")
_WITH_MODEL = re.compile(r"((?:.*/)?)conversations(?:-\d+)?\.json")
_META_PIECE = re.compile(r"(.*/)?message_(\d+)\.json")
_META_PROFILE = re.compile(r"(?:.*/)?(?:profile_information|personal_information)\.json")


def recognise_folder(members: Mapping[str, Read]) -> Recognised:
    """Read what belongs together among the files of a folder or an archive; nothing where nothing does.

    Slack's export, Discord's package, Google Chat's, ChatGPT's and Claude's, and Messenger's and Instagram's are such.
    Other files, and other programs' exports, are for `recognise`, one by one.

    Args:
        members: by path as it is shown, parted by slashes, what reads a file. Files are read one after another, and
            only those whose names are of such an export.

    Raises:
        TextError: it is one, and cannot be read.
    """
    found: list[Document] = []
    taken: set[str] = set()
    for each in (_slack, _discord_package, _google_chat, _with_model, _meta):
        documents, files = each(members)
        found += documents
        taken |= files
    return Recognised(tuple(found), frozenset(taken))


def _value(path: str, members: Mapping[str, Read], kind: str) -> Any:
    text = decoded(members[path]())
    value, wrong = parsed(text) if text is not None else (None, "it is not UTF-8")
    if wrong:
        raise broken(path, kind, wrong)
    return value


def _slack(members: Mapping[str, Read]) -> tuple[list[Document], set[str]]:
    channels: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sorted(members):
        if day := _SLACK_DAY.fullmatch(path):
            channels[day[1] or "", day[2]].append(path)
    documents, taken = [], set()
    for root in sorted({root for root, _ in channels}):
        below = f"{root}/" if root else ""
        listed = f"{below}users.json"
        if listed not in members:
            continue
        names = slack.people(_value(listed, members, slack.KIND))
        if names is None:
            continue
        taken |= {f"{below}{each}.json" for each in _SLACK_LISTS} & members.keys()
        for (place, _), days in channels.items():
            if place == root:
                values = (_value(day, members, slack.KIND) for day in days)
                documents.append(slack.channel(days[0].rpartition("/")[0], values, names))
                taken |= set(days)
    return documents, taken


_SLACK_LISTS = ("users", "channels", "groups", "dms", "mpims", "integration_logs", "org_users", "canvases", "lists")


def _discord_package(members: Mapping[str, Read]) -> tuple[list[Document], set[str]]:
    documents: list[Document] = []
    taken: set[str] = set()
    owner, profile = _discord_owner(members)
    for path in sorted(members):
        channel = _PACKAGE_CHANNEL.fullmatch(path)
        if channel is None:
            continue
        if channel[3] == "csv":
            rows: Sequence[Mapping[str, Any]] | None = discord.package_rows(decoded(members[path]()) or "")
        else:
            value = _value(path, members, discord.KIND)
            rows = value if discord.holds(value) and isinstance(value, list) else [] if value == [] else None
        if rows is not None:
            folder = path.rpartition("/")[0]
            documents.append(discord.package_document(folder, list(rows), owner))
            above = folder.rpartition("/")[0]
            readme = "/".join([*above.split("/")[:-1], "README.txt"])
            taken |= {path, f"{folder}/channel.json", f"{above}/index.json", readme} & members.keys()
    return documents, taken | profile if taken else set()


def _discord_owner(members: Mapping[str, Read]) -> tuple[str, set[str]]:
    for path in sorted(members):
        if re.fullmatch(r"(?:.*/)?(?:account|\w+)/user\.json", path, re.IGNORECASE):
            user = fields(_value(path, members, discord.KIND))
            if name := words(user.get("global_name")) or words(user.get("username")):
                return name, {path}
    return discord.OWNER, set()


def _google_chat(members: Mapping[str, Read]) -> tuple[list[Document], set[str]]:
    documents: list[Document] = []
    taken: set[str] = set()
    users: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(members):
        if user := _GOOGLE_USER.fullmatch(path):
            users[user[1]].append(path)

    @cache
    def owner(root: str) -> str | None:
        owners = [google_chat.owner_of(_value(each, members, google_chat.KIND)) for each in users[root]]
        return owners[0] if len(owners) == 1 else None

    for path in sorted(members):
        if (room := _GOOGLE_CHAT.fullmatch(path)) is None:
            continue
        value = _value(path, members, google_chat.KIND)
        if google_chat.holds(value):
            documents.append(google_chat.chat(path.rpartition("/")[0], value, owner(room[1])))
            taken |= {path, *users[room[1]]} | ({f"{room[1]}Groups/{room[2]}/group_info.json"} & members.keys())
    return documents, taken


_BESIDE_MODEL = (
    *("user", "users", "projects", "memories", "message_feedback", "shared_conversations", "group_chats", "sora"),
    *("model_comparisons", "user_settings", "shopping", "design_chats"),
)
"""What else ChatGPT and Claude put beside their conversations, of which they wrote most."""


def _with_model(members: Mapping[str, Read]) -> tuple[list[Document], set[str]]:
    documents: list[Document] = []
    taken: set[str] = set()
    for path in sorted(members):
        if (found := _WITH_MODEL.fullmatch(path)) is None:
            continue
        value, wrong = parsed(decoded(members[path]()) or "")
        program = next((each for each in (chatgpt, claude) if wrong is None and each.holds(value)), None)
        if program is not None:
            documents += program.documents(path, value)
            beside = {f"{found[1]}{name}.json" for name in _BESIDE_MODEL} | {f"{found[1]}chat.html"}
            taken |= {path} | (beside & members.keys())
    return documents, taken


def _meta(members: Mapping[str, Read]) -> tuple[list[Document], set[str]]:
    chats: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for path in members:
        if piece := _META_PIECE.fullmatch(path):
            chats[(piece[1] or "").rstrip("/")].append((int(piece[2]), path))
    if not chats:
        return [], set()
    owners: list[str] = []
    taken: set[str] = set()
    for path in sorted(members):
        if _META_PROFILE.fullmatch(path) and (names := meta.owner(_value(path, members, meta.KIND))):
            owners += [meta.mended(name) for name in names]
            taken.add(path)
    documents = []
    for folder, pieces in sorted(chats.items()):
        values = [_value(path, members, meta.KIND) for _, path in sorted(pieces)]
        if all(meta.holds(value) for value in values):
            documents.append(meta.joined(folder or pieces[0][1], values, owners))
            taken |= {path for _, path in pieces}
    return documents, taken if documents else set()
