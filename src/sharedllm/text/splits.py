"""A person's passages, cut into training, validation and held-out blocks by their content alone, or by their dates."""

import hashlib
import json
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import accumulate
from typing import Literal

from sharedllm.errors import TextError, TooLittleText
from sharedllm.text.passages import Learn, Passage, own_words, plain
from sharedllm.text.repeats import Repeats, find_repeats

MIN_CHARACTERS = 2_000
"""From here on something can be learnt, and tested by parts: see `text.folds`."""

_GAP_SHARE, _MIN_GAP, _MAX_GAP = 0.01, 200, 4_000
_TRAIN_SHARE, _VALIDATION_SHARE = 0.8, 0.1

Passages = tuple[Passage, ...]
By = Literal["content", "time"]


@dataclass(frozen=True)
class Split:
    """Three contiguous blocks of what is learned, in its order, with what is between them dropped.

    Attributes:
        train: about 80 %, the beginning.
        validation: about 10 %, for early stopping and the gate.
        heldout: about 10 %, the end, which nothing but an evaluation reads.
        sha256: of what is learned, in hex: of running text alone that is the text in UTF-8.
        whole: all that is learned.
        by: what order the blocks are in: as they were given, or by ``time`` where every passage has one.
        learn: to write as she does, or to answer as she likes to be answered.
        passages: of the whole, in that order, with what is read and never predicted.
        blocks: of the three, likewise; each turn with what was said before it.
    """

    train: str
    validation: str
    heldout: str
    sha256: str
    whole: str = field(repr=False)
    by: By = "content"
    learn: Learn = "writing"
    passages: Passages = field(repr=False, default=())
    blocks: tuple[Passages, Passages, Passages] = field(repr=False, default=((), (), ()))

    @property
    def between(self) -> int:
        """Characters between the blocks, which are in none of them."""
        return len(self.whole) - len(self.train) - len(self.validation) - len(self.heldout)

    @cached_property
    def repeats(self) -> Repeats:
        """What the training block gives away of the other two."""
        return find_repeats(self.train, self.validation, self.heldout)


class Learned:
    """What is learned of passages as one text, and where that may be cut: in running text anywhere, else between turns.

    Attributes:
        words: what is learned, a line feed between passages.
    """

    def __init__(self, passages: Passages) -> None:
        self._passages = passages
        self.words = own_words(passages)
        learned = [passage for passage in passages if passage.learned]
        self._begins = list(accumulate((len(passage.text) + 1 for passage in learned), initial=0))[:-1]
        self._whole = [passage.role == "own" for passage in learned]

    def cut(self, positions: range) -> int:
        """`cut` of the words, outside turns; where every position is inside one, at its end in their direction."""
        if not positions or not 0 < positions[0] < len(self.words):
            return min(max(positions.start, 0), len(self.words))
        within = [each for each in positions if 0 < each < len(self.words)]
        free = [each for each in within if not self._inside(each)]
        if free:
            return cut(self.words, free)
        turn = bisect_right(self._begins, within[-1]) - 1
        if positions.step < 0:
            return self._begins[turn]
        return self._begins[turn + 1] if turn + 1 < len(self._begins) else len(self.words)

    def _inside(self, position: int) -> bool:
        at = bisect_right(self._begins, position) - 1
        return self._whole[at] and position > self._begins[at]

    def between(self, begin: int, end: int) -> Passages:
        """The passages of what is learned from one cut to another, each turn with what was said before it."""
        found: list[Passage] = []
        said: list[Passage] = []
        begun, number = False, -1
        for passage in self._passages:
            if passage.role == "text" or passage.begins:
                said, begun = [], False
            if not passage.learned:
                said.append(passage)
                continue
            number += 1
            first = self._begins[number]
            if passage.role == "own":
                if begin <= first < end:
                    turns = [*said, passage]
                    found += turns if begun else [replace(turns[0], begins=True), *turns[1:]]
                    begun = True
                said = []
                continue
            # The line feed behind a passage is its own, so that blocks in a row are the words.
            last = self._begins[number + 1] if number + 1 < len(self._begins) else len(self.words)
            if part := self.words[max(begin, first) : max(begin, min(end, last))]:
                found.append(replace(passage, text=part))
        return tuple(found)


def split_text(text: str, *, user: str | None = None) -> Split:
    """`split_passages` of running text alone; equal texts give equal splits.

    Raises:
        TooLittleText, TextError: as for `split_passages`.
    """
    return split_passages(plain(text), user=user)


def split_passages(passages: Sequence[Passage], *, user: str | None = None, learn: Learn = "writing") -> Split:
    """Cut what is learned of passages into blocks; equal ones give equal splits.

    Where all that is learned has a time it is put into that order first, conversations whole. Between two blocks about
    1 % of it is dropped, at least 200 characters and at most 5,600, so that no sentence and few topics span them.
    Blocks of running text begin and end at line breaks where one is near, else at whitespace, else between characters
    as readers see them; conversations are cut between turns. What others said has no part in where that is.

    Args:
        passages: any language and script.
        user: whose they are, for the error.
        learn: which of two things they are to teach.

    Raises:
        TooLittleText: fewer than `MIN_CHARACTERS` are learned. What passes may still be too little to hold any of it
            out, which is counted in tokens: see `tokenize`, and `tokenize_to_train` for what is done then.
        TextError: not valid Unicode; or answers are to be learned, and it is running text.
    """
    whose = "The text" if user is None else f"The text of {user!r}"
    ordered, by = _in_order(_joined(passages))
    if learn == "answers" and any(passage.role == "text" for passage in ordered):
        raise TextError(
            f"{whose} has running text in it, which answers nothing, and answers are to be learned",
            remedy="Give conversations with an assistant alone, or learn writing.",
        )
    learned = Learned(ordered)
    text = learned.words
    sha256 = _sha256(learned, ordered, whose)
    if len(text) < MIN_CHARACTERS:
        raise TooLittleText(
            f"{whose} has {len(text):,} characters{_of_whom(ordered, learn)}; to learn anything from it takes at least"
            f" {MIN_CHARACTERS:,}",
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
    ends = (
        (0, learned.cut(range(train_end, train_end - reach, -1))),
        (
            learned.cut(range(validation_start, validation_start + reach)),
            learned.cut(range(validation_end, validation_end - reach, -1)),
        ),
        (learned.cut(range(validation_end + gap, validation_end + gap + reach)), len(text)),
    )
    train, validation, heldout = (text[begin:end] for begin, end in ends)
    blocks = (learned.between(*ends[0]), learned.between(*ends[1]), learned.between(*ends[2]))
    return Split(train, validation, heldout, sha256, text, by, learn, ordered, blocks)


def sha256_of(passages: Sequence[Passage]) -> str:
    """What `split_passages` says of passages, which may be too little to be cut.

    Raises:
        TextError: not valid Unicode.
    """
    ordered, _ = _in_order(_joined(passages))
    return _sha256(Learned(ordered), ordered, "The text")


def _of_whom(passages: Passages, learn: Learn) -> str:
    if all(passage.role == "text" for passage in passages):
        return ""
    return " of answers, which alone are learned" if learn == "answers" else " of their own, which alone are learned"


def _joined(passages: Sequence[Passage]) -> Passages:
    """Running texts of no time in a row as one, which they are."""
    found: list[Passage] = []
    for passage in passages:
        before = found[-1] if found else None
        if before is not None and before.role == passage.role == "text" and before.when is passage.when is None:
            found[-1] = replace(before, text=f"{before.text}\n{passage.text}")
        else:
            found.append(passage)
    return tuple(found)


def _in_order(passages: Passages) -> tuple[Passages, By]:
    whole: list[list[Passage]] = []
    for passage in passages:
        goes_on = whole and passage.role != "text" and not passage.begins and whole[-1][-1].role != "text"
        if goes_on:
            whole[-1].append(passage)
        else:
            whole.append([passage])
    if not all(passage.when for passage in passages if passage.learned):
        return passages, "content"
    # What nobody is to learn has no part in the order.
    dated = [(_first(each), each) for each in whole if any(passage.learned for passage in each)]
    return tuple(passage for _, each in sorted(dated, key=lambda pair: pair[0]) for passage in each), "time"


def _first(passages: Sequence[Passage]) -> datetime:
    """When the first word of these was written that is learned, read as UTC where nothing says which zone it is in."""
    when = next(passage.when for passage in passages if passage.learned and passage.when)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _sha256(learned: Learned, passages: Passages, whose: str) -> str:
    try:
        for each in (learned.words, *(passage.text for passage in passages if not passage.learned)):
            each.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{whose} holds an unpaired surrogate at character {error.start:,}",
            remedy="Remove it, or read the file as UTF-8.",
        ) from error
    if all(passage.role == "text" for passage in passages):
        return hashlib.sha256(learned.words.encode()).hexdigest()
    # That somebody said something before is told, and not what: a text is another where she said something else.
    about: list[list[str]] = []
    for passage in learned.between(0, len(learned.words)):
        about += [["begins"]] if passage.begins else []
        told: list[str] = [passage.role, passage.text] if passage.learned else [passage.role]
        about += [told] if passage.learned or about[-1:] != [told] else []
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def cut(text: str, positions: Sequence[int]) -> int:
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
