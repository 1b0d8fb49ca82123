"""Texts, JSON files and folders that may be exports of a chat: the readers of conversations know."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sharedllm.text.conversations import recognise, recognise_folder
from sharedllm.text.conversations.recognition import decoded, parsed
from sharedllm.text.documents import Document
from sharedllm.text.readers.found import Taken, Unreadable, whole
from sharedllm.text.readers.tables import objects_tables


def read(file: BinaryIO, source: str) -> Iterator[Document | Taken]:
    """The conversations of an export, or the table that JSON is; nothing of what may be one person's text.

    Args:
        file: the export, or of a folder the paths in it: ``{"paths": [...]}``.
        source: its path as it is shown; of a folder, one that ends in a slash.

    Raises:
        Unreadable: it is JSON of another kind: nothing says whose words are whose, and all of them would be learned.
    """
    data = whole(file)
    if not source.endswith("/"):
        documents = recognise(source, data)
        yield from _other_json(data, source) if documents is None else documents
        return
    found = recognise_folder({path: partial(_content, path) for path in json.loads(data)})
    yield from found.documents
    yield Taken(found.taken)


def _other_json(data: bytes, source: str) -> list[Document]:
    """The table that JSON is; nothing of other text."""
    text = decoded(data) or ""
    if text.lstrip()[:1] not in ("{", "["):
        return []
    value, wrong = parsed(text)
    if wrong is not None or not isinstance(value, dict | list):
        return []
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return objects_tables(value, source)
    raise Unreadable(
        "is JSON of a kind that is not known here, and whose words are in it is not said",
        remedy="Give what you wrote as plain text, or as JSON lines with a text and an author.",
    )


def _content(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return whole(file)
