"""Whether a base has words for a text, or spells it in pieces of letters, which is known before any work.

Tokens per character, by the tokenizer of SmolLM2-135M, of the declaration of human rights: English takes 0.19 (novels,
news and programs of the sample users 0.21 to 0.26), the languages of Europe in Latin letters 0.32 (French) to 0.57
(Czech), Vietnamese 0.88, Russian, Ukrainian, Bulgarian and Greek 0.73 to 0.84, Arabic 0.94; Persian, Hindi and Hebrew
1.0 to 1.1; Chinese, Japanese, Thai, Tamil, Bengali, Armenian, Georgian and Korean 1.7 to 2.1, Burmese and Amharic 2.8
and 3.0.
"""

from collections.abc import Callable, Sequence

SPELLED = 1.0
"""Tokens per character from which on not even letters are tokens of their own, but pieces of them."""

_READ, _PIECES = 100_000, 20
"""Characters that are looked at, in pieces evenly spread."""


def tokens_per_character(text: str, encode: Callable[[str], Sequence[int]]) -> float:
    """How many tokens a base takes for a character of a text, on average over pieces of it.

    Args:
        text: not empty.
        encode: text to ids, from the tokenizer's opening on.
    """
    length = max(1, _READ // _PIECES)
    pieces = (
        [text] if len(text) <= _READ else [text[at : at + length] for at in range(0, len(text), len(text) // _PIECES)]
    )
    opening = len(encode(""))
    return sum(len(encode(piece)) - opening for piece in pieces) / sum(map(len, pieces))


def spelled_in_pieces(tokens: float, window: int = 256) -> str | None:
    """What is to be told of a text that the base spells in pieces of letters, and what comes of it; None of any other.

    Args:
        tokens: per character.
        window: tokens that are trained on at a time.
    """
    if tokens < SPELLED:
        return None
    return (
        f"this base has no words for most of this text: it spells it in pieces of letters, {tokens:.1f} tokens a"
        " character (about 0.2 in a language that it was trained on). So it reads"
        f" {window / tokens:.0f} characters at a time, as many steps of training read less of the text, and its answers"
        " will be short of sense and may end within a letter. A base that was trained on the language (--base) will do"
        " better"
    )
