"""Files of text in another encoding than UTF-8, or that were once read in a wrong one, of whichever kind they are."""

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import BinaryIO

from sharedllm.extras import need
from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers import exports, tables
from sharedllm.text.readers.charsets import decode
from sharedllm.text.readers.file_kinds import ENCODED, kind_of, may_be_export, may_be_table, utf_16_without_mark
from sharedllm.text.readers.found import FileReader, ReadResult, Unreadable, whole
from sharedllm.text.readers.garbled import looks_garbled

need("text")

import ftfy  # noqa: E402

_HEAD_BYTES = 65_536
_DECLARED = re.compile(r"""\A(\s{0,9}<\?xml[^<>]{0,99}?)\sencoding=(["'])[^"'<>]{0,40}\2""")
"""What XML says of its encoding, which is another once it is read."""


def read(file: BinaryIO, source: str) -> Iterator[ReadResult]:
    """What a file of its kind holds, or one document of one turn; its encoding is told by its bytes.

    Raises:
        TextError: it is an export that cannot be read, JSON that nothing is known of, or of a kind that is not read.
    """
    data = whole(file)
    doubts: tuple[str, ...] = ()
    # Of plain letters it is UTF-8 as well, with NUL between them.
    encoding = utf_16_without_mark(data)
    try:
        text = data.decode(encoding or ("iso2022_jp_2" if b"\x1b$" in data else "utf-8"))
    except UnicodeDecodeError as error:
        text, encoding = decode(data, error)
    text = text.removeprefix("\ufeff")
    if encoding is not None:
        doubts = (f"it is not in UTF-8; it was read as {encoding}",)
    if looks_garbled(text):
        mended = ftfy.fix_encoding(text)
        if mended != text:
            doubts = (*doubts, "some of it had been read in a wrong encoding before, and was mended")
            text = mended
    found = _of_its_kind(text, source) or [Document(source, "plain text", (Turn(text),))]
    for each in found:
        yield replace(each, doubts=(*doubts, *each.doubts)) if isinstance(each, Document) else each


def _of_its_kind(text: str, source: str) -> list[ReadResult]:
    """What the reader of a text's kind finds in it, as of a table or an export; nothing where it is of none."""
    data = _DECLARED.sub(r"\1", text).encode()
    kind = kind_of(data[:_HEAD_BYTES], source)
    if kind is None or kind is ENCODED:
        if may_be_table(source, text):
            return list(tables.read(BytesIO(data), source))
        return list(exports.read(BytesIO(data), source)) if may_be_export(source, text) else []
    if kind.reader is None:
        raise Unreadable(f"is not text of somebody; it is {kind.name}", remedy=kind.remedy)
    read_kind: FileReader = import_module(f"sharedllm.text.readers.{kind.reader}").read
    return list(read_kind(BytesIO(data), source))
