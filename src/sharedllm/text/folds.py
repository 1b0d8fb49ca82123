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

from sharedllm.errors import InvalidInput, TooLittleText
from sharedllm.text.passages import own_words
from sharedllm.text.repeats import Repeats, find_repeats
from sharedllm.text.splits import Learned, Passages, Split
from sharedllm.text.windows import (
    Converse,
    Encode,
    Ids,
    TokenizedFold,
    TokenizedText,
    has_chats,
    passage_ids,
    round_up,
    targets,
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


def tokenize_to_train(
    user: str, split: Split, encode: Encode, *, converse: Converse | None = None, window: int = 256
) -> TokenizedText:
    """Turn a user's text into token ids, whatever its length: in blocks to train, to validate and to hold out if it has
    enough for that, else in folds.

    Args: as for `tokenize`.

    Raises:
        TooLittleText: it has too few tokens to be tested by parts, either.
        TextError: the text has a token that the base has no embedding for.
    """
    try:
        return tokenize(user, split, encode, converse=converse, window=window)
    except TooLittleText:
        return _in_folds(user, split, encode, converse, window)


def _in_folds(user: str, split: Split, encode: Encode, converse: Converse | None, window: int) -> TokenizedText:
    opening = tuple(encode(""))
    opened = len(opening)
    learned = Learned(split.passages)
    pieces = list(_pieces(learned))
    try:
        whole = passage_ids(learned.between(0, len(learned.words)), encode, opened, converse)
        blocks = [passage_ids(block, encode, opened, converse) for _, block, _ in pieces]
        around = [
            [passage_ids(each, encode, opened, converse) for each in (before, after)] for before, _, after in pieces
        ]
    except InvalidInput as error:
        raise unreadable(user, error) from error
    read, length = _read(user, split, whole, blocks, window - opened)
    # Of plain text as much is read of every block; of conversations the windows of a block predict more or less.
    most = None if has_chats(split) else read
    folds = tuple(
        TokenizedFold(np.concatenate(beside), windows(block, length + opened, opening)[:most])
        for block, beside in zip(blocks, around, strict=True)
    )
    # Half of the least that a row has to read, so that no two steps in a row read the same.
    drawn = min(window - opened, min(targets(fold.train) for fold in folds) // 2)
    none = windows(np.empty(0, np.int64), length + opened, opening)
    return TokenizedText(
        user,
        whole,
        none,
        none,
        split.sha256,
        _given_away(pieces),
        opening,
        folds,
        drawn + opened,
        len(split.whole),
        split.learn,
        has_chats(split),
    )


def _read(user: str, split: Split, whole: Ids, blocks: list[Ids], window: int) -> tuple[int, int]:
    """How many windows of every block are read, and how long they are: all of the shortest, in equal parts."""
    shortest = min(map(targets, blocks))
    read = max(_MIN_WINDOWS, math.ceil(shortest / window))
    if shortest // read < min(_MIN_WINDOW, window):
        least = FOLDS * _MIN_WINDOWS * _MIN_WINDOW
        wanted = 1.05 * len(split.whole) * _MIN_WINDOWS * _MIN_WINDOW / max(shortest, 1)
        raise TooLittleText(
            f"The text of {user!r} has {targets(whole):,} tokens, {shortest:,} in one of the {FOLDS} parts that test"
            f" one another; it takes at least {least:,} in all, evenly spread",
            remedy=f"Give text like it of some {round_up(wanted):,} characters.",
        )
    return read, min(window, min(map(len, blocks)) // read)


def _pieces(learned: Learned) -> list[tuple[Passages, Passages, Passages]]:
    """Of every block what is before it, the block, and what is after it; the blocks in a row are the whole."""
    size = len(learned.words)
    inner = [size * number // FOLDS for number in range(1, FOLDS)]
    ends = [0, *(learned.cut(range(end, end - _REACH, -1)) for end in inner), size]
    pieces = []
    for begin, end in pairwise(ends):
        before = learned.cut(range(begin - _GAP, begin - _GAP - _REACH, -1)) if begin else 0
        after = learned.cut(range(end + _GAP, end + _GAP + _REACH)) if end < size else size
        pieces.append((learned.between(0, before), learned.between(begin, end), learned.between(after, size)))
    return pieces


def repeats_by_parts(split: Split) -> Repeats:
    """What `tokenize_to_train` says is given away of a text that is too little to hold any of it out."""
    return _given_away(list(_pieces(Learned(split.passages))))


def _given_away(pieces: list[tuple[Passages, Passages, Passages]]) -> Repeats:
    """What the others give away of every block, as validation text; nothing is held out."""
    words = [[own_words(part) for part in piece] for piece in pieces]
    found = [find_repeats(f"{before}\n{after}", block, "") for before, block, after in words]
    lengths = [len(block) for _, block, _ in words]
    share = sum(each.share * length for each, length in zip(found, lengths, strict=True)) / sum(lengths)
    examples = dict.fromkeys(example for each in found for example in each.examples)
    return Repeats(sum(each.lines for each in found), share, tuple(examples)[:3], share)
