"""Files, folders and standard input, as one text per user."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sharedllm.errors import SharedLLMError, TextError
from sharedllm.text.documents import Document
from sharedllm.text.passages import Passage, plain
from sharedllm.text.prose import why_not_prose
from sharedllm.text.readers import Unread, read_documents
from sharedllm.text.readers.walk import quoted


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
        text: everything in order, lines ended by a line feed.
        skipped: what was come upon in folders and archives and could not be read, as it is shown.
        why_skipped: of each of these, why, and how its text is had.
        parts: the files that the text is made of, in its order.
        left_out: characters that are in the files and not in the text, by why.
        passages: what is learned and what is only read, in order; by default ``text`` as running text.
    """

    user: str
    text: str
    skipped: tuple[Path, ...] = ()
    why_skipped: tuple[SharedLLMError, ...] = field(default=(), compare=False)
    parts: tuple[Part, ...] = field(default=(), compare=False)
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)
    passages: tuple[Passage, ...] = ()

    def __post_init__(self) -> None:
        if not self.passages and self.text:
            object.__setattr__(self, "passages", plain(self.text))


def read_user(user: str, sources: Iterable[str | Path], *, stdin: BinaryIO | None = None) -> UserText:
    """Read a user's sources into one text: each file once, in the order given, a folder's files in that of their paths.

    What is read, and how, is said of `read_documents`. A file that is named itself must be read. Of a document that
    names authors, the words of the one are taken whom it says to be its owner, or who is the only one.

    Args:
        user: a checked user id.
        sources: paths of files and folders.
        stdin: what ``"-"`` reads; the process's own by default.

    Raises:
        TextError: no source is given, or one is missing, unreadable, empty, of a kind that is not read, or written by
            several people, or together they exceed `MAX_TEXT_BYTES`.
        MissingExtra: one is of a kind that takes what is not installed.
    """
    given = list(sources)
    texts: list[str] = []
    parts: list[Part] = []
    skipped: list[Unread] = []
    left_out: Counter[str] = Counter()

    def skip(unread: Unread) -> None:
        if unread.named:
            raise unread.error
        skipped.append(unread)

    named = {str(source) for source in given}
    for document in read_documents(given, unread=skip, stdin=stdin):
        text = _own(document)
        if text is None:
            several = TextError(
                f"{quoted(document.source)} was written by {len(document.authors):,} people, and does not say which"
                f" of them is {user!r}",
                remedy="Give what they wrote themselves.",
            )
            skip(Unread(document.source, several, document.source in named))
            continue
        texts.append(text)
        parts.append(Part.of(document.source, text))
        left_out.update(document.left_out)
    if not texts:
        where = ", ".join(map(quoted, given)) or "no sources"
        why = f". {skipped[0].error}" if skipped else ""
        raise TextError(
            f"There is no text for {user!r} in {where}{why.removesuffix('.')}",
            remedy="Name UTF-8 text files, documents, folders that hold some, or - for stdin.",
        )
    sources_skipped, errors = tuple(Path(each.source) for each in skipped), tuple(each.error for each in skipped)
    return UserText(user, "\n".join(texts), sources_skipped, errors, tuple(parts), left_out)


def _own(document: Document) -> str | None:
    """The words of who a document is of; None where it does not say whose of several they are."""
    authors = document.authors
    me = document.me
    if me is None and len(authors) > 1:
        return None
    own = [turn.text for turn in document.turns if me is None or turn.author == me]
    return "\n\n".join(own)
