"""Whether a text looks like what a person wrote, in any script, or like what a program did: a few shares, stated."""

import json
import re

MOST_SIGNS = 0.30
"""ASCII digits and signs among what is not white space. Of a hundred people the most is 26 %, in a library;
JSON has 33 % and more."""

LEAST_SPACE = 0.08
"""White space in a text of mostly ASCII characters. Of a hundred people the least is 15 %; base64 and minified programs
have 1 %. Scripts that do without spaces are not ASCII."""

MOST_TAGS = 0.20
"""Characters within ``<tags>``. A library that writes HTML has 3 %; pages have 40 % and more."""

MOST_CONTROLS = 0.001
"""Control characters, of which text has none but tabs and line breaks, and characters that stand for lost ones."""

_FEWEST = 200
"""Characters of which a share says something."""

_SENTENCE, _WORDS = 60, 8

_SIGNS = bytes(each for each in range(33, 127) if not chr(each).isalpha())
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufffd]")
_TAG = re.compile(r"</?[A-Za-z!?][^<>]{0,1000}>")


def why_not_prose(text: str) -> str | None:
    """Why a text does not look like a person's words, prose or program; None if it does.

    Args:
        text: of one file. One of a few lines is not doubted.
    """
    if len(text) < _FEWEST or not text.strip():
        return None
    controls = len(_CONTROLS.findall(text)) / len(text)
    if controls > MOST_CONTROLS:
        return f"{controls:.1%} of it is control characters, as in binary data"
    if _is_json(text):
        return "it is JSON"
    tags = sum(map(len, _TAG.findall(text))) / len(text)
    if tags > MOST_TAGS:
        return f"{tags:.0%} of it is <tags>"
    inked = sum(map(len, text.split()))
    plain = text.encode("ascii", "ignore")
    signs = (len(plain) - len(plain.translate(None, _SIGNS))) / inked
    if signs > MOST_SIGNS:
        return f"{signs:.0%} of it is digits and signs"
    space = 1 - inked / len(text)
    if space < LEAST_SPACE and len(b"".join(plain.split())) > inked / 2:
        return f"only {space:.0%} of it is spaces and line breaks, as in encoded data or minified programs"
    return None


def is_sentence(piece: str) -> bool:
    """Whether a piece of a sheet or a slide is a sentence, and no heading, name or number.

    It is long enough to be one and has words enough; in a script without spaces, signs enough.
    """
    if len(piece.split()) >= _WORDS and len(piece) >= _SENTENCE:
        return True
    letters = sum(character.isalpha() and character >= "\u0e00" for character in piece)
    return letters >= _SENTENCE // 3 and letters > len(piece) // 2


def _is_json(text: str) -> bool:
    """Whether it is a JSON object or array, or a line of them after the other."""
    text = text.strip()
    if text[:1] not in ("{", "["):
        return False
    lines = text.split("\n")
    return _parses(text) or (len(lines) > 1 and _parses(lines[0]) and _parses(lines[-1]))


def _parses(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False
