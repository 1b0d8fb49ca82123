"""A text that is too little to hold any of it out, in blocks that are each tested by what the others teach.

Of 2,000 characters a tenth is two sentences: whether an adapter helps on them says next to nothing, and what they could
have taught is lost. So such a text is cross-validated (Stone 1974): it is cut into `FOLDS` contiguous blocks, a row is
trained on all but one, without what stands next to that one, and the one is what it is tested on, in turn, so that
every word judges and no row is judged by what it has read. In the end a row is trained on everything.

Why four: each row has three quarters of the text, so that it is nearly what will be served, at the price of five rows
in place of one; two blocks would halve what rows learn from, and more cost more and test on slivers. Why contiguous:
shuffled lines would test a sentence by its neighbours. Why not prequential, which trains on the beginning and tests on
what follows: its first judgements are of rows that have read a quarter, and with 2,000 characters that is a paragraph.
"""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput, TooLittleText
from sharedllm.text.repeats import Repeats, find_repeats
from sharedllm.text.splits import Split, cut
from sharedllm.text.windows import (
    Encode,
    TokenizedFold,
    TokenizedText,
    block_ids,
    round_up,
    tokenize,
    unreadable,
    windows,
)

FOLDS = 4
_GAP = 100
"""Characters dropped on either side of a block: a sentence. A long text's 200 would be a fifth of 2,000."""

_REACH = 20
_MIN_WINDOWS = 2
"""Of every block: eight in all is the least on which two rows are compared."""

_MIN_WINDOW = 16
"""Tokens: in fewer, hardly any has something before it to be told by."""


def tokenize_to_train(user: str, split: Split, encode: Encode, *, window: int = 256) -> TokenizedText:
    """Turn a user's text into token ids, whatever its length: in blocks to train, to validate and to hold out if it has
    enough for that, else in folds.

    Args: as for `tokenize`.

    Raises:
        TooLittleText: it has too few tokens to be tested by parts, either.
        TextError: the text has a token that the base has no embedding for.
    """
    try:
        return tokenize(user, split, encode, window=window)
    except TooLittleText:
        return _in_folds(user, split, encode, window)


def _in_folds(user: str, split: Split, encode: Encode, window: int) -> TokenizedText:
    opening = tuple(encode(""))
    opened = len(opening)
    pieces = list(_pieces(split.whole))
    try:
        whole = block_ids(split.whole, encode, opened)
        blocks = [block_ids(block, encode, opened) for _, block, _ in pieces]
        around = [[block_ids(each, encode, opened) for each in (before, after)] for before, _, after in pieces]
    except InvalidInput as error:
        raise unreadable(user, error) from error
    read, length = _read(user, split, whole, min(map(len, blocks)), window - opened)
    folds = tuple(
        TokenizedFold(np.concatenate(beside), windows(block, length + opened, opening)[:read])
        for block, beside in zip(blocks, around, strict=True)
    )
    # Half of the least that a row has to read, so that no two steps in a row read the same.
    drawn = min(window - opened, min(len(fold.train) for fold in folds) // 2)
    none = windows(np.empty(0, np.int64), length + opened, opening)
    return TokenizedText(
        user,
        whole,
        none,
        none,
        split.sha256,
        _repeats(pieces),
        opening,
        folds,
        drawn + opened,
        len(split.whole),
    )


def _read(user: str, split: Split, whole: npt.NDArray[np.int32], shortest: int, window: int) -> tuple[int, int]:
    """How many windows of every block are read, and how long they are: all of the shortest, in equal parts."""
    read = max(_MIN_WINDOWS, math.ceil(shortest / window))
    length = shortest // read
    if length < min(_MIN_WINDOW, window):
        least = FOLDS * _MIN_WINDOWS * _MIN_WINDOW
        wanted = 1.05 * len(split.whole) * _MIN_WINDOWS * _MIN_WINDOW / max(shortest, 1)
        raise TooLittleText(
            f"The text of {user!r} has {len(whole):,} tokens, {shortest:,} in one of the {FOLDS} parts that test one"
            f" another; it takes at least {least:,} in all, evenly spread",
            remedy=f"Give text like it of some {round_up(wanted):,} characters.",
        )
    return read, length


def _pieces(text: str) -> list[tuple[str, str, str]]:
    """Of every block what is before it, the block, and what is after it; the blocks in a row are the text."""
    inner = [len(text) * number // FOLDS for number in range(1, FOLDS)]
    ends = [0, *(cut(text, range(end, end - _REACH, -1)) for end in inner), len(text)]
    pieces = []
    for begin, end in pairwise(ends):
        before = text[: cut(text, range(begin - _GAP, begin - _GAP - _REACH, -1))] if begin else ""
        after = text[cut(text, range(end + _GAP, end + _GAP + _REACH)) :] if end < len(text) else ""
        pieces.append((before, text[begin:end], after))
    return pieces


def _repeats(pieces: list[tuple[str, str, str]]) -> Repeats:
    """What the others give away of every block, as validation text; nothing is held out."""
    found = [find_repeats(f"{before}\n{after}", block, "") for before, block, after in pieces]
    lengths = [len(block) for _, block, _ in pieces]
    share = sum(each.share * length for each, length in zip(found, lengths, strict=True)) / sum(lengths)
    examples = dict.fromkeys(example for each in found for example in each.examples)
    return Repeats(sum(each.lines for each in found), share, tuple(examples)[:3], share)
