"""Word documents (docx): paragraphs as they stand, footnotes after them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from zipfile import ZipFile

from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers.archive_parts import local, part, xml

_NOTES = ("word/footnotes.xml", "word/endnotes.xml")
_ASIDE = {"word/comments.xml": "comments", "word/header": "running heads", "word/footer": "running heads"}
_LEFT_OUT = {"del": "deleted text", "moveFrom": "deleted text", "Fallback": "", "instrText": "", "rPr": "", "pPr": ""}
_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}


def read(archive: ZipFile, source: str, main: str) -> Iterator[Document]:
    """One document of one turn; without headers and footers, comments, and what was deleted while changes were kept.

    Args:
        archive: the document.
        source: its path as it is shown.
        main: the part that holds its text.
    """
    left_out: Counter[str] = Counter()
    lines = list(_paragraphs(xml(part(archive, main)), left_out))
    names = set(archive.namelist())
    for name in _NOTES:
        if name in names:
            lines += [line for line in _paragraphs(xml(part(archive, name)), left_out) if line.strip()]
    for name in sorted(names):
        why = next((why for beginning, why in _ASIDE.items() if name.startswith(beginning)), None)
        if why is not None and name.endswith(".xml"):
            left_out[why] += sum(map(len, _paragraphs(xml(part(archive, name)), Counter())))
    yield Document(source, "Word document", (Turn("\n".join(lines)),), left_out=+left_out)


def _paragraphs(element: Any, left_out: Counter[str]) -> Iterator[str]:
    """The text of every paragraph within, those in text boxes after the one that they hang on."""
    if _is_contents(element):
        left_out["table of contents"] += len("".join(_texts(element)))
        return
    for child in element:
        name = local(child.tag)
        if name in _LEFT_OUT:
            if why := _LEFT_OUT[name]:
                left_out[why] += len("".join(_texts(child)))
        elif name == "p":
            boxes: list[Any] = []
            yield "".join(_run(child, left_out, boxes))
            for box in boxes:
                yield from _paragraphs(box, left_out)
        elif name == "tr":
            cells = [" ".join(filter(None, _paragraphs(cell, left_out))) for cell in child if local(cell.tag) == "tc"]
            yield "\t".join(cells)
        else:
            yield from _paragraphs(child, left_out)


def _run(element: Any, left_out: Counter[str], boxes: list[Any]) -> Iterator[str]:
    for child in element:
        name = local(child.tag)
        if name == "t":
            yield child.text or ""
        elif name in _BREAKS:
            yield _BREAKS[name]
        elif name in _LEFT_OUT:
            if why := _LEFT_OUT[name]:
                left_out[why] += len("".join(_texts(child)))
        elif name == "txbxContent":
            boxes.append(child)
        else:
            yield from _run(child, left_out, boxes)


def _texts(element: Any) -> Iterator[str]:
    return (each.text or "" for each in element.iter() if local(each.tag) in ("t", "delText"))


def _is_contents(element: Any) -> bool:
    """Whether it is a table of contents that Word made."""
    if local(element.tag) != "sdt":
        return False
    gallery = next((each for each in element.iter() if local(each.tag) == "docPartGallery"), None)
    return gallery is not None and any(value == "Table of Contents" for value in gallery.attrib.values())
