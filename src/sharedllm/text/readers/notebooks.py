"""Notebooks (ipynb): what was written and programmed in their cells, and nothing of what came out."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers.found import Unreadable, whole

_IMAGES = "images"
_OUTPUTS = "outputs"


def read(file: BinaryIO, source: str) -> Iterator[Document]:
    """One document of one turn, of the cells in their order; of notebooks of any version."""
    notebook = json.loads(whole(file).decode("utf-8-sig"))
    if not isinstance(notebook, dict):
        raise Unreadable("is no notebook", remedy="Leave it out, or give its text as plain text.")
    sheets = notebook.get("worksheets") or [notebook]
    left_out: Counter[str] = Counter()
    texts = []
    for sheet in sheets:
        for cell in sheet.get("cells") or ():
            texts.append(_joined(cell.get("source", cell.get("input", ""))).strip("\n"))
            for output in cell.get("outputs") or ():
                _count(output, left_out)
            left_out[_IMAGES] += len(json.dumps(cell["attachments"])) if cell.get("attachments") else 0
    yield Document(source, "notebook", (Turn("\n\n".join(filter(str.strip, texts))),), left_out=+left_out)


def _joined(lines: Any) -> str:
    return "".join(map(str, lines)) if isinstance(lines, list) else str(lines)


def _count(output: Any, left_out: Counter[str]) -> None:
    """What a cell gave out: of every picture its base64, of everything else its text."""
    data = output.get("data", output)
    images = sum(len(_joined(value)) for kind, value in data.items() if str(kind).startswith("image/") or kind == "png")
    left_out[_IMAGES] += images
    left_out[_OUTPUTS] += max(0, len(json.dumps(output, ensure_ascii=False)) - images)
