"""A look at a person's text before any training: what was read, whose words, what is in it, what will be learned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from sharedllm.errors import SharedLLMError, TextError
from sharedllm.extras import missing
from sharedllm.text.choices import Choices
from sharedllm.text.contents.languages import Languages, languages
from sharedllm.text.contents.near_repeats import NearRepeats, near_repeats
from sharedllm.text.contents.personal_details import DetailKind, count_details
from sharedllm.text.contents.spelling import tokens_per_character
from sharedllm.text.passages import Learn
from sharedllm.text.reading import UserText, look_at, who_is_meant
from sharedllm.text.splits import Split, split_passages


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
        details: how many different personal details of each kind are in what is learned or read before it: those that
            were masked, where that was chosen. None where that was not looked at.
        tokens_per_character: that a base takes for it; None where no base was asked.
        split: what is trained on and tested; None where there is too little.
        why_not: why it could not be trained on; None if it could.
        not_looked_at: what was not, and what to install for it; empty where everything was.
    """

    text: UserText
    languages: Languages | None
    dates: Dates | None
    repeats: NearRepeats | None
    details: Mapping[DetailKind, int] | None
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
) -> Inspection:
    """Read a person's sources as training would, and say what is in them. Nothing is kept.

    Args:
        user: whose they are, for errors.
        sources: paths of files and folders, or ``"-"`` for standard input.
        choices: who they are in it, what is learned of it, and whether details are masked.
        encode: a base's, from text to ids, to tell whether it has words for it.

    Raises:
        TextError: a source that is named cannot be read, or nobody is called as was chosen.
        MissingExtra: details are to be masked, or a file is of a kind, that takes what is not installed.
    """
    choices = choices or Choices()
    return inspected(look_at(user, sources, choices=choices), choices.learn, encode=encode)


def inspected(
    text: UserText, learn: Learn = "writing", *, encode: Callable[[str], list[int]] | None = None
) -> Inspection:
    """What is in a text that was read.

    Args:
        text: what `look_at` or `read_user` gave.
        learn: what it is to teach.
        encode: as for `inspect`.
    """
    own = [passage.text for passage in text.passages if passage.learned]
    split, why_not = _split(text, learn)
    lacking = bool(missing("text"))
    details: Mapping[DetailKind, int] | None = text.masked or None
    if details is None and not lacking:
        details = count_details(passage.text for passage in text.passages)
    return Inspection(
        text,
        None if lacking else languages(own),
        _dates(text),
        None if lacking else _near_repeats(split, own),
        details,
        tokens_per_character(text.text, encode) if encode is not None and text.text else None,
        split,
        why_not,
        "languages, near-repeats and personal details (pip install 'sharedllm[text]')" if lacking else "",
    )


def _split(text: UserText, learn: Learn) -> tuple[Split | None, SharedLLMError | None]:
    unknown = [reading for reading in text.readings if reading.unknown]
    if unknown:
        return None, who_is_meant(unknown)
    try:
        return split_passages(text.passages, user=text.user, learn=learn), None
    except TextError as error:
        return None, error


def _near_repeats(split: Split | None, own: Sequence[str]) -> NearRepeats:
    if split is None:
        return near_repeats(own)
    train, *tested = [[passage.text for passage in block if passage.learned] for block in split.blocks]
    return near_repeats(train, chain(*tested))


def _dates(text: UserText) -> Dates | None:
    dated = [(passage.when, len(passage.text)) for passage in text.passages if passage.learned and passage.when]
    if not dated:
        return None
    moments = sorted((when for when, _ in dated), key=_in_one_zone)
    learned = sum(len(passage.text) for passage in text.passages if passage.learned)
    return Dates(moments[0], moments[-1], sum(length for _, length in dated) / learned)


def _in_one_zone(when: datetime) -> datetime:
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
