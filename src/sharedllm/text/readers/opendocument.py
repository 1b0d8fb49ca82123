"""OpenDocument: texts (odt), spreadsheets (ods), presentations (odp), as Word's, Excel's and PowerPoint's are read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from zipfile import ZipFile

from sharedllm.text.documents import Document, Turn
from sharedllm.text.prose import is_sentence
from sharedllm.text.readers.archive_parts import local, part, xml
from sharedllm.text.readers.found import Unreadable
from sharedllm.text.readers.sheets import filled, text_of_sheet

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
_HEADS = {"header", "footer", "date-time", "page-number"}
"""Frames of a slide that are on every one of them."""


def read(archive: ZipFile, source: str) -> Iterator[Document]:
    """What is in it; without comments, and what was deleted while changes were kept.

    Of a text it is one document of one turn, with footnotes after it; of a spreadsheet one of each sheet in which there
    is text, a turn a cell; of a presentation one of a turn a slide with a sentence on it or in its notes.

    Raises:
        Unreadable: it is another kind of OpenDocument.
    """
    kind = part(archive, "mimetype", 200).decode("ascii", "replace")
    reader = next((read for sign, read in _READERS.items() if sign in kind), None)
    if reader is None:
        raise Unreadable(
            f"is an OpenDocument file of the kind {kind[:60]!r}, and no text",
            remedy="Open it and export it as text (Save as: plain text, UTF-8), and give that.",
        )
    yield from reader(xml(part(archive, "content.xml")), source)


def _text(content: Any, source: str) -> Iterator[Document]:
    left_out: Counter[str] = Counter()
    yield Document(source, "OpenDocument text", (Turn("\n".join(_lines(content, left_out))),), left_out=+left_out)


def _spreadsheet(content: Any, source: str) -> Iterator[Document]:
    left_out: Counter[str] = Counter()
    hidden = {
        _value(style, "name")
        for style in content.iter()
        if local(style.tag) == "style" and any(_value(each, "display") == "false" for each in style)
    }
    found: list[Document] = []
    for sheet in _outermost(content, "table"):
        rows = filled([_cells(row, left_out) for row in _outermost(sheet, "table-row")])
        if _value(sheet, "style-name") in hidden:
            left_out["hidden sheets"] += sum(len(cell) for row in rows for cell in row)
            continue
        turns, rest = text_of_sheet(rows, source)
        left_out.update(rest)
        if turns:
            found.append(Document(f"{source}/{_value(sheet, 'name')}", "OpenDocument spreadsheet", turns))
    first, *others = found or [Document(source, "OpenDocument spreadsheet", ())]
    yield replace(first, left_out=+left_out)
    yield from others


def _outermost(element: Any, name: str) -> Iterator[Any]:
    """Elements of a name within one, without those within these: what a table in a cell says is the cell's."""
    for child in element:
        if local(child.tag) == name:
            yield child
        else:
            yield from _outermost(child, name)


def _cells(row: Any, left_out: Counter[str]) -> dict[int, str]:
    """What stands in a row, by column; what a cell repeats stands there once, for a number costs nothing to write."""
    cells: dict[int, str] = {}
    column = 0
    for cell in row:
        if local(cell.tag) in ("table-cell", "covered-table-cell"):
            shown = "\n".join(_lines(cell, left_out)).strip()
            text = _value(cell, "date-value") or shown
            if text:
                cells[column] = text
            column += _count_of(_value(cell, "number-columns-repeated"))
    return cells


def _presentation(content: Any, source: str) -> Iterator[Document]:
    left_out: Counter[str] = Counter()
    turns = []
    for slide in (each for each in content.iter() if local(each.tag) == "page"):
        lines = [line for line in _lines(slide, left_out) if line.strip()]
        text = "\n".join(lines)
        if any(map(is_sentence, lines)):
            turns.append(Turn(text))
        else:
            left_out["slides without a sentence"] += len(text)
    yield Document(source, "OpenDocument presentation", tuple(turns), left_out=+left_out)


_READERS = {
    "opendocument.text": _text,
    "opendocument.spreadsheet": _spreadsheet,
    "opendocument.presentation": _presentation,
}
"""By what is in its kind."""


def _lines(element: Any, left_out: Counter[str]) -> list[str]:
    """The paragraphs in an element, and after them its footnotes."""
    notes: list[Any] = []
    lines = list(_paragraphs(element, left_out, notes))
    while notes:
        lines += _paragraphs(notes.pop(0), left_out, notes)
    return lines


def _paragraphs(element: Any, left_out: Counter[str], notes: list[Any]) -> Iterator[str]:
    for child in element:
        name = local(child.tag)
        if name in _LEFT_OUT:
            _count(child, name, left_out)
        elif name == "frame" and _value(child, "class") in _HEADS:
            left_out["running heads"] += len("".join(child.itertext()).strip())
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
            yield " " * min(_count_of(_value(child, "c")), 100)
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


def _value(element: Any, name: str) -> str:
    """An attribute, whatever its namespace."""
    return next((value for key, value in element.attrib.items() if local(key) == name), "")


def _count_of(written: str) -> int:
    """A number of repetitions; one where it says none, or more than there can be."""
    return int(written) if written.isdecimal() and len(written) < 6 else 1


def _count(element: Any, name: str, left_out: Counter[str]) -> None:
    if why := _LEFT_OUT[name]:
        left_out[why] += len("".join(element.itertext()))
