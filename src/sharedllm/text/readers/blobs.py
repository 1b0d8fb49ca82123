"""Encoded data that was pasted into a text: nobody's words."""

import re

BLOBS = "base64"
"""What is said to have been left out."""

_DATA_ADDRESS = re.compile(r"data:[\w.+-]{1,60}/[\w.+-]{1,60}(?:;[\w=.+-]{1,60}){0,4};base64,[A-Za-z0-9+/=_-]{100,}")
_LINES = re.compile(
    r"(?:^[ \t>]{0,8}[A-Za-z0-9+/_-]{44,}={0,2}[ \t]*\n){3,}(?:^[ \t>]{0,8}[A-Za-z0-9+/_-]+={0,2}[ \t]*$)?", re.M
)
_RUN = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{240,}={0,2}(?![A-Za-z0-9+/=_-])")


def without_blobs(text: str) -> str:
    """A text without data addresses, and without what can only be base64: three long lines, or a very long word.

    Of letters, digits and signs as they come in data, all of them come: what has no digits or no capitals, like a word
    that somebody leant on or a line of dashes, stays.
    """
    for pattern in (_DATA_ADDRESS, _LINES, _RUN):
        text = pattern.sub(_unless_words, text)
    return text


def _unless_words(found: re.Match[str]) -> str:
    run = found[0]
    if run.startswith("data:"):
        return ""
    kinds = (str.isdigit, str.isupper, str.islower)
    few = len(run) / 40
    return "" if all(sum(map(kind, run)) > few for kind in kinds) else run
