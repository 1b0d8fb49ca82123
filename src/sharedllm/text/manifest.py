"""Many users in one file: a JSON object a line."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sharedllm.errors import InvalidInput, ManifestError
from sharedllm.text.choices import Choices, choices_from
from sharedllm.text.contents.personal_details import mask_details
from sharedllm.text.documents import normalise_newlines
from sharedllm.text.reading import Part, UserText, read_user
from sharedllm.user_ids import check_user_id

MAX_LINE_BYTES = 64_000_000
_MARK = b"\xef\xbb\xbf"
_SHAPE = 'Write {"user": "…", "files": ["…"]} or {"user": "…", "text": "…"} on it.'

_MASKED = Choices(mask=True)
_CHOSEN = ("me", "learn", "mask", "author")


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: whose text it is, and either the text or where it lies.

    Attributes:
        user: a checked user id.
        files: paths, relative to the manifest's folder; None where the text stands in the line.
        text: as written in the line; None where there are files.
        shared: whether the line says that its person agreed to be in what is made of everybody's text.
        choices: how it is read, and what of it is learned; personal details are masked unless the line says otherwise.
    """

    user: str
    files: tuple[str, ...] | None
    text: str | None
    shared: bool = False
    choices: Choices = _MASKED

    def read(self, folder: Path) -> UserText:
        """The user's text, files of it read from below ``folder``.

        Raises:
            InvalidInput: the line's text is empty or not valid Unicode.
            TextError, MissingExtra: see `read_user`.
        """
        if self.text is None:
            return read_user(self.user, [folder / name for name in self.files or ()], choices=self.choices)
        if not self.text.strip():
            raise InvalidInput(f"the text of {self.user!r} is not a string with something in it", remedy=_SHAPE)
        if any("\ud800" <= character <= "\udfff" for character in self.text):
            raise InvalidInput(
                f"the text of {self.user!r} holds an unpaired surrogate", remedy="Remove it from the text."
            )
        text = normalise_newlines(self.text)
        text = mask_details(text) if self.choices.mask else text
        return UserText(self.user, text, parts=(Part.of("its line of the manifest", text),))


def entries(path: Path) -> Iterator[tuple[int, Entry]]:
    """The lines of a manifest one after the other, each with the offset of its first byte; no file is read.

    Raises:
        ManifestError: the file cannot be read; or, with the line's number, a line is not such an object, or is longer
            than `MAX_LINE_BYTES`. That a user has two lines is not noticed.
    """
    for number, offset, line in _lines(path):
        try:
            yield offset, _parse(line)
        except InvalidInput as error:
            raise _at_line(number, path, error) from error


def contributors(path: Path) -> Iterator[tuple[int, Entry]]:
    """`entries` of a manifest whose people all agreed to be in what is made of everybody's text, each of them once.

    Raises:
        ManifestError: as for `entries`; or, with the line's number, its person did not agree, answers are learned of
            them, or an earlier line is for them as well.
    """
    seen: dict[str, int] = {}
    for number, offset, line in _lines(path):
        try:
            entry = _parse(line)
            if not entry.shared:
                raise InvalidInput(
                    f"nothing says that {entry.user!r} agreed to be in what everybody gets",
                    remedy='Leave that line out, or, if they agreed, add "shared": true to it.',
                )
            if entry.choices.learn != "writing":
                raise InvalidInput(
                    f"of {entry.user!r} an assistant's answers are learned, and a prior is of how people write",
                    remedy='Leave that line out, or write "learn": "writing" on it.',
                )
        except InvalidInput as error:
            raise _at_line(number, path, error) from error
        if entry.user in seen:
            raise _twice(path, seen[entry.user], number, entry.user)
        seen[entry.user] = number
        yield offset, entry


def entries_at(path: Path, offsets: Sequence[int]) -> Iterator[Entry]:
    """The lines that begin at these offsets, as `entries` gave them.

    Raises:
        ManifestError: the file cannot be read, or has changed so that there is no such line.
    """
    try:
        with path.open("rb") as stream:
            for offset in offsets:
                stream.seek(offset)
                line = stream.readline(MAX_LINE_BYTES + 1)
                try:
                    yield _parse(line.removeprefix(_MARK) if offset == 0 else line)
                except InvalidInput as error:
                    raise ManifestError(
                        f"The manifest {path} has changed: at byte {offset:,} there is no line any more",
                        remedy="Run the same command again; who is done is not trained twice.",
                    ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def read_manifest(path: Path) -> list[UserText]:
    """Read the users of a manifest and their texts, in its order.

    Each line is ``{"user": "…", "files": ["…"]}``, with paths relative to the manifest's folder, or
    ``{"user": "…", "text": "…"}``. Blank lines are passed over. Everything is checked before anything is returned.

    Raises:
        ManifestError: the file cannot be read or names nobody; or, with the line's number, a line is not such an
            object, is longer than `MAX_LINE_BYTES`, has a file that cannot be used or a user that an earlier line has.
    """
    return [read() for _, read in readers(path)]


def readers(path: Path) -> list[tuple[Entry, Callable[[], UserText]]]:
    """Every line of a manifest with what reads its text, in its order: `read_manifest` before any file is read.

    Raises:
        ManifestError: as `read_manifest` does; what is wrong with a file, when it is read.
    """
    found: dict[str, tuple[int, Entry]] = {}
    for number, _, line in _lines(path):
        try:
            entry = _parse(line)
        except InvalidInput as error:
            raise _at_line(number, path, error) from error
        if entry.user in found:
            raise _twice(path, found[entry.user][0], number, entry.user)
        found[entry.user] = number, entry
    if not found:
        raise ManifestError(
            f"The manifest {path} names no user", remedy='Begin with a line {"user": "…", "files": ["…"]}.'
        )
    return [(entry, partial(_read, path, number, entry)) for number, entry in found.values()]


def _read(path: Path, number: int, entry: Entry) -> UserText:
    try:
        return entry.read(path.parent)
    except InvalidInput as error:
        raise _at_line(number, path, error) from error


def _at_line(number: int, path: Path, error: InvalidInput) -> ManifestError:
    return ManifestError(f"Line {number} of {path}: {error.message}", remedy=error.remedy)


def _twice(path: Path, first: int, second: int, user: str) -> ManifestError:
    return ManifestError(
        f"Lines {first} and {second} of {path} are both for the user {user!r}",
        remedy="Give each user one line, with all of their files.",
    )


def _unreadable(path: Path, error: OSError) -> ManifestError:
    return ManifestError(
        f"The manifest {path} cannot be read: {error.strerror}", remedy="Check the path and its permissions."
    )


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    try:
        with path.open("rb") as stream:
            number = offset = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                begin, offset = offset, offset + len(line)
                if len(line) > MAX_LINE_BYTES:
                    raise ManifestError(
                        f"Line {number} of {path} is longer than {MAX_LINE_BYTES / 1e6:g} MB",
                        remedy="Put the text into files and name them instead.",
                    )
                if number == 1:
                    line = line.removeprefix(_MARK)
                if line.strip():
                    yield number, begin, line
    except OSError as error:
        raise _unreadable(path, error) from error


def _parse(line: bytes) -> Entry:
    try:
        entry = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"not UTF-8: byte 0x{line[error.start]:02x} at offset {error.start:,}", remedy="Save the manifest as UTF-8."
        ) from error
    # Beyond bad syntax: numbers of thousands of digits, and thousands of nested brackets.
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not JSON ({error})", remedy=_SHAPE) from error
    if not isinstance(entry, dict):
        raise InvalidInput(f"a JSON {type(entry).__name__} instead of an object", remedy=_SHAPE)
    unknown = sorted(entry.keys() - {"user", "files", "text", "shared", *_CHOSEN})
    if unknown:
        raise InvalidInput(f"unknown key {unknown[0]!r}", remedy=_SHAPE)
    user, files, text = entry.get("user"), entry.get("files"), entry.get("text")
    if not isinstance(user, str):
        raise InvalidInput(f"the user is {user!r:.40} instead of a string", remedy=_SHAPE)
    check_user_id(user)
    shared = entry.get("shared", False)
    if not isinstance(shared, bool):
        raise InvalidInput(
            f"what {user!r} agreed to is {shared!r:.40}", remedy='Write "shared": true if they agreed, else false.'
        )
    choices = choices_from({"mask": True, **{name: entry[name] for name in _CHOSEN if name in entry}})
    if ("files" in entry) == ("text" in entry):
        raise InvalidInput(f"the user {user!r} needs either files or a text", remedy=_SHAPE)
    if "text" in entry:
        if not isinstance(text, str):
            raise InvalidInput(f"the text of {user!r} is not a string with something in it", remedy=_SHAPE)
        if choices.learn == "answers":
            raise InvalidInput(
                f"the text of {user!r} is running text, which answers nothing, and answers are to be learned",
                remedy='Give files with chats with an assistant, or write "learn": "writing".',
            )
        return Entry(user, None, text, shared, choices)
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise InvalidInput(f"the files of {user!r} are not a list of paths", remedy=_SHAPE)
    return Entry(user, tuple(files), None, shared, choices)
