"""Texts, JSON files and folders that may be exports of a chat: the readers of conversations know."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sharedllm.text.conversations import recognise, recognise_folder
from sharedllm.text.documents import Document
from sharedllm.text.readers.found import Taken, whole


def read(file: BinaryIO, source: str) -> Iterator[Document | Taken]:
    """The conversations of an export; nothing of what is none.

    Args:
        file: the export, or of a folder the paths in it: ``{"paths": [...]}``.
        source: its path as it is shown; of a folder, one that ends in a slash.
    """
    data = whole(file)
    if not source.endswith("/"):
        yield from recognise(source, data) or ()
        return
    found = recognise_folder({path: partial(_content, path) for path in json.loads(data)})
    yield from found.documents
    yield Taken(found.taken)


def _content(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return whole(file)
