"""PDF documents: their words in lines and paragraphs, without what every page repeats."""

import ctypes
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, BinaryIO

from sharedllm.extras import need
from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers.found import Unreadable, whole

need("text")

import pypdfium2  # noqa: E402
import pypdfium2.raw as pdfium  # noqa: E402

MOST_PAGES = 20_000
_HEADS = "page numbers and running heads"
_EDGE = 2
"""Lines at the top and at the bottom of a page among which running heads are looked for."""

_FEWEST = 3
_OFTEN = 0.3
_FULL = 0.8
_FAR = 1.35
_NUMBERS = re.compile(r"\d+")
_HYPHEN = ("\x02", "\ufffe")
"""What PDFium gives for a hyphen at a line's end, before the rest of the word, which it may take to the same line."""

_CONTROLS = re.compile("[\x00\x01\x03-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_MOST_CONTROLS = 0.2
"""Of characters, those that are no letters: numbers of a font's own."""

_BEGINS = r"(?<![^\W\d_])"
"""Of a word, where alone it is worth looking at it: else one of many letters would be looked at from each of them."""

_BROKEN = re.compile(_BEGINS + r"([^\W\d_]+)[\x02\ufffe]([^\W\d_]+)")
_HYPHENED = re.compile(_BEGINS + r"[^\W\d_]+-[^\W\d_]+")
_LEADERS = re.compile(r"(?:\.\s?){5,}\s*(\d{1,4}|[ivxlc]{1,6})?\s*$")
"""Dots that lead to a page's number, which may stand on a line of its own."""


@dataclass(frozen=True)
class _Line:
    """A line of a page: where it begins and ends, and how high it stands, in points."""

    text: str
    left: float
    right: float
    bottom: float
    height: float


def read(file: BinaryIO, source: str) -> Iterator[Document]:
    """One document of one turn.

    Raises:
        Unreadable: it is locked, or holds pictures of text and no text, or its fonts do not say of which letters.
    """
    try:
        document = pypdfium2.PdfDocument(whole(file))
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise Unreadable("is locked with a password", remedy="Save it without one, or leave it out.") from error
        raise
    count = len(document)
    if count > MOST_PAGES:
        raise Unreadable(f"has {count:,} pages; {MOST_PAGES:,} are read", remedy="Give less of it.")
    pages = [_lines(document[number]) for number in range(count)]
    if not any(pages):
        raise Unreadable(
            f"holds no text on its {'one page' if count == 1 else f'{count:,} pages'}: it may be scanned",
            remedy="Have its text recognised (OCR) and give that, or leave it out.",
        )
    shown = "".join(line.text for page in pages for line in page)
    if len(_CONTROLS.findall(shown)) > len(shown) * _MOST_CONTROLS:
        raise Unreadable(
            "holds text of which its fonts do not say which letters it is of",
            remedy="Have its text recognised (OCR) and give that, or leave it out.",
        )
    kept, left_out = _without_heads(pages)
    entries = [_entries(page) for page in kept]
    for page, places in zip(kept, entries, strict=True):
        left_out["table of contents"] += sum(len(page[place].text) for place in places)
    kept = [
        [line for place, line in enumerate(page) if place not in places]
        for page, places in zip(kept, entries, strict=True)
    ]
    yield Document(source, "PDF document", (Turn(_flowing(kept)),), left_out=+left_out)


def _entries(page: Sequence[_Line]) -> set[int]:
    """The lines of a page that are of a table of contents: their dots lead to a number, or those beside them do."""
    found = {place: each for place, line in enumerate(page) if (each := _LEADERS.search(line.text))}
    numbered = {
        place
        for place, each in found.items()
        if each[1] or (place + 2 < len(page) and page[place + 1].text.strip().isdecimal())
    }
    return numbered | {place for place in found if {place - 1, place + 1} & numbered}


def _lines(page: Any) -> list[_Line]:
    text = page.get_textpage()
    lines: list[_Line] = []
    characters: list[str] = []
    first = last = -1
    for index in range(text.count_chars() + 1):
        code = pdfium.FPDFText_GetUnicode(text, index) if index < text.count_chars() else 10
        character = chr(code) if code < 0x110000 else "\ufffd"
        if character in "\r\n":
            line = "".join(characters).rstrip()
            if line.strip():
                lines.append(_placed(text, line.strip(), first, last))
            characters, first = [], -1
            continue
        characters.append(character)
        if not character.isspace():
            first = index if first < 0 else first
            last = index
    text.close()
    page.close()
    return lines


def _placed(text: Any, line: str, first: int, last: int) -> _Line:
    left, _, bottom, top = _box(text, first)
    _, right, low, high = _box(text, last)
    size: float = pdfium.FPDFText_GetFontSize(text, first)
    return _Line(line, left, right, min(bottom, low), size or max(top, high) - min(bottom, low))


def _box(text: Any, index: int) -> tuple[float, float, float, float]:
    sides = [ctypes.c_double() for _ in range(4)]
    pdfium.FPDFText_GetCharBox(text, index, *sides)
    left, right, bottom, top = (side.value for side in sides)
    return left, right, bottom, top


def _without_heads(pages: Sequence[Sequence[_Line]]) -> tuple[list[list[_Line]], Counter[str]]:
    """The pages without lines that stand at their edges again and again, numbers aside."""
    often: Counter[tuple[bool, str]] = Counter()
    for page in pages:
        often.update({(place < _EDGE, _NUMBERS.sub("#", page[place].text)) for place in _edges(len(page))})
    least = max(_FEWEST, _OFTEN * len(pages))
    counted = _pages_are_counted(pages)
    left_out: Counter[str] = Counter()
    kept = []
    for page in pages:
        heads = {
            place
            for place in _edges(len(page))
            if often[place < _EDGE, _NUMBERS.sub("#", page[place].text)] >= least
            or (counted and place == len(page) - 1)
        }
        left_out[_HEADS] += sum(len(page[place].text) for place in heads)
        kept.append([line for place, line in enumerate(page) if place not in heads])
    return kept, +left_out


def _edges(count: int) -> set[int]:
    return {place for place in range(count) if place < _EDGE or place >= count - _EDGE}


def _pages_are_counted(pages: Sequence[Sequence[_Line]]) -> bool:
    """Whether the last line of each of a few pages is its number."""
    numbers = [_NUMBERS.findall(page[-1].text)[:1] if page else [] for page in pages]
    alone = all(page and len(page[-1].text) <= 20 for page in pages)
    firsts = [int(found[0]) for found in numbers if found and len(found[0]) < 6]
    return alone and len(firsts) == len(pages) > 1 and all(b - a == 1 for a, b in itertools.pairwise(firsts))


def _flowing(pages: Sequence[Sequence[_Line]]) -> str:
    """Lines joined to paragraphs: a line goes on where it is full, and what follows is near and no further in."""
    lines = [line for page in pages for line in page]
    if not lines:
        return ""
    edge = _usual_right(lines)
    steps = [a.bottom - b.bottom for page in pages for a, b in itertools.pairwise(page) if a.bottom > b.bottom]
    step = median(steps) if steps else 0.0
    text = [lines[0].text]
    for before, line in itertools.pairwise(lines):
        if before.text.endswith(_HYPHEN):
            text.append(line.text)
            continue
        down = before.bottom - line.bottom
        near = down <= step * _FAR
        alike = abs(before.height - line.height) <= 0.12 * max(before.height, line.height)
        full = before.right >= edge - (1 - _FULL) * (edge - min(before.left, line.left))
        further_in = line.left - before.left > 0.8 * line.height and before.right >= edge * _FULL
        goes_on = near and alike and full and not further_in
        text.append((" " if goes_on else "\n\n" if not near and down > 0 else "\n") + line.text)
    return whole_words("".join(text))


def whole_words(text: str) -> str:
    """A text with whole words that a line's end had broken; with the hyphen where it is elsewhere in the text, too."""

    def mended(found: re.Match[str]) -> str:
        spelled = f"{found[1]}-{found[2]}"
        return spelled if spelled.casefold() in known else found[1] + found[2]

    known = set(_HYPHENED.findall(text.casefold()))
    return _BROKEN.sub(mended, text).translate(dict.fromkeys(map(ord, _HYPHEN), "-"))


def _usual_right(lines: Sequence[_Line]) -> float:
    rights = sorted(line.right for line in lines)
    return rights[int(0.9 * (len(rights) - 1))]
