"""A user's split as token ids: a flat array to train on, fixed windows to measure on.

What is read and never predicted, a chat template's tokens and what others said, stands there as the complement of its
id, ``~id``, which is negative. A window of a conversation begins with some of what came before: up to half of it where
a turn begins, up to a quarter where one goes on. So some is read twice, and nothing is predicted twice.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from sharedllm.base.conversations import ChatTurn
from sharedllm.errors import InvalidInput, TextError, TooLittleText
from sharedllm.text.passages import Learn, Passage
from sharedllm.text.repeats import Repeats
from sharedllm.text.splits import Split, cut

MIN_WINDOWS = 4
Encode = Callable[[str], list[int]]
"""Text to ids, from the tokenizer's opening on; of an empty text, that alone."""

Converse = Callable[[Sequence[ChatTurn]], list[int]]
"""A conversation to ids without that opening, the complement of all but the assistant's: see `learned_ids`."""

Ids = npt.NDArray[np.int32]

_PIECE_CHARACTERS = 1_000_000
_TURNS_AT_ONCE = 200
"""Of one conversation that a template writes at a time, for which it has two seconds."""

_CHAT_ROLES = {"own": "assistant", "other": "user", "system": "system"}


@dataclass(frozen=True, eq=False)
class TokenizedFold:
    """A block of a little text, and what a row may be trained on that is tested on the block.

    Attributes:
        train: int32 ``[tokens]``, all of the text but the block and what is near it, without the opening; what is read
            and never predicted as its complement.
        windows: int64 ``[windows, window]`` of the block.
    """

    train: npt.NDArray[np.int32]
    windows: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenizedText:
    """One user's text, ready to train on and to be measured on.

    Attributes:
        user: the user id.
        train: int32 ``[tokens]``, without ``opening``, what is read and never predicted as its complement; training
            draws its own sequences from it.
        validation: int64 ``[windows, window]``, at least `MIN_WINDOWS` of them; none of a text with folds.
        heldout: int64 ``[windows, window]``, likewise.
        sha256: of the text it came from, in hex.
        repeats: what the training block gives away of the other two.
        opening: what every window begins with, since the tokenizer begins every text with it; often nothing.
        folds: of a text too little to hold any of it out: ``train`` is all of it, and every block is tested once.
        window: tokens in a sequence to train on where the text is too short for the recipe's; None for the recipe's.
        characters: of all that is learned.
        learn: to write as she does, or to answer as she likes to be answered.
        chats: whether some of it is turns of conversations.
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
    learn: Learn = "writing"
    chats: bool = False

    @property
    def tokens(self) -> int:
        """How many there are to learn in ``train``."""
        return targets(self.train)

    @property
    def ids(self) -> list[int]:
        """Every id in its blocks, once or more."""
        found = (np.unique(block) for block in (self.train, self.validation, self.heldout))
        return [int(id) if id >= 0 else ~int(id) for block in found for id in block]


def windows(
    ids: Sequence[int] | npt.NDArray[np.integer], length: int, opening: Sequence[int] = ()
) -> npt.NDArray[np.int64]:
    """Cut ids into int64 ``[n, length]`` windows in which nothing is predicted twice.

    Of ids that are all predicted they do not overlap, and the last that do not fill one are dropped. Of others every
    window predicts something, and everything is predicted but the first of all.

    Args:
        ids: of a text, without ``opening``; those that are read and never predicted as their complements.
        length: of a window.
        opening: what every window begins with.
    """
    flat = np.asarray(ids, dtype=np.int64)
    length -= len(opening)
    if (flat >= 0).all():
        count = len(flat) // length
        found = flat[: count * length].reshape(count, length)
    else:
        cuts = [window_at(flat, *each, length) for each in spans(flat, length)]
        found = np.stack(cuts) if cuts else np.empty((0, length), np.int64)
    return np.hstack([np.tile(np.asarray(opening, dtype=np.int64), (len(found), 1)), found]) if len(opening) else found


def targets(ids: npt.NDArray[np.integer]) -> int:
    """How many of these ids are to be predicted."""
    return int((ids >= 0).sum())


def spans(ids: npt.NDArray[np.integer], length: int, first: int | None = None) -> list[tuple[int, int, int]]:
    """Windows of ids that are not all predicted: where each starts, and from where to where it predicts.

    Every id that is predicted is so in one window, but the first of all, which nothing comes before.

    Args:
        ids: int ``[tokens]``.
        length: of a window; of fewer ids there are none.
        first: how much the first window predicts, at most; by default as much as the others.
    """
    if len(ids) < length:
        return []
    wanted = np.flatnonzero(ids >= 0)
    wanted = wanted[wanted > 0]
    found: list[tuple[int, int, int]] = []
    at = 0
    while at < len(wanted):
        begin = int(wanted[at])
        context = max(1, length // 2 if ids[begin - 1] < 0 else length // 4)
        start = max(0, min(begin - context, len(ids) - length))
        end = start + length
        if first is not None and not found:
            end = min(end, begin + first)
        found.append((start, begin, end))
        at = int(np.searchsorted(wanted, end))
    return found


def window_at(ids: npt.NDArray[np.integer], start: int, begin: int, end: int, length: int) -> npt.NDArray[np.int64]:
    """One of the `spans`: int64 ``[length]``, what it only reads as its complement."""
    window = ids[start : start + length].astype(np.int64)
    place = np.arange(start, start + length)
    beside = (window >= 0) & ((place < begin) | (place >= end))
    window[beside] = ~window[beside]
    return window


def text_windows(text: str, encode: Encode, length: int) -> npt.NDArray[np.int64]:
    """A text as int64 ``[n, length]`` windows that begin as the tokenizer begins a text."""
    opening = encode("")
    return windows(encode(text)[len(opening) :], length, opening)


def tokenize(
    user: str, split: Split, encode: Encode, *, converse: Converse | None = None, window: int = 256
) -> TokenizedText:
    """Turn a user's split into token ids.

    Args:
        user: the user id.
        split: the user's blocks.
        encode: called on pieces of at most a million characters, cut like blocks, so that time and memory stay in
            proportion to the text whatever the tokenizer does with a long one.
        converse: called on conversations, of at most some hundred turns at a time; running text takes none.
        window: tokens in a window.

    Raises:
        TooLittleText: a block has fewer than `MIN_WINDOWS` windows' worth of tokens that are learned.
        TextError: the text has a token that the base has no embedding for, or its chat template refuses a conversation.
    """
    opening = tuple(encode(""))
    try:
        train, validation, heldout = (passage_ids(block, encode, len(opening), converse) for block in split.blocks)
    except InvalidInput as error:
        raise unreadable(user, error) from error
    needed = MIN_WINDOWS * (window - len(opening))
    each = targets(train), targets(validation), targets(heldout)
    shortest = min(each)
    if shortest < needed:
        tokens = sum(each)
        characters = len(split.train) + len(split.validation) + len(split.heldout)
        # The gaps take some of it, and text to come need not be worth as many tokens as this.
        margin = 1.05
        wanted = margin * tokens * needed / max(shortest, 1)
        wanted_characters = margin * characters * needed / max(shortest, 1)
        raise TooLittleText(
            f"The text of {user!r} has {tokens:,} tokens: {each[0]:,} to train on, {each[1]:,} for"
            f" validation and {each[2]:,} held out, and each takes at least {needed:,}",
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
        learn=split.learn,
        chats=has_chats(split),
    )


def has_chats(split: Split) -> bool:
    """Whether turns of conversations are learned."""
    return any(passage.role == "own" for passage in split.passages)


def unreadable(user: str, error: InvalidInput) -> TextError:
    """What a tokenizer refused of a user's text, as an error of the text."""
    return TextError(f"The text of {user!r} cannot be read: {error.message}", remedy=error.remedy)


def block_ids(block: str, encode: Encode, opened: int) -> Ids:
    """A block as int32 ``[tokens]`` without the ``opened`` tokens that the tokenizer begins a text with."""
    return np.concatenate([np.asarray(encode(piece)[opened:], dtype=np.int32) for piece in _pieces(block)])


def passage_ids(passages: Sequence[Passage], encode: Encode, opened: int, converse: Converse | None = None) -> Ids:
    """Passages as int32 ``[tokens]``, without openings, what is read and never predicted as its complement.

    Args:
        passages: as `Learned.between` gives them.
        encode: as for `tokenize`.
        opened: tokens that ``encode`` begins a text with.
        converse: as for `tokenize`.
    """
    found: list[Ids] = []
    for running, each in groupby(passages, key=lambda passage: passage.role == "text"):
        if running:
            found.append(block_ids("".join(passage.text for passage in each), encode, opened))
            continue
        if converse is None:
            raise InvalidInput("There are conversations in it", remedy="Give how conversations are written, too.")
        found += [np.array(converse(turns), np.int32) for turns in _conversations(each)]
    return np.concatenate(found) if found else np.empty(0, np.int32)


def _conversations(passages: Iterable[Passage]) -> Iterator[list[ChatTurn]]:
    """Turns of each conversation, whoever said several things in a row said one; a long one in stretches."""
    # Texts are joined once: thousands of messages in a row would be copied with each that comes.
    turns: list[tuple[str, list[str]]] = []

    def joined() -> list[ChatTurn]:
        return [ChatTurn(role, "\n".join(texts)) for role, texts in turns]

    for passage in passages:
        role = _CHAT_ROLES[passage.role]
        if passage.begins or (len(turns) >= _TURNS_AT_ONCE and turns[-1][0] == "assistant" != role):
            if turns:
                yield joined()
            turns = []
        if turns and turns[-1][0] == role:
            turns[-1][1].append(passage.text)
        else:
            turns.append((role, [passage.text]))
    if turns:
        yield joined()


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
