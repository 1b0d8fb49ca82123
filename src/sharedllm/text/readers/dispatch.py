"""Every file to the reader for it, and what comes of it back: documents, or why there are none.

Plain text in UTF-8 is read right here, and stays what it is to the byte. Whatever a library parses is read in a process
of its own (`ReadingProcess`), since anybody may have written it.
"""

import codecs
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path, PurePath
from types import TracebackType
from typing import BinaryIO

from sharedllm.errors import MissingExtra, TextError
from sharedllm.extras import need
from sharedllm.printable import printable
from sharedllm.text.conversations import people_in
from sharedllm.text.conversations.gathering import PASTED
from sharedllm.text.documents import Document, Turn, normalise_newlines
from sharedllm.text.readers.blobs import BLOBS, without_blobs
from sharedllm.text.readers.checkouts import Checkouts
from sharedllm.text.readers.file_kinds import (
    ENCODED,
    EXPORT,
    MAIL,
    TABLE,
    WHOLE,
    FileKind,
    kind_of,
    may_be_export,
    may_be_table,
)
from sharedllm.text.readers.found import LARGEST_FILE, InnerFile, Taken, TooMuchText, Unread, Unreadable
from sharedllm.text.readers.garbled import looks_garbled
from sharedllm.text.readers.mail_authors import one_mailbox
from sharedllm.text.readers.reading_process import ReadingProcess, memory_file
from sharedllm.text.readers.walk import STDIN, FoundFile, opened, quoted

MAX_TEXT_BYTES = 64_000_000
MOST_MEMBERS = 20_000
"""Files that are read of one archive and of those in it."""

ARCHIVE_SECONDS = 600.0
_DEEPEST = 4
_HEAD_BYTES = 65_536
_SHOWN = 4
_OF_BINARY = "Give plain text; if it is text in UTF-16, save it as UTF-8."


class _Exceeded(TextError):
    """There is more text in all than there may be."""


class Dispatch:
    """Reads files as long as it is open, and counts how much text there may still be."""

    def __init__(
        self, unread: Callable[[Unread], None], stdin: BinaryIO | None = None, author: str | None = None
    ) -> None:
        self._unread = unread
        self._stdin = stdin
        self._room = MAX_TEXT_BYTES
        self._stack = ExitStack()
        self._processes: list[ReadingProcess] = []
        self._members = 0
        self._until = 0.0
        self._taken_files: frozenset[str] = frozenset()
        self._checkouts = None if author is None else Checkouts(author)
        if self._checkouts is not None:
            self._stack.callback(self._checkouts.close)

    def __enter__(self) -> "Dispatch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, source: FoundFile) -> Iterator[Document]:
        """The documents of a file, a Maildir folder or standard input.

        Raises:
            TextError: there is more text than `MAX_TEXT_BYTES`.
        """
        self._members = 0
        self._until = time.monotonic() + ARCHIVE_SECONDS
        try:
            if source.mails:
                yield from self._maildir(source)
            elif source.files:
                yield from self._folder(source)
            elif str(source.path) in self._taken_files:
                return
            elif source.path == STDIN:
                yield from self._file(self._stdin or sys.stdin.buffer, source, "")
            else:
                path = Path(source.path)
                with opened(path, named=source.named) as file:
                    if self._checkouts is not None and self._checkouts.holds(path):
                        yield from self._of_checkout(self._checkouts, file, source)
                    else:
                        yield from self._file(file, source, path.name)
        except OSError as error:
            why = TextError(
                f"{quoted(source.path)} cannot be read: {error.strerror or error}",
                remedy="Check the path and its permissions.",
            )
            self._unread(Unread(source.shown, why, source.named))

    def end(self) -> None:
        """Tell of checkouts in which the author that was asked for wrote nothing."""
        if self._checkouts is None:
            return
        for top, others in self._checkouts.without_own():
            who = f"; those who did are {', '.join(map(repr, others))}" if others else ""
            why = TextError(
                f"{quoted(top)} has no line of which {self._checkouts.author!r} is the author{who}",
                remedy="Name the author as git does, by name or by mail address.",
            )
            self._unread(Unread(printable(str(top)), why))

    def _of_checkout(self, checkouts: Checkouts, file: BinaryIO, source: FoundFile) -> Iterator[Document]:
        """What the author wrote of a file: its lines of a text, all or nothing of what is none."""
        path = Path(source.path)
        try:
            head = file.read(_HEAD_BYTES)
            file.seek(0)
            if kind_of(head, path.name) is not None or _decoded(head, final=False) is None:
                if checkouts.is_whole(path):
                    yield from self._file(file, source, path.name)
            elif (document := checkouts.document(path, source.shown)) is not None:
                yield self._taken(document)
        except Unreadable as error:
            why = TextError(f"{quoted(path)} {error.message}", remedy=error.remedy)
            self._unread(Unread(source.shown, why, source.named))

    def _maildir(self, source: FoundFile) -> Iterator[Document]:
        documents: list[Document] = []
        for path in source.mails:
            with opened(path, named=False) as file:
                documents += self._file(file, FoundFile(path, named=False), path.name, of_maildir=True)
        if documents:
            yield one_mailbox(source.shown, documents)

    def _folder(self, source: FoundFile) -> Iterator[Document]:
        """What belongs together in a folder; its files come by themselves, those of them that were not taken."""
        with memory_file(json.dumps([str(path) for path in source.files]).encode()) as file:
            try:
                yield from self._by_process(EXPORT, file, replace(source, path=f"{source.path}/"), 0)
            except TextError as error:
                self._unread(Unread(source.shown, error))

    def _file(
        self, file: BinaryIO, source: FoundFile, name: str, depth: int = 0, *, of_maildir: bool = False
    ) -> Iterator[Document]:
        """The documents of an open file; of what is not read, `unread` is told."""
        try:
            head = file.read(_HEAD_BYTES)
            kind = MAIL if of_maildir else kind_of(head, name)
            if kind is None and _decoded(head, final=False) is not None:
                data = head + file.read(max(0, self._room + 1 - len(head)))
                if len(data) > self._room:
                    raise TooMuchText("exceeds what there is room for", remedy="Give less.")
                text = _decoded(data)
                if text is not None:
                    yield from self._plain(text, data, source, name, depth)
                else:
                    yield from self._encoded(data, source, depth)
                return
            kind = kind or ENCODED
            if kind.reader is None:
                raise _not_text(head, kind)
            if kind is not EXPORT:
                need("text")
            with _seekable(file, head) as whole:
                yield from self._by_process(kind, whole, source, depth, of_maildir=of_maildir)
        except _Exceeded:
            raise
        except TooMuchText as error:
            raise _Exceeded(
                f"The text exceeds {MAX_TEXT_BYTES / 1e6:g} MB at {quoted(source.path)}",
                remedy="Give fewer or smaller files.",
            ) from error
        except Unreadable as error:
            if not error.remedy and kind is not None:
                remedy = kind.remedy if kind.remedy == WHOLE else f"{kind.remedy} {WHOLE}"
                error = Unreadable(f"{error.message}; it is {kind.name}", remedy=remedy)
            why = TextError(f"{quoted(source.path)} {error.message}", remedy=error.remedy)
            self._unread(Unread(source.shown, why, source.named))
        except (MissingExtra, TextError) as error:
            self._unread(Unread(source.shown, error, source.named))

    def _plain(self, text: str, data: bytes, source: FoundFile, name: str, depth: int) -> Iterator[Document]:
        if not text.strip():
            if source.named:
                raise Unreadable("is empty", remedy="Give a file with text in it, or leave it out.")
            return
        doubts = []
        if looks_garbled(text):
            try:
                need("text")
            except MissingExtra as error:
                doubts.append(f"some of it looks as if it was read in a wrong encoding. {error}")
            else:
                yield from self._encoded(data, source, depth)
                return
        if may_be_table(name, text):
            with memory_file(data) as file:
                yield from self._by_process(TABLE, file, source, depth)
            return
        if may_be_export(name, text):
            with memory_file(data) as file:
                found = list(self._by_process(EXPORT, file, source, depth))
            if found:
                yield from found
                return
        turns = (Turn(normalise_newlines(text)),)
        yield self._taken(Document(source.shown, "plain text", turns, doubts=tuple(doubts)))

    def _encoded(self, data: bytes, source: FoundFile, depth: int) -> Iterator[Document]:
        need("text")
        with memory_file(data) as file:
            yield from self._by_process(ENCODED, file, source, depth)

    def _by_process(
        self, kind: FileKind, file: BinaryIO, source: FoundFile, depth: int, *, of_maildir: bool = False
    ) -> Iterator[Document]:
        while len(self._processes) <= depth:
            self._processes.append(self._stack.enter_context(ReadingProcess()))
        left_out: Counter[str] = Counter()
        anything = kind is EXPORT
        with closing(self._processes[depth].read(kind.reader or "", file, source.shown, self._room)) as found:
            for each in found:
                if isinstance(each, InnerFile):
                    self._check_members(depth)
                    anything = True
                    within = FoundFile(f"{source.path}/{each.name}", named=False)
                    yield from self._file(each.content, within, PurePath(each.name).name, depth + 1)
                elif isinstance(each, Unread):
                    anything = True
                    self._unread(each)
                elif isinstance(each, Taken):
                    self._taken_files |= each.paths
                elif each.turns:
                    anything = True
                    mail = kind.reader == "mailboxes" and not of_maildir
                    yield self._taken(one_mailbox(each.source, [each]) if mail else each)
                else:
                    left_out.update(each.left_out)
        if not anything:
            raise _wordless(left_out)

    def _check_members(self, depth: int) -> None:
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise Unreadable(f"holds more than {MOST_MEMBERS:,} files", remedy="Unpack it, and give what is wanted.")
        if time.monotonic() > self._until:
            raise Unreadable(
                f"took longer than {ARCHIVE_SECONDS:.0f} seconds to read, and was given up",
                remedy="Unpack it, and give what is wanted.",
            )
        if depth >= _DEEPEST:
            raise Unreadable(
                f"is an archive in {_DEEPEST} others; it goes no deeper", remedy="Unpack it, and give what is wanted."
            )

    def _taken(self, document: Document) -> Document:
        """A document without pasted blobs, its text counted."""
        blobs = 0
        turns = []
        for turn in document.turns:
            text = without_blobs(turn.text)
            blobs += len(turn.text) - len(text)
            turns.append(turn if text == turn.text else replace(turn, text=text))
        left_out = Counter(document.left_out)
        left_out[BLOBS] += blobs
        turns = [turn for turn in turns if turn.text.strip()]
        if not turns:
            raise _wordless(+left_out)
        of_many = {
            at: people for at, turn in enumerate(turns) if turn.author is None and (people := people_in(turn.text))
        }
        if len(of_many) == len(turns):
            raise _unknown_chat(of_many[0])
        left_out[PASTED] += sum(len(turns[at].text) for at in of_many)
        turns = [turn for at, turn in enumerate(turns) if at not in of_many]
        self._room -= sum(len(turn.text.encode("utf-8", "replace")) for turn in turns)
        if self._room < 0:
            raise TooMuchText("exceeds what there is room for", remedy="Give less.")
        return replace(document, turns=tuple(turns), left_out=+left_out)


def _decoded(data: bytes, *, final: bool = True) -> str | None:
    """Bytes as UTF-8; None if they are something else that may be text.

    Raises:
        Unreadable: they are no text.
    """
    if b"\0" in data:
        raise _not_text(data)
    try:
        return codecs.utf_8_decode(data, "strict", final)[0].removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None


def _not_text(data: bytes, kind: FileKind | None = None) -> Unreadable:
    nul = data.find(b"\0")
    what, remedy = f"is binary, not text: NUL byte at offset {nul:,}", _OF_BINARY
    if kind is not None:
        what, remedy = f"{what if nul >= 0 else 'is not text'}; it is {kind.name}", kind.remedy
    return Unreadable(what, remedy=remedy)


def _wordless(left_out: Mapping[str, int]) -> Unreadable:
    counted = ", ".join(f"{count:,} characters of {what}" for what, count in left_out.items())
    there = f", but {counted}" if counted else ""
    return Unreadable(f"holds no words of a person{there}", remedy="Leave it out, or give its text as plain text.")


def _unknown_chat(people: Sequence[str]) -> Unreadable:
    more = f" and {len(people) - _SHOWN:,} more" if len(people) > _SHOWN else ""
    return Unreadable(
        f"looks like a chat of a program that is not known here, between {', '.join(map(repr, people[:_SHOWN]))}{more},"
        " and who wrote what is not read of it",
        remedy="Export it as JSON if the program can, or give your own messages alone, as plain text.",
    )


def _seekable(file: BinaryIO, head: bytes) -> AbstractContextManager[BinaryIO]:
    """A file that can be read from its beginning, of one whose first bytes were read: itself if that can be."""
    with suppress(OSError):
        file.fileno()
        if file.seekable():
            return nullcontext(file)
    data = head + file.read(LARGEST_FILE + 1 - len(head))
    if len(data) > LARGEST_FILE:
        raise Unreadable(f"is larger than {LARGEST_FILE / 1e6:g} MB", remedy="Give it as a file.")
    return memory_file(data)
