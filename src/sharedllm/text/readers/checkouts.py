"""Checkouts of git: of every file the lines that one author wrote last, by blame of the commit that is checked out.

A checkout may come from anybody, and its configuration can name programs for git to run. So git is asked in an empty
repository of its own that borrows the checkout's objects: of the checkout's configuration, attributes and hooks nothing
is read but where its objects are.
"""

import os
import shutil
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sharedllm.text.documents import Document, Turn, normalise_newlines
from sharedllm.text.readers.found import Unreadable

SECONDS = 120
"""For one question to git."""

SECONDS_IN_ALL = 600
"""For all questions about one person's checkouts: a history of thousands of commits takes a second for each file."""

LARGEST = 5_000_000
"""Bytes of a text that is blamed, which takes more than a hundred for each of its lines."""

OTHERS = "other people's lines"
_LEAVE_OUT = "Leave it out, or give what this author wrote of it."


class Checkouts:
    """The checkouts that files lie in, as far as one author wrote them."""

    def __init__(self, author: str) -> None:
        self.author = author
        self._stack = ExitStack()
        self._patience = _Patience()
        self._by_folder: dict[Path, _Checkout | None] = {}

    def close(self) -> None:
        """Remove the repositories that git was asked in."""
        self._stack.close()

    def holds(self, path: Path) -> bool:
        """Whether a file lies in a checkout."""
        return self._of(path) is not None

    def document(self, path: Path, source: str) -> Document | None:
        """The author's lines of a text file as a document of one turn; None if there are none.

        Raises:
            Unreadable: it is in no commit, or git cannot tell.
        """
        checkout = self._of(path)
        if checkout is None:
            raise ValueError(f"{path} is in no checkout")
        own: list[str] = []
        left_out = 0
        newest = 0
        for who, mail, when, line in checkout.lines(path):
            if self._is_author(who, mail):
                own.append(line)
                newest = max(newest, when)
            else:
                left_out += len(line) + 1
                checkout.others[who] += len(line)
        if not own:
            return None
        checkout.has_own = True
        turn = Turn(normalise_newlines("\n".join(own) + "\n"), when=datetime.fromtimestamp(newest, UTC))
        return Document(source, "file of a git checkout", (turn,), left_out={OTHERS: left_out} if left_out else {})

    def is_whole(self, path: Path) -> bool:
        """Whether every commit of a file is the author's: of a document lines cannot be told apart.

        Raises:
            Unreadable: it is in no commit, or git cannot tell.
        """
        checkout = self._of(path)
        if checkout is None:
            raise ValueError(f"{path} is in no checkout")
        people = checkout.people(path)
        own = [self._is_author(name, mail) for name, mail in people]
        checkout.has_own |= any(own)
        if any(own) and not all(own):
            raise Unreadable("was written by several people together", remedy=_LEAVE_OUT)
        return all(own)

    def without_own(self) -> list[tuple[Path, list[str]]]:
        """Checkouts in which the author wrote nothing, and who wrote most of each."""
        found = {checkout.top: checkout for checkout in self._by_folder.values() if checkout is not None}
        return [
            (top, [name for name, _ in each.others.most_common(5)]) for top, each in found.items() if not each.has_own
        ]

    def _is_author(self, name: str, mail: str) -> bool:
        return self.author.casefold() in (name.casefold(), mail.casefold(), f"{name} <{mail}>".casefold())

    def _of(self, path: Path) -> "_Checkout | None":
        folder = path.absolute().parent
        if folder not in self._by_folder:
            top = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
            known = next((each for each in self._by_folder.values() if each is not None and each.top == top), None)
            if top is not None and known is None:
                empty = Path(self._stack.enter_context(TemporaryDirectory(prefix="sharedllm-")))
                known = _Checkout(top, empty, self._patience)
            self._by_folder[folder] = known
        return self._by_folder[folder]


@dataclass
class _Checkout:
    """A folder with a commit checked out, and an empty repository to ask git about it in."""

    top: Path
    empty: Path
    patience: "_Patience"
    has_own: bool = False
    others: Counter[str] = field(default_factory=Counter)
    _asked: "tuple[list[str], dict[str, str]] | None" = None
    _commit: str = ""
    _why_not: Unreadable | None = None

    def lines(self, path: Path) -> list[tuple[str, str, int, str]]:
        """Of every line its author, their address, when (seconds since 1970), and itself."""
        head, inside = self._head(), self._inside(path)
        # Of mode, kind, object and size; nothing where there is no such path, as blame says itself.
        there = self._git("ls-tree", "-lz", "--", head, inside).split(maxsplit=4)
        if len(there) > 3 and there[3].isdigit() and int(there[3]) > LARGEST:
            raise Unreadable(f"is larger in its commit than {LARGEST / 1e6:g} MB", remedy=_LEAVE_OUT)
        said = self._git("blame", "--porcelain", "--no-progress", head, "--", inside)
        people: dict[str, list[str | int]] = {}
        found = []
        commit = ""
        for raw in said.split(b"\n"):
            if raw.startswith(b"\t"):
                name, mail, when = people[commit]
                found.append((str(name), str(mail), int(when), raw[1:].decode("utf-8", "replace")))
                continue
            first, _, rest = raw.decode("utf-8", "replace").partition(" ")
            if first in ("author", "author-mail", "author-time"):
                place = ("author", "author-mail", "author-time").index(first)
                people[commit][place] = int(rest) if place == 2 else rest.strip("<>") if place == 1 else rest
            elif len(first) in (40, 64) and rest[:1].isdigit():
                commit = first
                people.setdefault(commit, ["", "", 0])
        return found

    def people(self, path: Path) -> set[tuple[str, str]]:
        """Names and addresses of those who committed a file, under whatever name."""
        said = self._git(
            "log", "--no-show-signature", "--follow", "--format=%aN%x00%aE", self._head(), "--", self._inside(path)
        )
        people = {tuple(line.split("\0", 1)) for line in said.decode("utf-8", "replace").split("\n") if "\0" in line}
        if not people:
            raise Unreadable("is in no commit of its git checkout", remedy="Commit it, or give it by itself.")
        return {(name, mail) for name, mail in people}

    def _inside(self, path: Path) -> str:
        return path.absolute().relative_to(self.top).as_posix()

    def _head(self) -> str:
        self._prepare()
        return self._commit

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        """How git is asked; what a checkout hangs at is waited for once, and not with each of its files."""
        if self._why_not is not None:
            raise Unreadable(self._why_not.message, remedy=self._why_not.remedy)
        try:
            return self._prepared()
        except Unreadable as error:
            self._why_not = error
            raise

    def _prepared(self) -> tuple[list[str], dict[str, str]]:
        if self._asked is None:
            if shutil.which("git") is None:
                raise Unreadable("is in a git checkout, and git is not installed", remedy="Install git.")
            clean = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
            clean |= {"LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
            clean["GIT_LITERAL_PATHSPECS"] = "1"
            here = ["git", "-c", "core.fsmonitor=false", "-C", str(self.top), "rev-parse"]
            told = self.patience.run(
                [*here, "HEAD", "--show-object-format", "--git-path", "objects", "--git-path", "shallow"], clean
            )
            commit, form, objects, shallow = os.fsdecode(told).split("\n")[:4]
            if (self.top / shallow).is_file():
                # Whoever wrote its oldest commit would be taken for the author of all that was there before.
                raise Unreadable(
                    "is in a shallow git checkout, which does not tell who wrote what",
                    remedy="Fetch its whole history: git fetch --unshallow.",
                )
            clean |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
            self.patience.run(
                ["git", "init", "--quiet", "--bare", f"--object-format={form}", "--template=", str(self.empty)], clean
            )
            clean["GIT_OBJECT_DIRECTORY"] = str(self.top / objects)
            asked = ["git", "--no-pager", f"--git-dir={self.empty}", "-c", f"mailmap.blob={commit}:.mailmap"]
            self._commit, self._asked = commit, (asked, clean)
        return self._asked

    def _git(self, *arguments: str) -> bytes:
        asked, clean = self._prepare()
        return self.patience.run([*asked, *arguments], clean)


class _Patience:
    """Runs git, as long as there is time for it in all."""

    def __init__(self) -> None:
        self._left = float(SECONDS_IN_ALL)

    def run(self, command: list[str], environment: dict[str, str]) -> bytes:
        """What a command prints.

        Raises:
            Unreadable: it fails, or takes too long by itself or with all before it.
        """
        if self._left <= 0:
            raise _out_of_time()
        began = time.monotonic()
        try:
            ran = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=min(SECONDS, self._left),
            )
        except subprocess.TimeoutExpired as error:
            if self._left < SECONDS:
                raise _out_of_time() from error
            raise Unreadable(f"took git longer than {SECONDS} seconds", remedy=_LEAVE_OUT) from error
        finally:
            self._left -= time.monotonic() - began
        if ran.returncode:
            why = ran.stderr.decode("utf-8", "replace").strip().split("\n")[0][:200]
            if "no such path" in why:
                raise Unreadable("is in no commit of its git checkout", remedy="Commit it, or give it by itself.")
            raise Unreadable(f"cannot be told by git: {why}", remedy="Ask git blame what is wrong, or leave it out.")
        return ran.stdout


def _out_of_time() -> Unreadable:
    return Unreadable(
        f"was not looked at: git had taken {SECONDS_IN_ALL} seconds for the files before it",
        remedy="Give fewer files of the checkout at a time.",
    )
