"""A look at a person's text before any training: what was read, whose words, what is in it, what will be learned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from sharedllm.errors import SharedLLMError, TextError
from sharedllm.extras import missing
from sharedllm.text.choices import Choices
from sharedllm.text.contents.languages import Languages, languages
from sharedllm.text.contents.near_repeats import NearRepeats, near_repeats
from sharedllm.text.contents.personal_details import DetailKind, Telephones, count_details
from sharedllm.text.contents.spelling import tokens_per_character
from sharedllm.text.folds import repeats_by_parts
from sharedllm.text.reading import UserText, look_at, no_words, who_is_meant
from sharedllm.text.repeats import REPEATS_HELD_BACK, Repeats
from sharedllm.text.splits import Split
from sharedllm.text.windows import MIN_WINDOWS

_WINDOW = 256
"""Tokens, as recipes have them."""

_USUAL = 0.25
"""Tokens per character of languages that a base was trained on."""


@dataclass(frozen=True)
class Dates:
    """When what is learned was written.

    Attributes:
        first: the earliest, in the zone that the file says; without one where it says none.
        last: the latest.
        share: of the characters that are learned, those that have a date.
    """

    first: datetime
    last: datetime
    share: float


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        text: what was read, of which documents and how, and the passages to be learned.
        languages: of what is learned; None where that was not looked at.
        dates: None where nothing has one.
        repeats: what is nearly there twice; None where that was not looked at.
        given_away: what the training block gives away of the others, as training and its gate count it; None where
            there is too little.
        details: how many different personal details of each kind are in what is learned or read before it: those that
            were masked, where that was chosen. None where that was not looked at.
        unasked: of the telephone numbers among these, how many were taken for one without being looked up.
        tokens_per_character: that a base takes for it; None where no base was asked.
        split: what is trained on and tested; None where there is too little.
        why_not: why it could not be trained on; None if it could.
        not_looked_at: what was not, and what to install for it; empty where everything was.
    """

    text: UserText
    languages: Languages | None
    dates: Dates | None
    repeats: NearRepeats | None
    given_away: Repeats | None
    details: Mapping[DetailKind, int] | None
    unasked: int
    tokens_per_character: float | None
    split: Split | None = field(repr=False)
    why_not: SharedLLMError | None
    not_looked_at: str = ""


def inspect(
    user: str,
    sources: Sequence[str | Path],
    choices: Choices | None = None,
    *,
    encode: Callable[[str], list[int]] | None = None,
    stdin: BinaryIO | None = None,
) -> Inspection:
    """Read a person's sources as training would, and say what is in them. Nothing is kept.

    Args:
        user: whose they are, for errors.
        sources: paths of files and folders, or ``"-"`` for standard input.
        choices: who they are in it, what is learned of it, and whether details are masked.
        encode: a base's, from text to ids, to tell whether it has words for it.
        stdin: what ``"-"`` reads; the process's own by default.

    Raises:
        TextError: a source that is named cannot be read, or nobody is called as was chosen.
        MissingExtra: details are to be masked, or a file is of a kind, that takes what is not installed.
    """
    choices = choices or Choices()
    text = look_at(user, sources, choices=choices, stdin=stdin)
    return inspected(text, sources, encode=encode)


def inspected(
    text: UserText,
    sources: Sequence[str | Path],
    *,
    encode: Callable[[str], list[int]] | None = None,
) -> Inspection:
    """What is in a text that was read.

    Args:
        text: what `look_at` or `read_user` gave.
        sources: which it was read from.
        encode: as for `inspect`.
    """
    own = [passage.text for passage in text.passages if passage.learned]
    split, why_not = _split(text, sources)
    lacking = bool(missing("text"))
    details: Mapping[DetailKind, int] | None = text.masked or None
    telephones, unasked = Telephones(), text.unasked
    if details is None and not lacking:
        details = count_details((passage.text for passage in text.passages), telephones)
        unasked = telephones.unasked
    tokens = tokens_per_character(text.text, encode) if encode is not None and text.text else None
    return Inspection(
        text,
        None if lacking else languages(own),
        _dates(text),
        None if lacking else near_repeats(own),
        None if split is None else split.repeats if _held_out(split, tokens) else repeats_by_parts(split),
        details,
        unasked,
        tokens,
        split,
        why_not,
        "languages, near-repeats and personal details (pip install 'sharedllm[text]')" if lacking else "",
    )


def as_dict(found: Inspection) -> dict[str, Any]:
    """What was found, for programs; of the text itself nothing."""
    text, split = found.text, found.split
    return {
        "documents": [
            {
                "source": reading.source,
                "kind": reading.kind,
                "authors": dict(reading.authors),
                "me": reading.me,
                "why": reading.why,
                "read": reading.read,
                "own": reading.own,
                "others": reading.others,
                "learned": reading.learned,
                "context": reading.context,
                "left_out": dict(reading.left_out),
                "doubts": list(reading.doubts),
            }
            for reading in text.readings
        ],
        "not_read": [
            {"source": str(path), "error": str(why)} for path, why in zip(text.skipped, text.why_skipped, strict=True)
        ],
        "languages": None if found.languages is None else _languages(found.languages.shares, found.languages.unsure),
        "dates": None
        if found.dates is None
        else {"first": found.dates.first, "last": found.dates.last, "share": found.dates.share},
        "near_repeats": None
        if found.repeats is None
        else {
            "paragraphs": found.repeats.paragraphs,
            "repeated": found.repeats.repeated,
            "share": found.repeats.share,
        },
        "given_away": None
        if found.given_away is None
        else {
            "validation": found.given_away.validation,
            "heldout": found.given_away.heldout,
            "held_back": found.given_away.validation > REPEATS_HELD_BACK,
        },
        "personal_details": None if found.details is None else dict(found.details),
        "masked": bool(text.masked),
        "not_looked_up": found.unasked,
        "tokens_per_character": found.tokens_per_character,
        "learned": len(text.text),
        "split": None
        if split is None
        else {
            "by": split.by,
            "train": len(split.train),
            "validation": len(split.validation),
            "heldout": len(split.heldout),
            "between": split.between,
            "by_parts": not _held_out(split, found.tokens_per_character),
        },
        "error": None if found.why_not is None else str(found.why_not),
        "not_looked_at": found.not_looked_at,
    }


def _languages(shares: Mapping[str, float], unsure: float) -> dict[str, Any]:
    return {"shares": dict(shares), "unsure": unsure}


def _split(text: UserText, sources: Sequence[str | Path]) -> tuple[Split | None, SharedLLMError | None]:
    unknown = [reading for reading in text.readings if reading.unknown]
    if unknown:
        return None, who_is_meant(unknown)
    if not text.text:
        return None, no_words(text, sources)
    try:
        return text.split(), None
    except TextError as error:
        return None, error


def _held_out(split: Split, tokens: float | None) -> bool:
    """Whether training holds these blocks out, and does not test by parts because they are too little for that."""
    shortest = min(len(split.validation), len(split.heldout)) * (tokens or _USUAL)
    return shortest >= MIN_WINDOWS * _WINDOW


def _dates(text: UserText) -> Dates | None:
    dated = [(passage.when, len(passage.text)) for passage in text.passages if passage.learned and passage.when]
    if not dated:
        return None
    moments = sorted((when for when, _ in dated), key=_in_one_zone)
    learned = sum(len(passage.text) for passage in text.passages if passage.learned)
    return Dates(moments[0], moments[-1], sum(length for _, length in dated) / learned)


def _in_one_zone(when: datetime) -> datetime:
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
