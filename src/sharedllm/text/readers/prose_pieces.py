"""Whether a piece of a sheet or a slide is a sentence, and no heading, name or number."""

_SENTENCE = 60
_WORDS = 8


def is_sentence(piece: str) -> bool:
    """Whether it is long enough to be one and has words enough; in a script without spaces, signs enough."""
    if len(piece.split()) >= _WORDS and len(piece) >= _SENTENCE:
        return True
    letters = sum(character.isalpha() and character >= "\u0e00" for character in piece)
    return letters >= _SENTENCE // 3 and letters > len(piece) // 2
