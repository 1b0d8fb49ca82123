"""OpenDocument texts (odt): paragraphs as they stand, footnotes after them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from zipfile import ZipFile

from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers.archive_parts import local, part, xml
from sharedllm.text.readers.found import Unreadable

_LEFT_OUT = {
    "tracked-changes": "deleted text",
    "annotation": "comments",
    "table-of-content": "table of contents",
    "alphabetical-index": "table of contents",
    "forms": "",
    "sequence-decls": "",
    "ruby-text": "",
    "title": "",
    "desc": "",
}
_BREAKS = {"tab": "\t", "line-break": "\n"}


def read(archive: ZipFile, source: str) -> Iterator[Document]:
    """One document of one turn; without comments, and what was deleted while changes were kept."""
    kind = part(archive, "mimetype", 200).decode("ascii", "replace")
    if "opendocument.text" not in kind:
        raise Unreadable(
            f"is an OpenDocument file of the kind {kind[:60]!r}, and no text",
            remedy="Open it and export it as text (Save as: plain text, UTF-8), and give that.",
        )
    left_out: Counter[str] = Counter()
    notes: list[Any] = []
    lines = list(_paragraphs(xml(part(archive, "content.xml")), left_out, notes))
    while notes:
        lines += _paragraphs(notes.pop(0), left_out, notes)
    yield Document(source, "OpenDocument text", (Turn("\n".join(lines)),), left_out=+left_out)


def _paragraphs(element: Any, left_out: Counter[str], notes: list[Any]) -> Iterator[str]:
    for child in element:
        name = local(child.tag)
        if name in _LEFT_OUT:
            _count(child, name, left_out)
        elif name in ("p", "h"):
            frames: list[Any] = []
            yield "".join(_inline(child, left_out, notes, frames))
            for frame in frames:
                yield from _paragraphs(frame, left_out, notes)
        elif name == "table-row":
            cells = [" ".join(filter(None, _paragraphs(cell, left_out, notes))) for cell in child]
            yield "\t".join(cells)
        else:
            yield from _paragraphs(child, left_out, notes)


def _inline(element: Any, left_out: Counter[str], notes: list[Any], frames: list[Any]) -> Iterator[str]:
    yield _spaces(element.text)
    for child in element:
        name = local(child.tag)
        if name == "s":
            yield " " * min(_number(child), 100)
        elif name in _BREAKS:
            yield _BREAKS[name]
        elif name in _LEFT_OUT:
            _count(child, name, left_out)
        elif name == "note":
            notes += [each for each in child if local(each.tag) == "note-body"]
        elif name in ("text-box", "frame", "custom-shape"):
            frames.append(child)
        elif name:
            # What has no name is an entity, which is not put in.
            yield from _inline(child, left_out, notes, frames)
        yield _spaces(child.tail)


def _spaces(text: str | None) -> str:
    # White space is one space, as in HTML, and what is more is spelled out.
    return " ".join(text.replace("\n", " ").split(" ")) if text else ""


def _number(element: Any) -> int:
    count = next((value for name, value in element.attrib.items() if local(name) == "c"), "1")
    return int(count) if count.isdecimal() and len(count) < 6 else 1


def _count(element: Any, name: str, left_out: Counter[str]) -> None:
    if why := _LEFT_OUT[name]:
        left_out[why] += len("".join(element.itertext()))
