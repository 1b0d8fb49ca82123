"""One text, cut into training, validation and held-out blocks by its content alone."""

import hashlib
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property

from sharedllm.errors import TextError, TooLittleText
from sharedllm.text.repeats import Repeats, find_repeats

MIN_CHARACTERS = 2_000
"""From here on something can be learnt, and tested by parts: see `text.folds`."""

_GAP_SHARE, _MIN_GAP, _MAX_GAP = 0.01, 200, 4_000
_TRAIN_SHARE, _VALIDATION_SHARE = 0.8, 0.1


@dataclass(frozen=True)
class Split:
    """Three contiguous blocks of one text, in its order, with the text between them dropped.

    Attributes:
        train: about 80 %, the beginning.
        validation: about 10 %, for early stopping and the gate.
        heldout: about 10 %, the end, which nothing but an evaluation reads.
        sha256: of the whole text in UTF-8, in hex.
        whole: the text.
    """

    train: str
    validation: str
    heldout: str
    sha256: str
    whole: str = field(repr=False)

    @cached_property
    def repeats(self) -> Repeats:
        """What the training block gives away of the other two."""
        return find_repeats(self.train, self.validation, self.heldout)


def split_text(text: str, *, user: str | None = None) -> Split:
    """Cut ``text`` into blocks; equal texts give equal splits.

    Between two blocks about 1 % of the text is dropped, at least 200 characters and at most 5,600, so that no
    sentence and few topics span them. Blocks begin and end at line breaks where one is near, else at whitespace, else
    between characters as readers see them.

    Args:
        text: any language and script.
        user: whose text it is, for the error.

    Raises:
        TooLittleText: fewer than `MIN_CHARACTERS`. A text that passes may still be too short to hold any of it out,
            which is counted in tokens: see `tokenize`, and `tokenize_to_train` for what is done then.
        TextError: not valid Unicode.
    """
    whose = "The text" if user is None else f"The text of {user!r}"
    try:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{whose} holds an unpaired surrogate at character {error.start:,}",
            remedy="Remove it, or read the file as UTF-8.",
        ) from error
    if len(text) < MIN_CHARACTERS:
        raise TooLittleText(
            f"{whose} has {len(text):,} characters; to learn anything from it takes at least {MIN_CHARACTERS:,}",
            remedy="Add text: the more there is, the surer it can be told whether it helps; from some 50,000 characters"
            " (8,000 English words) on, part of it is held out for testing.",
        )
    gap = int(min(max(len(text) * _GAP_SHARE, _MIN_GAP), _MAX_GAP))
    kept = len(text) - 2 * gap
    train_end = int(kept * _TRAIN_SHARE)
    validation_start = train_end + gap
    validation_end = validation_start + int(kept * _VALIDATION_SHARE)
    # Blocks only ever shrink to a better boundary, so a gap is never smaller than it should be.
    reach = gap // 5
    train = text[: cut(text, range(train_end, train_end - reach, -1))]
    validation = text[
        cut(text, range(validation_start, validation_start + reach)) : cut(
            text, range(validation_end, validation_end - reach, -1)
        )
    ]
    heldout = text[cut(text, range(validation_end + gap, validation_end + gap + reach)) :]
    return Split(train, validation, heldout, sha256, text)


def cut(text: str, positions: range) -> int:
    """Choose where to cut: the first position after a line break, else after whitespace, else between characters.

    A character as a reader sees it may be several code points: a letter with its marks, an emoji with its modifiers.
    If no position is good, the first is returned.
    """
    for position in positions:
        if text[position - 1] == "\n":
            return position
    whole = [position for position in positions if not _inside_character(text, position)]
    for position in whole:
        if text[position - 1].isspace():
            return position
    return whole[0] if whole else positions[0]


def _inside_character(text: str, position: int) -> bool:
    following = text[position]
    joiner = "\u200d"
    skin_tone = "\U0001f3fb" <= following <= "\U0001f3ff"
    return unicodedata.category(following)[0] == "M" or skin_tone or joiner in (following, text[position - 1])
