"""PowerPoint presentations (pptx): slides with sentences on them or in their notes, in the order in which they come."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from zipfile import ZipFile

from sharedllm.text.documents import Document, Turn
from sharedllm.text.prose import is_sentence
from sharedllm.text.readers.archive_parts import local, part, referred, related, xml
from sharedllm.text.readers.found import LARGEST_FILE

_HEADS = {"dt", "ftr", "hdr", "sldNum", "sldImg"}
"""Places of a slide that hold what is on every one of them."""

_BARE = "slides without a sentence"
_COMMENT = re.compile(r"ppt/comments/[^/]+\.xml")


def read(archive: ZipFile, source: str, main: str) -> Iterator[Document]:
    """One document of a turn a slide: its text, tables and diagrams, and its notes; without comments.

    A slide is read where a sentence is on it or in its notes, and then all of it.

    Args:
        archive: the presentation.
        source: its path as it is shown.
        main: the part that lists its slides.
    """
    parts, names = related(archive, main), set(archive.namelist())
    left_out: Counter[str] = Counter()
    turns = []
    room = LARGEST_FILE
    for slide in (each for each in xml(part(archive, main)).iter() if local(each.tag) == "sldId"):
        path = referred(slide, parts)
        if path not in names:
            continue
        beside = related(archive, path)
        notes = [each.path for each in beside.values() if each.kind == "notesSlide" and each.path in names]
        diagrams = [each.path for each in beside.values() if each.kind == "diagramData" and each.path in names]
        lines: list[str] = []
        for name in (path, *diagrams, *notes):
            data = part(archive, name, room)
            room -= len(data)
            lines += [line for line in _paragraphs(xml(data), left_out) if line.strip()]
        text = "\n".join(lines)
        if any(map(is_sentence, lines)):
            turns.append(Turn(text))
        else:
            left_out[_BARE] += len(text)
    for name in sorted(filter(_COMMENT.fullmatch, names)):
        left_out["comments"] += sum(len(each.text or "") for each in xml(part(archive, name)).iter())
    yield Document(source, "PowerPoint presentation", tuple(turns), left_out=+left_out)


def _paragraphs(element: Any, left_out: Counter[str]) -> Iterator[str]:
    for child in element:
        name = local(child.tag)
        if name == "p":
            yield "".join(_inline(child))
        elif name == "tr":
            cells = [" ".join(filter(None, _paragraphs(cell, left_out))) for cell in child if local(cell.tag) == "tc"]
            yield "\t".join(cells)
        elif name == "sp" and _is_head(child):
            left_out["running heads"] += len("".join(_texts(child)))
        elif name != "Fallback":
            yield from _paragraphs(child, left_out)


def _inline(paragraph: Any) -> Iterator[str]:
    for child in paragraph:
        name = local(child.tag)
        if name == "br":
            yield "\n"
        elif name in ("r", "fld"):
            yield "".join(_texts(child))


def _texts(element: Any) -> Iterator[str]:
    return (each.text or "" for each in element.iter() if local(each.tag) == "t")


def _is_head(shape: Any) -> bool:
    return any(local(each.tag) == "ph" and each.get("type") in _HEADS for each in shape.iter())
