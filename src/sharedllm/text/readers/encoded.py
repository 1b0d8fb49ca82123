"""Text in another encoding than UTF-8, and text that was once read in a wrong one; exports of chats among them."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

from sharedllm.extras import need
from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers import exports
from sharedllm.text.readers.charsets import decode
from sharedllm.text.readers.file_kinds import may_be_export
from sharedllm.text.readers.found import Taken, whole
from sharedllm.text.readers.garbled import looks_garbled

need("text")

import ftfy  # noqa: E402


def read(file: BinaryIO, source: str) -> Iterator[Document | Taken]:
    """What an export holds, or one document of one turn; its encoding is told by its bytes.

    Raises:
        TextError: it is an export that cannot be read, or JSON that nothing is known of.
    """
    data = whole(file)
    doubts: tuple[str, ...] = ()
    try:
        text = data.decode("iso2022_jp_2" if b"\x1b$" in data else "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        text, encoding = decode(data, error)
        text = text.removeprefix("\ufeff")
        doubts = (f"it is not in UTF-8; it was read as {encoding}",)
    if looks_garbled(text):
        mended = ftfy.fix_encoding(text)
        if mended != text:
            doubts = (*doubts, "some of it had been read in a wrong encoding before, and was mended")
            text = mended
    found = list(exports.read(BytesIO(text.encode()), source)) if may_be_export(source, text) else []
    for each in found or [Document(source, "plain text", (Turn(text),))]:
        yield replace(each, doubts=(*doubts, *each.doubts)) if isinstance(each, Document) else each
