"""From sources as they are given to the files that there are: folders walked, each file once, nothing but files."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sharedllm.errors import TextError
from sharedllm.printable import printable
from sharedllm.text.readers.file_kinds import is_hidden
from sharedllm.text.readers.found import Unread, Unreadable

STDIN = "-"
_PARTS_OF_MAILDIR = {"cur", "new", "tmp"}


@dataclass(frozen=True)
class FoundFile:
    """A file, standard input, or what a folder is as a whole.

    Attributes:
        path: as given, or below a folder that is given.
        named: whether it was given itself.
        mails: of a Maildir folder, the files of its mails.
        files: of a folder that may be an export of a chat as a whole, those that tell. They come by themselves, too.
    """

    path: str | Path
    named: bool
    mails: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def shown(self) -> str:
        """Its path, safe to show."""
        return "standard input" if self.path == STDIN else printable(str(self.path))


def quoted(source: str | Path) -> str:
    """A source as it is named in a sentence."""
    return "standard input" if source == STDIN else repr(str(source))


def walk(sources: Iterable[str | Path]) -> Iterator[FoundFile | Unread]:
    """Every file once: a second reading would put held-out lines into training.

    Hidden files are passed over, and links to folders are not followed.

    Raises:
        TextError: a source cannot be a path.
    """
    seen: set[str] = set()
    for source in sources:
        for found in _expand(source):
            identity = _identity(found)
            if identity not in seen:
                seen.add(identity)
                yield found


def _identity(found: FoundFile | Unread) -> str:
    if isinstance(found, Unread):
        return os.path.realpath(found.source)
    if found.path == STDIN:
        return STDIN
    return os.path.realpath(found.path) + ("/" if found.files else "")


def _expand(source: str | Path) -> Iterator[FoundFile | Unread]:
    try:
        impossible = b"\0" in os.fsencode(source)
    except UnicodeEncodeError:
        impossible = True
    if impossible:
        raise TextError(
            f"{quoted(source)} cannot be a path: it holds a NUL or an unpaired surrogate",
            remedy="Give the path of a file or a folder.",
        )
    if source == STDIN or not _is_folder(source):
        yield FoundFile(source, named=True)
    else:
        found = sorted(_below(Path(source)), key=lambda found: Path(_place(found)).parts)
        told = tuple(Path(each.path) for each in found if isinstance(each, FoundFile) and _tells(Path(each.path)))
        if told:
            yield FoundFile(Path(source), named=False, files=told)
        yield from found


def _is_folder(source: str | Path) -> bool:
    with suppress(OSError):
        return Path(source).is_dir()
    return False


def _place(found: FoundFile | Unread) -> str | Path:
    return found.path if isinstance(found, FoundFile) else found.source


def _below(folder: Path) -> list[FoundFile | Unread]:
    found: list[FoundFile | Unread] = []

    def unreadable(error: OSError) -> None:
        why = TextError(
            f"{quoted(error.filename)} cannot be read: {error.strerror}", remedy="Check the path and its permissions."
        )
        found.append(Unread(printable(str(error.filename)), why))

    top = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder, onerror=unreadable, followlinks=False):
        if set(folders) >= _PARTS_OF_MAILDIR:
            mails = [path for part in ("cur", "new") for path in _files(Path(parent, part))]
            links = {path for path in mails if not _is_below(path, top)}
            if within := tuple(path for path in mails if path not in links):
                found.append(FoundFile(Path(parent), named=False, mails=within))
            found += map(_link_out, sorted(links))
            folders[:] = set(folders) - _PARTS_OF_MAILDIR
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in files:
            path = Path(parent, name)
            if not is_hidden(name) and path.is_file():
                found.append(FoundFile(path, named=False) if _within(path, top) else _link_out(path))
    return found


def _tells(path: Path) -> bool:
    return path.suffix == ".json" or path.name in ("messages.csv", "README.txt")


def _files(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(each for each in folder.iterdir() if not each.name.startswith(".") and each.is_file())
    return []


def _within(path: Path, top: str) -> bool:
    return not path.is_symlink() or _is_below(path, top)


def _is_below(path: Path, top: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), top]) == top


def _link_out(path: Path) -> Unread:
    why = TextError(
        f"{quoted(path)} is a link to a file outside of the folder",
        remedy="If it is to be read, name that file itself.",
    )
    return Unread(printable(str(path)), why)


def opened(path: Path, *, named: bool) -> BinaryIO:
    """A file, open to be read; of what was come upon in a folder, nothing that would block or has no end.

    Raises:
        OSError: it cannot be opened.
        Unreadable: it has become something else than a file.
    """
    if named:
        return path.open("rb")
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Unreadable("is no file", remedy="Leave it out.")
    return file
