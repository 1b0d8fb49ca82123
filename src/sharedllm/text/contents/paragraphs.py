"""Paragraphs, the pieces in which a text's languages and near-repeats are told."""

import re
from collections.abc import Iterable, Iterator

_BETWEEN = re.compile(r"\n[^\S\n]*\n\s*")


def paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """What stands between empty lines, in order, without white space around it; of a short message, all of it."""
    for text in texts:
        for paragraph in _BETWEEN.split(text):
            if stripped := paragraph.strip():
                yield stripped
