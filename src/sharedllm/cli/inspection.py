"""What is told of a look at somebody's text, and the options that say how it is read."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.options import with_options
from sharedllm.cli.telling import given_away, unasked_in_words
from sharedllm.printable import printable
from sharedllm.text.passages import ASSISTANT

if TYPE_CHECKING:
    from sharedllm.operations.inspect import Inspection
    from sharedllm.text.choices import Choices
    from sharedllm.text.whose_words import DocumentReading

_SHOWN, _NAMED = 20, 6

_OPTIONS = (
    click.option(
        "--me",
        multiple=True,
        metavar="NAME",
        help="Who you are in chats and mailboxes with several authors, as they name you; more than once where you go by"
        " several names. By default whom the export says to be its owner.",
    ),
    click.option(
        "--learn",
        type=click.Choice(["writing", "answers"]),
        default="writing",
        show_default=True,
        help="writing: to write as you do. answers: to answer as the assistant does in your chats with one.",
    ),
    click.option(
        "--mask/--no-mask",
        default=False,
        show_default=True,
        help="Mask mail addresses, telephone, card and account numbers, keys and passwords before anything is learned.",
    ),
    click.option(
        "--author",
        metavar="NAME",
        help="Of git checkouts read only the lines of this author: a name or a mail address as git has it.",
    ),
)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a text is read; `chosen` makes choices of them."""
    return with_options(_OPTIONS, command)


def chosen(me: tuple[str, ...], learn: str, mask: bool, author: str | None) -> "Choices":
    """The choices that `reading_options` say."""
    from sharedllm.text.choices import choices_from

    return choices_from({"me": list(me), "learn": learn, "mask": mask, "author": author})


def tell(found: "Inspection", *, err: bool = False) -> None:
    """Print what was found, for people.

    Args:
        found: it.
        err: whether on the error stream.
    """

    def say(line: str) -> None:
        click.echo(printable(line), err=err)

    text = found.text
    _tell_files(found, say)
    _tell_authors(text.readings, say)
    for path, why in zip(text.skipped[:_SHOWN], text.why_skipped, strict=False):
        what = why.message.removeprefix(f"{str(path)!r} ").removeprefix("is ")
        say(f"not read: {path}: {what}. {why.remedy}")
    if len(text.skipped) > _SHOWN:
        say(f"not read: {len(text.skipped) - _SHOWN:,} more files")
    for what, count in sorted(text.left_out.items(), key=lambda each: -each[1]):
        say(f"left out: {count:,} characters of {what}")
    doubts = dict.fromkeys(f"{reading.source}: {doubt}" for reading in text.readings for doubt in reading.doubts)
    for doubt in list(doubts)[:_SHOWN]:
        say(f"not sure: {doubt}")
    for part in [each for each in text.parts if each.doubt is not None][:_SHOWN]:
        say(f"not sure: {part.source} does not look like a person's words: {part.doubt}")
    _tell_contents(found, say)
    if found.not_looked_at:
        say(f"not looked at: {found.not_looked_at}")
    _tell_learned(found, say)


def _tell_files(found: "Inspection", say: Callable[[str], None]) -> None:
    kinds: dict[str, list[int]] = {}
    for reading in found.text.readings:
        kinds.setdefault(reading.kind, []).append(reading.read)
    for kind, sizes in sorted(kinds.items(), key=lambda each: -sum(each[1])):
        say(f"read: {len(sizes):,} x {kind}, {sum(sizes):,} characters")


def _tell_authors(readings: "tuple[DocumentReading, ...]", say: Callable[[str], None]) -> None:
    # Exports hold hundreds of conversations of the same people.
    alike: dict[tuple[object, ...], list[DocumentReading]] = {}
    for reading in readings:
        if reading.authors:
            alike.setdefault((reading.kind, reading.me, reading.why, frozenset(reading.authors)), []).append(reading)
    groups = sorted(alike.values(), key=lambda group: -sum(sum(each.authors.values()) for each in group))
    for group in groups[:_SHOWN]:
        first, counts = group[0], Counter[str]()
        for reading in group:
            counts.update(reading.authors)
        shares = [f"{author} {count / max(1, counts.total()):.0%}" for author, count in counts.most_common(_NAMED)]
        more = f" and {len(counts) - _NAMED:,} more" if len(counts) > _NAMED else ""
        taken = "whose answers are learned" if first.me == ASSISTANT else "taken for you"
        who = f"{first.me} is {taken}, because {first.why}" if first.me else f"not learned: {first.why}"
        what = first.source if len(group) == 1 else f"{len(group):,} x {first.kind}"
        say(f"whose words: {what}: {', '.join(shares)}{more}; {who}")
    if len(groups) > _SHOWN:
        rest = [reading for group in groups[_SHOWN:] for reading in group]
        mine = sum(1 for each in rest if each.me)
        say(f"whose words: {len(rest):,} smaller ones, in {mine:,} of which somebody is taken for you")


def _tell_contents(found: "Inspection", say: Callable[[str], None]) -> None:
    from sharedllm.text.contents.languages import language_name
    from sharedllm.text.contents.spelling import spelled_in_pieces

    if found.languages is not None and found.text.text:
        large = {code: share for code, share in found.languages.shares.items() if share >= 0.01}
        told = [f"{language_name(code)} {share:.0%}" for code, share in large.items()]
        small = sum(found.languages.shares.values()) - sum(large.values())
        told += [f"others {small:.1%}"] if small > 0.001 else []
        told += [f"not told {found.languages.unsure:.0%} (short, names, numbers, programs)"]
        say(f"languages: {', '.join(told)}")
    if found.dates is not None:
        first, last = found.dates.first.date(), found.dates.last.date()
        say(f"dates: {first} to {last}, of {found.dates.share:.0%} of your words")
    if found.repeats is not None and found.repeats.repeated:
        repeats = found.repeats
        say(
            f"repeats: {repeats.repeated:,} of {repeats.paragraphs:,} paragraphs say nearly what an earlier one says"
            f" ({repeats.share:.1%} of them)"
        )
    if found.given_away is not None and (told_away := given_away(found.given_away)):
        say(f"repeats: {told_away}")
    if found.details:
        listed = ", ".join(counted(kind, count) for kind, count in found.details.items())
        masked = "masked" if found.text.masked else "learned or read before it; --mask masks them"
        say(f"personal details: {listed}: {masked}")
    if found.unasked:
        say(unasked_in_words(found.unasked))
    if found.tokens_per_character is not None:
        told_so = spelled_in_pieces(found.tokens_per_character)
        if told_so is not None:
            say(f"careful: {told_so}.")


def _tell_learned(found: "Inspection", say: Callable[[str], None]) -> None:
    text, split = found.text, found.split
    own, others = (sum(getattr(reading, which) for reading in text.readings) for which in ("own", "others"))
    whose = "the assistant's answers" if any(reading.me == ASSISTANT for reading in text.readings) else "your own words"
    say(
        f"in all: of {sum(reading.read for reading in text.readings):,} characters {own:,} are {whose}, {others:,} of"
        f" others are read before them and never learned, and {sum(text.left_out.values()):,} are left out"
    )
    added = len(text.text) - own
    how = "line breaks between messages" + (" and what masking changed" if text.masked else "")
    say(f"learned: {len(text.text):,} characters of {whose}" + (f", {added:+,} for {how}" if added else ""))
    if split is not None:
        say(
            f"split {'by time' if split.by == 'time' else 'in the order of the files'}, the end for testing:"
            f" {len(split.train):,} characters to train on, {len(split.validation):,} to choose by,"
            f" {len(split.heldout):,} to test and {split.between:,} between them, which are dropped; what is too little"
            " for that is tested by parts"
        )
    elif found.why_not is not None:
        nameless = any(reading.nameless for reading in text.readings) and not text.text
        unknown = nameless or any(reading.unknown for reading in text.readings)
        say(f"{'not learned before this is said' if unknown else 'not enough to train on'}: {found.why_not}")


def counted(what: str, count: int) -> str:
    """A number of things: ``1 key or password``, ``2 keys or passwords``, ``3 mail addresses``."""
    if count == 1:
        return f"1 {what}"
    plural = " or ".join(f"{word}es" if word.endswith("ss") else f"{word}s" for word in what.split(" or "))
    return f"{count:,} {plural.replace('passwordes', 'passwords')}"
