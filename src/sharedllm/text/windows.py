"""A user's split as token ids: a flat array to train on, fixed windows to measure on."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput, TextError, TooLittleText
from sharedllm.text.repeats import Repeats
from sharedllm.text.splits import Split, cut

MIN_WINDOWS = 4
Encode = Callable[[str], list[int]]
"""Text to ids, from the tokenizer's opening on; of an empty text, that alone."""

_PIECE_CHARACTERS = 1_000_000


@dataclass(frozen=True, eq=False)
class TokenizedFold:
    """A block of a little text, and what a row may be trained on that is tested on the block.

    Attributes:
        train: int32 ``[tokens]``, all of the text but the block and what is near it, without the opening.
        windows: int64 ``[windows, window]`` of the block.
    """

    train: npt.NDArray[np.int32]
    windows: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenizedText:
    """One user's text, ready to train on and to be measured on.

    Attributes:
        user: the user id.
        train: int32 ``[tokens]``, without ``opening``; training draws its own sequences from it.
        validation: int64 ``[windows, window]``, at least `MIN_WINDOWS` of them; none of a text with folds.
        heldout: int64 ``[windows, window]``, likewise.
        sha256: of the text it came from, in hex.
        repeats: what the training block gives away of the other two.
        opening: what every window begins with, since the tokenizer begins every text with it; often nothing.
        folds: of a text too little to hold any of it out: ``train`` is all of it, and every block is tested once.
        window: tokens in a sequence to train on where the text is too short for the recipe's; None for the recipe's.
        characters: of the whole text.
    """

    user: str
    train: npt.NDArray[np.int32]
    validation: npt.NDArray[np.int64]
    heldout: npt.NDArray[np.int64]
    sha256: str
    repeats: Repeats
    opening: tuple[int, ...] = ()
    folds: tuple[TokenizedFold, ...] = ()
    window: int | None = None
    characters: int = 0


def windows(
    ids: Sequence[int] | npt.NDArray[np.integer], length: int, opening: Sequence[int] = ()
) -> npt.NDArray[np.int64]:
    """Cut ids into int64 ``[n, length]`` windows that do not overlap; the last ids that do not fill one are dropped.

    Args:
        ids: of a text, without ``opening``.
        length: of a window.
        opening: what every window begins with.
    """
    flat = np.asarray(ids, dtype=np.int64)
    length -= len(opening)
    count = len(flat) // length
    cut = flat[: count * length].reshape(count, length)
    return np.hstack([np.tile(np.asarray(opening, dtype=np.int64), (count, 1)), cut]) if len(opening) else cut


def text_windows(text: str, encode: Encode, length: int) -> npt.NDArray[np.int64]:
    """A text as int64 ``[n, length]`` windows that begin as the tokenizer begins a text."""
    opening = encode("")
    return windows(encode(text)[len(opening) :], length, opening)


def tokenize(user: str, split: Split, encode: Encode, *, window: int = 256) -> TokenizedText:
    """Turn a user's split into token ids.

    Args:
        user: the user id.
        split: the user's blocks.
        encode: called on pieces of at most a million characters, cut like blocks, so that time and memory stay in
            proportion to the text whatever the tokenizer does with a long one.
        window: tokens in a window.

    Raises:
        TooLittleText: a block has fewer than `MIN_WINDOWS` windows' worth of tokens.
        TextError: the text has a token that the base has no embedding for.
    """
    opening = tuple(encode(""))
    try:
        train, validation, heldout = (
            block_ids(block, encode, len(opening)) for block in (split.train, split.validation, split.heldout)
        )
    except InvalidInput as error:
        raise unreadable(user, error) from error
    needed = MIN_WINDOWS * (window - len(opening))
    shortest = min(len(train), len(validation), len(heldout))
    if shortest < needed:
        tokens = len(train) + len(validation) + len(heldout)
        characters = len(split.train) + len(split.validation) + len(split.heldout)
        # The gaps take some of it, and text to come need not be worth as many tokens as this.
        margin = 1.05
        wanted = margin * tokens * needed / max(shortest, 1)
        wanted_characters = margin * characters * needed / max(shortest, 1)
        raise TooLittleText(
            f"The text of {user!r} has {tokens:,} tokens: {len(train):,} to train on, {len(validation):,} for"
            f" validation and {len(heldout):,} held out, and each takes at least {needed:,}",
            remedy=f"Give about {round_up(wanted):,} tokens of text like it, some"
            f" {round_up(wanted_characters):,} characters ({round_up(wanted_characters / 6):,} words of English).",
        )
    return TokenizedText(
        user,
        train,
        windows(validation, window, opening),
        windows(heldout, window, opening),
        split.sha256,
        split.repeats,
        opening,
        characters=len(split.whole),
    )


def unreadable(user: str, error: InvalidInput) -> TextError:
    """What a tokenizer refused of a user's text, as an error of the text."""
    return TextError(f"The text of {user!r} cannot be read: {error.message}", remedy=error.remedy)


def block_ids(block: str, encode: Encode, opened: int) -> npt.NDArray[np.int32]:
    """A block as int32 ``[tokens]`` without the ``opened`` tokens that the tokenizer begins a text with."""
    return np.concatenate([np.asarray(encode(piece)[opened:], dtype=np.int32) for piece in _pieces(block)])


def _pieces(block: str) -> Iterator[str]:
    start = 0
    while len(block) - start > _PIECE_CHARACTERS:
        limit = start + _PIECE_CHARACTERS
        end = cut(block, range(limit, limit - _PIECE_CHARACTERS // 100, -1))
        yield block[start:end]
        start = end
    yield block[start:]


def round_up(number: float) -> int:
    """To two leading digits, as an estimate should read."""
    step = int(10 ** max(0, math.floor(math.log10(max(number, 1))) - 1))
    return math.ceil(number / step) * step
