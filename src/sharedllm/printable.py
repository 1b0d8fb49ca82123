"""Untrusted text, such as a user id or what a model wrote, made safe to show."""

import unicodedata

# They reorder the text around them, so an id could make a line read as somebody else's.
_BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(text: str, keep: str = "") -> str:
    """``text`` with whatever could steer a terminal or a page written as an escape; letters of any script stay.

    Args:
        text: untrusted.
        keep: characters to leave alone, such as line ends in a continuation.
    """

    def escaped(character: str) -> bool:
        steers = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS
        return steers and character not in keep

    return "".join(ascii(character)[1:-1] if escaped(character) else character for character in text)
