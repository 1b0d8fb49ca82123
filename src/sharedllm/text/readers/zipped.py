"""Zip archives: documents that are one (docx, xlsx, pptx, odt, epub), exports of chats, and the files in any other."""

import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile, ZipInfo

from sharedllm.errors import TextError
from sharedllm.printable import printable
from sharedllm.text.conversations import recognise_folder
from sharedllm.text.documents import Document
from sharedllm.text.readers import epub, opendocument, presentations, word_documents, workbooks
from sharedllm.text.readers.archive_parts import content_type, main_part
from sharedllm.text.readers.file_kinds import is_hidden, kind_of
from sharedllm.text.readers.found import LARGEST_FILE, InnerFile, Unread, Unreadable
from sharedllm.text.readers.reading_process import memory_file

MOST_BYTES = 2_000_000_000
"""Unpacked, of one archive."""

_DIRECTORY = 64_000_000
_HEAD = 65_536
_PIECE = 1 << 20
_UNPACK = "Unpack it, and give what is wanted."
_OFFICE = (
    (("wordprocessingml", "ms-word"), word_documents.read),
    (("spreadsheetml", "ms-excel"), workbooks.read),
    (("presentationml", "ms-powerpoint"), presentations.read),
)
"""By what the document says that its main part is."""


def read(file: BinaryIO, source: str) -> Iterator[Document | InnerFile | Unread]:
    """The document that an archive is, or the conversations that it is an export of, or else the files in it."""
    with ZipFile(file) as archive:
        if archive.start_dir and _size(file) - archive.start_dir > _DIRECTORY:
            raise Unreadable("lists more files than anybody has", remedy=_UNPACK)
        names = set(archive.namelist())
        main = main_part(archive)
        kind = content_type(archive, main) if main else ""
        office = next((read for signs, read in _OFFICE if any(sign in kind for sign in signs)), None)
        if office is not None:
            yield from office(archive, source, main)
        elif "mimetype" in names and "content.xml" in names:
            yield from opendocument.read(archive, source)
        elif "META-INF/container.xml" in names:
            yield from epub.read(archive, source)
        else:
            files = {f"{source}/{_shown(info)}": info for info in archive.infolist() if not _passed_over(info)}
            together = recognise_folder({path: partial(_text, archive, info) for path, info in files.items()})
            yield from together.documents
            yield from _members(archive, {path: files[path] for path in sorted(files.keys() - together.taken)})


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)


def _shown(info: ZipInfo) -> str:
    """The path of a member, which leads nowhere but down."""
    return printable("/".join(part for part in PurePosixPath(info.filename).parts if part not in ("/", "..")))


def _text(archive: ZipFile, info: ZipInfo) -> bytes:
    return _unpacked(archive, info, LARGEST_FILE)


def _members(archive: ZipFile, files: Mapping[str, ZipInfo]) -> Iterator[InnerFile | Unread]:
    room = MOST_BYTES
    for path, info in files.items():
        try:
            data = _unpacked(archive, info, room)
        except Unreadable as error:
            yield Unread(path, TextError(f"{path!r} {error.message}", remedy=error.remedy))
            continue
        room -= len(data)
        if room < 0:
            raise Unreadable(f"holds more than {MOST_BYTES / 1e9:g} GB", remedy=_UNPACK)
        with memory_file(data) as content:
            yield InnerFile(_shown(info), content)


def _passed_over(info: ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    hidden = any(is_hidden(part) and part != ".." for part in parts)
    return info.is_dir() or hidden


def _unpacked(archive: ZipFile, info: ZipInfo, room: int) -> bytes:
    """A member, or of what is not read anyhow its first bytes.

    Raises:
        Unreadable: it is damaged, locked, too large, or no file.
    """
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Unreadable("is a link or a device, and no file", remedy="Leave it out.")
    most = min(LARGEST_FILE, room)
    try:
        with archive.open(info) as file:
            data = file.read(_HEAD)
            kind = kind_of(data, info.filename)
            if kind is not None and kind.reader is None:
                return data
            pieces = [data]
            size = len(data)
            while piece := file.read(_PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > most:
                    raise Unreadable(f"is larger than {most / 1e6:g} MB", remedy=_UNPACK)
    except RuntimeError as error:
        raise Unreadable("is locked with a password", remedy="Unlock it, or leave it out.") from error
    except (BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise Unreadable("is damaged in the archive", remedy=_UNPACK) from error
    except Exception as error:
        if type(error).__name__ != "error":
            raise
        # What zlib raises has no better name.
        raise Unreadable("is damaged in the archive", remedy=_UNPACK) from error
    return b"".join(pieces)
