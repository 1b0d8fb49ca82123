"""RTF documents."""

from collections.abc import Iterator
from typing import BinaryIO

from sharedllm.extras import need
from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers.found import whole

need("text")

from striprtf.striprtf import rtf_to_text  # noqa: E402


def read(file: BinaryIO, source: str) -> Iterator[Document]:
    """One document of one turn, without markup and pictures."""
    data = whole(file)
    text: str = rtf_to_text(data.decode("cp1252", "replace"), errors="ignore")
    yield Document(source, "RTF document", (Turn(text),), left_out={"markup": max(0, len(data) - len(text))})
