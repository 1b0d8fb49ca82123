"""EPUB books: their chapters in the order in which they are read."""

import posixpath
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile

from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers.archive_parts import local, part, xml
from sharedllm.text.readers.found import LARGEST_FILE, Unreadable
from sharedllm.text.readers.web_pages import words_of


def read(archive: ZipFile, source: str) -> Iterator[Document]:
    """One document of one turn; without the table of contents."""
    container = xml(part(archive, "META-INF/container.xml"))
    package = next((each.get("full-path") for each in container.iter() if local(each.tag) == "rootfile"), None)
    if package is None:
        raise Unreadable("does not say where its chapters are", remedy="See whether it opens elsewhere.")
    left_out: Counter[str] = Counter()
    texts = []
    room = LARGEST_FILE
    for name, is_contents in _chapters(xml(part(archive, package)), posixpath.dirname(package)):
        if name not in archive.namelist():
            continue
        data = part(archive, name, room)
        room -= len(data)
        text, more = words_of(data.decode("utf-8", "replace"))
        left_out.update(more)
        if is_contents:
            left_out["table of contents"] += len(text)
        else:
            texts.append(text)
    yield Document(source, "EPUB book", (Turn("\n\n".join(filter(None, texts))),), left_out=+left_out)


def _chapters(package: Any, folder: str) -> Iterator[tuple[str, bool]]:
    """Paths of the chapters in the archive, each once, and whether it is the table of contents."""
    items = {each.get("id"): each for each in package.iter() if local(each.tag) == "item"}
    seen = set()
    for each in package.iter():
        item = items.get(each.get("idref")) if local(each.tag) == "itemref" else None
        if item is not None and item.get("href") and item.get("href") not in seen:
            seen.add(item.get("href"))
            yield (
                posixpath.normpath(posixpath.join(folder, unquote(item.get("href")))),
                "nav" in (item.get("properties") or "").split(),
            )
