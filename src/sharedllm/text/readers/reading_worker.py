"""What runs in a process of its own: reads the files that it is handed, one after the other, within bounds.

Run as ``python -P -m sharedllm.text.readers.reading_worker DESCRIPTOR`` by `ReadingProcess`.
"""

import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

from sharedllm.errors import TextError
from sharedllm.text.documents import Document, Turn, normalise_newlines
from sharedllm.text.readers.found import (
    LARGEST_FILE,
    FileReader,
    InnerFile,
    Taken,
    TooMuchText,
    Unreadable,
    document_to,
)

READERS = (
    "encoded",
    "epub",
    "exports",
    "mailboxes",
    "notebooks",
    "opendocument",
    "pdf",
    "rich_text",
    "sms_backups",
    "tables",
    "web_pages",
    "word_documents",
    "zipped",
)
_MEMORY = 1_000_000_000
_MOST_MEMORY = 4_000_000_000


def main() -> None:
    """Read what is asked for until nobody asks any more."""
    bounds = ((resource.RLIMIT_AS, _MOST_MEMORY), (resource.RLIMIT_FSIZE, LARGEST_FILE), (resource.RLIMIT_CORE, 0))
    for what, most in bounds:
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))
    sys.setrecursionlimit(2_000)
    channel = socket.socket(fileno=int(sys.argv[1]))
    received = b""
    descriptor: int | None = None
    while True:
        data, files, _, _ = socket.recv_fds(channel, 1 << 16, 1)
        if not data:
            return
        received += data
        descriptor = files[0] if files else descriptor
        if received.endswith(b"\n") and descriptor is not None:
            _answer(channel, json.loads(received), descriptor)
            received, descriptor = b"", None


def _answer(channel: socket.socket, request: dict[str, Any], descriptor: int) -> None:
    _bound(request)
    ended: dict[str, Any] = {"what": "end"}
    try:
        for reply, file in _replies(request, descriptor):
            line = json.dumps(reply, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
            if file is None:
                channel.sendall(line)
            else:
                sent = socket.send_fds(channel, [line], [file])
                channel.sendall(line[sent:])
            # One thing at a time: the next is made when this one has been dealt with.
            if not channel.recv(1):
                return
    except TextError as error:
        what = {TooMuchText: "too much", Unreadable: "unreadable"}.get(type(error), "refused")
        ended = {"what": what, "message": error.message, "remedy": error.remedy}
    except (MemoryError, RecursionError):
        message = "needs too much memory to be read, or is too deeply nested"
        ended = {"what": "unreadable", "message": message, "remedy": ""}
    except BrokenPipeError:
        raise
    except Exception as error:
        message = f"is damaged, or not what it seems: {type(error).__name__}"
        ended = {"what": "unreadable", "message": message, "remedy": ""}
    channel.sendall(json.dumps(ended).encode() + b"\n")


def _bound(request: dict[str, Any]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (min(hard, _MEMORY + 8 * request["size"]), hard))
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    seconds = int(used.ru_utime + used.ru_stime + request["seconds"]) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if hard == resource.RLIM_INFINITY else min(seconds, hard), hard))


def _replies(request: dict[str, Any], descriptor: int) -> Iterator[tuple[dict[str, Any], int | None]]:
    if request["reader"] not in READERS:
        raise ValueError(request["reader"])
    read: FileReader = import_module(f"sharedllm.text.readers.{request['reader']}").read
    room = request["room"]
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        for each in read(file, request["source"]):
            if isinstance(each, Document):
                document = _clean(each)
                room -= sum(len(turn.text.encode()) for turn in document.turns)
                if room < 0:
                    raise TooMuchText("holds more text than there is room for", remedy="Give less of it.")
                yield document_to(document), None
            elif isinstance(each, InnerFile):
                with each.content as content:
                    yield {"what": "member", "name": each.name}, content.fileno()
            elif isinstance(each, Taken):
                yield {"what": "taken", "paths": sorted(each.paths)}, None
            else:
                said = {"message": each.error.message, "remedy": each.error.remedy}
                yield {"what": "unread", "source": each.source, **said}, None


def _clean(document: Document) -> Document:
    """Without what no text holds, like half of a surrogate pair or NUL, and without turns of nothing."""
    turns = tuple(
        Turn(text, turn.author, turn.when) for turn in document.turns if (text := _clean_text(turn.text)).strip()
    )
    return replace(document, turns=turns)


def _clean_text(text: str) -> str:
    return normalise_newlines(text).replace("\0", "").encode("utf-8", "replace").decode()


if __name__ == "__main__":
    main()
