"""Files, folders and standard input, as one text per user."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from sharedllm.errors import TextError
from sharedllm.text.file_kinds import kind_of
from sharedllm.text.passages import Passage, plain
from sharedllm.text.prose import why_not_prose

MAX_TEXT_BYTES = 64_000_000
_HEAD_BYTES = 65_536
_OF_BINARY = "Give plain text; if it is text in UTF-16, save it as UTF-8."
_OF_ANOTHER_ENCODING = "Save it as UTF-8, for instance with iconv -f latin1 -t utf-8."


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
        skipped: files of the given folders that are not UTF-8 text and were left out.
        why_skipped: of each of these, what it is instead and how its text is had.
        parts: the files that the text is made of, in its order.
        passages: what is learned and what is only read, in order; by default ``text`` as running text.
    """

    user: str
    text: str
    skipped: tuple[Path, ...] = ()
    why_skipped: tuple[TextError, ...] = field(default=(), compare=False)
    parts: tuple[Part, ...] = field(default=(), compare=False)
    passages: tuple[Passage, ...] = ()

    def __post_init__(self) -> None:
        if not self.passages:
            object.__setattr__(self, "passages", plain(self.text))


class _NotText(TextError):
    """A file is something else than UTF-8 text."""


def read_user(user: str, sources: Iterable[str | Path], *, stdin: BinaryIO | None = None) -> UserText:
    """Read a user's sources into one text: each file once, in the order given, a folder's files in that of their paths.

    A folder is read recursively, by content and not by file name: hidden files and empty ones are passed over, links to
    folders are not followed, and files that are not UTF-8 text are reported in the result. A file that is named itself
    must be text. The string ``"-"`` is standard input; a file of that name is ``Path("-")``.

    Args:
        user: a checked user id.
        sources: paths of files and folders.
        stdin: what ``"-"`` reads; the process's own by default.

    Raises:
        TextError: no source is given, or one is missing, unreadable, empty, binary or not UTF-8, or together they
            exceed `MAX_TEXT_BYTES`.
    """
    given = list(sources)
    texts: list[str] = []
    parts: list[Part] = []
    skipped: list[tuple[Path, TextError]] = []
    room = MAX_TEXT_BYTES
    try:
        for source, named in _without_repeats(given):
            try:
                data = _read_bytes(source, room, stdin)
                text = _decode(data, source)
            except _NotText as error:
                if named:
                    raise
                skipped.append((Path(source), error))
                continue
            if text.strip():
                texts.append(normalise_newlines(text))
                parts.append(Part.of("standard input" if source == "-" else str(source), texts[-1]))
                room -= len(data)
            elif named:
                raise TextError(f"{_name(source)} is empty", remedy="Give a file with text in it, or leave it out.")
    except OSError as error:
        raise TextError(
            f"{_name(error.filename or 'a source')} cannot be read: {error.strerror or error}",
            remedy="Check the path and its permissions.",
        ) from error
    if not texts:
        where = ", ".join(_name(source) for source in given) or "no sources"
        why = f". {skipped[0][1]}" if skipped else ""
        raise TextError(
            f"There is no text for {user!r} in {where}{why.removesuffix('.')}",
            remedy="Name UTF-8 text files, folders that hold some, or - for stdin.",
        )
    paths, errors = tuple(path for path, _ in skipped), tuple(error for _, error in skipped)
    return UserText(user, "\n".join(texts), paths, errors, tuple(parts))


def normalise_newlines(text: str) -> str:
    """Return ``text`` with every line ended by a line feed, whichever system wrote it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_repeats(sources: Iterable[str | Path]) -> Iterator[tuple[str | Path, bool]]:
    """Every file once, and whether it was named itself: a second reading would put held-out lines into training."""
    seen: set[str] = set()
    for source in sources:
        for path, named in _expand(source):
            identity = "-" if path == "-" else os.path.realpath(path)
            if identity not in seen:
                seen.add(identity)
                yield path, named


def _expand(source: str | Path) -> Iterator[tuple[str | Path, bool]]:
    try:
        impossible = b"\0" in os.fsencode(source)
    except UnicodeEncodeError:
        impossible = True
    if impossible:
        raise TextError(
            f"{_name(source)} cannot be a path: it holds a NUL or an unpaired surrogate",
            remedy="Give the path of a file or a folder.",
        )
    if source == "-" or not Path(source).is_dir():
        yield source, True
        return
    for path in _files_below(Path(source)):
        yield path, False


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=_raise, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted((path for path in found if path.is_file()), key=lambda path: path.parts)


def _raise(error: OSError) -> NoReturn:
    raise error


def _read_bytes(source: str | Path, room: int, stdin: BinaryIO | None) -> bytes:
    if source == "-":
        return _read_stream(stdin or sys.stdin.buffer, source, room)
    with Path(source).open("rb") as stream:
        return _read_stream(stream, source, room)


def _read_stream(stream: BinaryIO, source: str | Path, room: int) -> bytes:
    head = stream.read(_HEAD_BYTES)
    # A film in the folder is known by its first bytes, before its size could count against the limit.
    _decode(head, source, final=False)
    data = head + stream.read(max(0, room + 1 - len(head)))
    if len(data) > room:
        raise TextError(
            f"The text exceeds {MAX_TEXT_BYTES / 1e6:g} MB at {_name(source)}", remedy="Give fewer or smaller files."
        )
    return data


def _decode(data: bytes, source: str | Path, *, final: bool = True) -> str:
    """The text of a file, or of its first bytes.

    Raises:
        _NotText: it is something else.
    """
    kind = kind_of(data[:_HEAD_BYTES])
    nul = data.find(b"\0")
    if nul >= 0:
        what, remedy = f"binary, not text: NUL byte at offset {nul:,}", _OF_BINARY
    else:
        try:
            text, _ = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            what, remedy = f"not UTF-8 text: byte 0x{byte:02x} at offset {error.start:,}", _OF_ANOTHER_ENCODING
        else:
            if kind is None:
                return text.removeprefix("\ufeff")
            what, remedy = "not text: its first bytes say so", ""
    if kind is not None:
        what, remedy = f"{what}; it is {kind.name}", kind.remedy
    raise _NotText(f"{_name(source)} is {what}", remedy=remedy)


def _name(source: str | Path) -> str:
    return "standard input" if source == "-" else repr(str(source))
