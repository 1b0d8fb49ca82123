"""Words as people read them, in any script: the unit of next-word accuracy and of keystrokes saved.

A word is a run of letters, marks, digits and underscores, with apostrophes between two of them: *don't* is one word, a
hyphenated one is two. It is Unicode's default word boundary (UAX #29) for letters and digits, without its full stops
and colons. In scripts that are written without spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese,
Tibetan) nobody can tell words apart by looking, and the unit is a character with its marks.
"""

import unicodedata
from functools import lru_cache

APOSTROPHES = "'\u2019"

_WITHOUT_SPACES = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}
"""How Unicode's names of their characters begin."""


@lru_cache(maxsize=65_536)
def in_word(character: str) -> bool:
    """Whether a character is part of words."""
    return character == "_" or unicodedata.category(character)[0] in "LMN"


@lru_cache(maxsize=65_536)
def without_spaces(character: str) -> bool:
    """Whether a character of words is of a script that puts no spaces between them."""
    return in_word(character) and unicodedata.name(character, "").partition(" ")[0] in _WITHOUT_SPACES


def word_at(text: str, at: int = 0) -> tuple[int, bool]:
    """How long the word is that begins at a place of a text, and whether it has certainly ended there.

    Args:
        text: of which more may come.
        at: where to look.

    Returns:
        characters of the word, 0 where none begins; and False while what comes next may make it longer.
    """
    if at >= len(text) or not in_word(text[at]):
        return 0, at < len(text)
    end = at + 1
    if without_spaces(text[at]):
        while end < len(text) and unicodedata.category(text[end])[0] == "M":
            end += 1
        return end - at, end < len(text)
    while end < len(text):
        if text[end] in APOSTROPHES:
            if end + 1 == len(text):
                return end - at, False
            if not _continues(text[end + 1]):
                return end - at, True
        elif not _continues(text[end]):
            return end - at, True
        end += 1
    return end - at, False


def words(text: str) -> list[slice]:
    """Where the words of a text are. The last one may be cut off by its end."""
    found, at = [], 0
    while at < len(text):
        length, _ = word_at(text, at)
        if length:
            found.append(slice(at, at + length))
        at += length or 1
    return found


def _continues(character: str) -> bool:
    return in_word(character) and not without_spaces(character)
