"""Excel workbooks (xlsx): of every sheet the column of text, or else the cells that are sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zipfile import ZipFile

from sharedllm.text.documents import Document
from sharedllm.text.readers.archive_parts import elements, local, part, referred, related, xml
from sharedllm.text.readers.found import LARGEST_FILE, Unreadable
from sharedllm.text.readers.sheets import filled, text_of_sheet

_DATES = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}
"""Numbers of the formats that every workbook has of those that write a number as a date (ECMA-376, part 1, 18.8.30)."""

_LAST_DAY = 2_958_466
_COMMENTS = ("xl/comments", "xl/threadedComments")
_TRUE = ("1", "true", "on")
_KIND = "Excel workbook"


def read(archive: ZipFile, source: str, main: str) -> Iterator[Document]:
    """A document of each sheet in which there is text, a turn a cell; without hidden sheets and comments.

    Args:
        archive: the workbook.
        source: its path as it is shown.
        main: the part that lists its sheets.

    Raises:
        Unreadable: it is in another form than XML.
    """
    if not main.endswith(".xml"):
        raise Unreadable("is a workbook in its binary form (xlsb)", remedy="Save it as xlsx, and give that.")
    book = xml(part(archive, main))
    parts = related(archive, main)
    names = set(archive.namelist())
    strings = _strings(archive, [each.path for each in parts.values() if each.kind == "sharedStrings"])
    dates = _dated_styles(archive, [each.path for each in parts.values() if each.kind == "styles"])
    since_1904 = any(each.get("date1904") in _TRUE for each in book.iter() if local(each.tag) == "workbookPr")
    calendar = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 30)
    comments = [name for name in names if name.startswith(_COMMENTS) and name.endswith(".xml")]
    left_out = Counter({"comments": sum(_comments(archive, name) for name in comments)})
    found: list[Document] = []
    room = LARGEST_FILE
    for sheet in (each for each in book.iter() if local(each.tag) == "sheet"):
        path = referred(sheet, parts)
        if path not in names:
            continue
        data = part(archive, path, room)
        room -= len(data)
        rows = _rows(data, strings, dates, calendar)
        if sheet.get("state") in ("hidden", "veryHidden"):
            left_out["hidden sheets"] += sum(len(cell) for row in rows for cell in row)
            continue
        turns, rest = text_of_sheet(rows, source)
        left_out.update(rest)
        if turns:
            found.append(Document(f"{source}/{sheet.get('name')}", _KIND, turns))
    first, *others = found or [Document(source, _KIND, ())]
    yield replace(first, left_out=+left_out)
    yield from others


def _strings(archive: ZipFile, paths: Sequence[str]) -> list[str]:
    """What cells share; nothing of how it is pronounced."""
    return ["".join(_words(each)) for path in paths for each in elements(part(archive, path), "si")]


def _words(element: Any) -> Iterator[str]:
    for child in element:
        name = local(child.tag)
        if name == "t":
            yield child.text or ""
        elif name == "r":
            yield from _words(child)


def _comments(archive: ZipFile, name: str) -> int:
    return sum(len(each.text or "") for each in xml(part(archive, name)).iter() if local(each.tag) in ("t", "text"))


def _dated_styles(archive: ZipFile, paths: Sequence[str]) -> set[str]:
    """Styles, by their numbers in cells, in which a number is a date."""
    dates, found = set(_DATES), set()
    for path in paths:
        styles = xml(part(archive, path))
        for each in styles.iter():
            code, number = each.get("formatCode"), each.get("numFmtId", "")
            if local(each.tag) == "numFmt" and code and number.isdecimal():
                plain = code.split('"')[::2]
                if any(letter in "".join(plain).casefold().split("]")[-1] for letter in "ymdh"):
                    dates.add(int(number))
        formats = next((each for each in styles.iter() if local(each.tag) == "cellXfs"), ())
        for place, each in enumerate(formats):
            if each.get("numFmtId", "").isdecimal() and int(each.get("numFmtId")) in dates:
                found.add(str(place))
    return found


def _rows(data: bytes, strings: Sequence[str], dates: set[str], calendar: datetime) -> list[list[str]]:
    """The cells of a sheet as text."""
    rows: list[dict[int, str]] = []
    for row in elements(data, "row"):
        cells: dict[int, str] = {}
        column = -1
        for cell in row:
            column = _column(cell.get("r", ""), column + 1)
            if text := _value(cell, strings, dates, calendar).strip():
                cells[column] = text
        rows.append(cells)
    return filled(rows)


def _column(reference: str, following: int) -> int:
    """The column that a reference like ``AB12`` names; the one that follows where there is none."""
    number = 0
    for letter in reference:
        if not "A" <= letter <= "Z" or number > 1_000_000:
            break
        number = number * 26 + ord(letter) - 64
    return number - 1 if number else following


def _value(cell: Any, strings: Sequence[str], dates: set[str], calendar: datetime) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return "".join("".join(_words(each)) for each in cell if local(each.tag) == "is")
    value = next((each.text or "" for each in cell if local(each.tag) == "v"), "")
    if kind == "s":
        return strings[int(value)] if value.isdecimal() and int(value) < len(strings) else ""
    if kind == "n" and cell.get("s", "0") in dates:
        return _date(value, calendar)
    return "" if kind in ("b", "e") else value


def _date(value: str, calendar: datetime) -> str:
    try:
        days = float(value)
    except ValueError:
        return value
    return (calendar + timedelta(days=days)).isoformat() if 0 <= days < _LAST_DAY else value
