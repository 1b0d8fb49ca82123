"""Files, folders and standard input, as one text per user."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from sharedllm.errors import SharedLLMError, TextError
from sharedllm.extras import need
from sharedllm.text.choices import Choices
from sharedllm.text.contents.personal_details import DetailKind, Telephones, mask_all
from sharedllm.text.passages import Learn, Passage, own_words, plain
from sharedllm.text.prose import why_not_prose
from sharedllm.text.readers import Unread, read_documents
from sharedllm.text.readers.walk import quoted
from sharedllm.text.signatures import without_signatures
from sharedllm.text.splits import Split, split_passages
from sharedllm.text.twice import each_once
from sharedllm.text.whose_words import DocumentReading, whose_words

_AUTHORS_SHOWN = 12


@dataclass(frozen=True)
class Part:
    """One file of a user's text.

    Attributes:
        source: its path, as it is shown.
        characters: it has.
        doubt: why it does not look like a person's words; None if it does.
    """

    source: str
    characters: int
    doubt: str | None

    @classmethod
    def of(cls, source: str, text: str) -> "Part":
        """What is to be said of a text that is not empty."""
        return cls(source, len(text), why_not_prose(text))


@dataclass(frozen=True)
class UserText:
    """What one user wrote.

    Attributes:
        user: a checked user id.
        text: everything that is learned, in order, lines ended by a line feed.
        skipped: what was come upon in folders and archives and could not be read, as it is shown.
        why_skipped: of each of these, why, and how its text is had.
        parts: the files that the text is made of, in its order.
        left_out: characters that are in the files and not in the text, by why.
        passages: what is learned and what is only read, in order; by default ``text`` as running text.
        readings: of every document that was read, how.
        masked: how many different personal details were masked, by kind.
        unasked: of the telephone numbers among these, how many were taken for one without being looked up.
        learn: what it is to teach.
    """

    user: str
    text: str
    skipped: tuple[Path, ...] = ()
    why_skipped: tuple[SharedLLMError, ...] = field(default=(), compare=False)
    parts: tuple[Part, ...] = field(default=(), compare=False)
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)
    passages: tuple[Passage, ...] = ()
    readings: tuple[DocumentReading, ...] = field(default=(), compare=False)
    masked: Mapping[DetailKind, int] = field(default_factory=dict, compare=False)
    unasked: int = field(default=0, compare=False)
    learn: Learn = "writing"

    def __post_init__(self) -> None:
        if not self.passages and self.text:
            object.__setattr__(self, "passages", plain(self.text))

    def split(self) -> Split:
        """Its blocks; see `split_passages`.

        Raises:
            TooLittleText, TextError: as for `split_passages`.
        """
        return split_passages(self.passages, user=self.user, learn=self.learn)


def read_user(
    user: str, sources: Iterable[str | Path], *, choices: Choices | None = None, stdin: BinaryIO | None = None
) -> UserText:
    """Read a user's sources into one text: each file once, in the order given, a folder's files in that of their paths.

    What is read, and how, is said of `read_documents`, whose words are taken of `whose_words`. A file that is named
    itself must be read.

    Args:
        user: a checked user id.
        sources: paths of files and folders.
        choices: how it is read; by default as `Choices()`.
        stdin: what ``"-"`` reads; the process's own by default.

    Raises:
        TextError: no source is given, or one is missing, unreadable, empty, of a kind that is not read, or written by
            several people of whom nothing says which is meant, or together they exceed `MAX_TEXT_BYTES`.
        MissingExtra: one is of a kind that takes what is not installed, or details are to be masked without it.
    """
    given = list(sources)
    text = look_at(user, given, choices=choices, stdin=stdin)
    unknown = [reading for reading in text.readings if reading.unknown]
    if unknown:
        raise who_is_meant(unknown)
    if not text.text:
        raise no_words(text, given)
    return text


def no_words(text: UserText, sources: Sequence[str | Path]) -> TextError:
    """What to say of sources in which there is nothing to be learned.

    Args:
        text: what `look_at` made of them.
        sources: as they were given.
    """
    where = ", ".join(map(quoted, sources)) or "no sources"
    refused = [reading for reading in text.readings if reading.why]
    why = ""
    if text.why_skipped:
        others = len(text.skipped) - 1
        more = f"; {'one more file was' if others == 1 else f'{others:,} more files were'} not read" if others else ""
        why = f". {text.why_skipped[0]}".removesuffix(".") + more
    elif refused:
        why = f". {quoted(refused[0].source)}: {refused[0].why}"
    remedy = "Name UTF-8 text files, documents, folders that hold some, or - for stdin."
    nameless = next((reading for reading in refused if reading.nameless), None)
    if nameless is not None:
        remedy = f"Say whose words are meant, as in --me {next(iter(nameless.authors))!r}, or name other files."
    elif refused:
        remedy = "Give chats with an assistant, or learn writing."
    return TextError(f"There is no text for {text.user!r} in {where}{why}", remedy=remedy)


def look_at(
    user: str, sources: Iterable[str | Path], *, choices: Choices | None = None, stdin: BinaryIO | None = None
) -> UserText:
    """`read_user` of whatever there is, also where nothing is, or where it is not known who is meant.

    Raises:
        TextError, MissingExtra: as for `read_user`, of a source that cannot be read.
    """
    choices = choices or Choices()
    if choices.mask:
        need("text")
    skipped: list[Unread] = []

    def skip(unread: Unread) -> None:
        if unread.named:
            raise unread.error
        skipped.append(unread)

    found = list(read_documents(sources, unread=skip, author=choices.author, stdin=stdin))
    found = without_signatures(each_once(found))
    readings = whose_words(found, choices)
    masked: dict[DetailKind, int] = {}
    telephones = Telephones()
    if choices.mask:
        texts, masked = mask_all((passage.text for reading in readings for passage in reading.passages), telephones)
        of_passages = iter(texts)
        readings = [
            replace(reading, passages=tuple(replace(each, text=next(of_passages)) for each in reading.passages))
            for reading in readings
        ]
    passages = tuple(passage for reading in readings for passage in reading.passages)
    left_out: Counter[str] = Counter()
    for reading in readings:
        left_out.update(reading.left_out)
    parts = tuple(Part.of(reading.source, own_words(reading.passages)) for reading in readings if reading.learned)
    sources_skipped, errors = tuple(Path(each.source) for each in skipped), tuple(each.error for each in skipped)
    return UserText(
        user,
        own_words(passages),
        sources_skipped,
        errors,
        parts,
        left_out,
        passages,
        tuple(readings),
        masked,
        telephones.unasked,
        choices.learn,
    )


def who_is_meant(unknown: Sequence[DocumentReading]) -> TextError:
    """What to say where nothing tells which author is meant."""
    authors: Counter[str] = Counter()
    for reading in unknown:
        authors.update(reading.authors)
    names = ", ".join(f"{name!r} ({count:,} characters)" for name, count in authors.most_common(_AUTHORS_SHOWN))
    more = f" and {len(authors) - _AUTHORS_SHOWN:,} more" if len(authors) > _AUTHORS_SHOWN else ""
    where = quoted(unknown[0].source)
    files = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
    first = next(iter(authors))
    return TextError(
        f"{where}{files} has several authors, and nothing says which of them is meant: {names}{more}",
        remedy=f"Say who it is, as in --me {first!r}, or leave it out.",
    )
