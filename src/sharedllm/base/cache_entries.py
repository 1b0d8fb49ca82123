"""What lies in the cache folder, what each entry is for, and which may go: all of it can be fetched or made again.

Only what is called as entries of the cache are is ever touched, whatever else lies in that folder. Nothing in use is
removed: whoever uses a base, a model file or a package holds it, see `sharedllm.cache_folder.hold`.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from sharedllm.base.fingerprint import forget, is_current, remembered_folder
from sharedllm.base.resolve import BUILT_IN, SHIPPED_PRIORS
from sharedllm.cache_folder import alone_with, cache_dir

CacheKind = Literal["package", "model file", "base", "fingerprint", "curvature", "text", "kernels", "unfinished"]

AGAIN: Mapping[CacheKind, str] = {
    "package": "fetched again",
    "model file": "made again from its packages",
    "base": "converted again from its model file",
    "fingerprint": "made again by reading the base once",
    "curvature": "measured again before the next training",
    "text": "read again from its package",
    "kernels": "compiled again when something is served",
    "unfinished": "never needed again",
}
"""What happens when an entry of a kind that was removed is needed."""

_UNFINISHED_SECONDS = 3600.0
"""For which something half-made may still be worked on, where nobody could hold it yet."""

_ENTRIES: tuple[tuple[str, str, CacheKind], ...] = (
    ("packages", r".+\.whl", "package"),
    ("packages", r".+\.part", "unfinished"),
    ("gguf", r".+\.gguf", "model file"),
    ("gguf", r"tmp\w{8}", "unfinished"),
    ("bases", r"[0-9a-f]{16}", "base"),
    ("bases", r"tmp\w{8}", "unfinished"),
    ("fingerprints", r"[0-9a-f]{64}", "fingerprint"),
    ("fingerprints", r"tmp\w{8}", "unfinished"),
    ("fingerprinted", r"tmp\w{8}", "unfinished"),
    ("curvatures", r"[0-9a-f]{64}\.safetensors", "curvature"),
    ("curvatures", r"tmp\w{8}", "unfinished"),
    ("texts", r"\w+\.txt", "text"),
    ("kernels", r"[0-9a-f]{16}\.so", "kernels"),
)


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache.

    Attributes:
        kind: what it is.
        path: where.
        bytes: of its files.
        used_at: when it was last used, in UTC, as well as that is known.
        purpose: what it is for.
        useless: why nothing will need it; None where something may.
    """

    kind: CacheKind
    path: Path
    bytes: int
    used_at: datetime
    purpose: str
    useless: str | None = None


def entries(purposes: Mapping[str, str]) -> list[CacheEntry]:
    """Everything in the cache folder that may be removed, kind by kind.

    Args:
        purposes: what packages and texts are for, by how their file names begin.
    """
    return [
        _entry(kind, path, purposes)
        for folder, pattern, kind in _ENTRIES
        for path in _children(cache_dir() / folder)
        if re.fullmatch(pattern, path.name) and not path.is_symlink()
    ]


def removable(found: Iterable[CacheEntry], *, older_than: timedelta | None, everything: bool) -> list[CacheEntry]:
    """Which entries may go: those that nothing needs, and those not used for so long, or all."""
    now = datetime.now(UTC)
    return [
        entry
        for entry in found
        if everything or entry.useless is not None or (older_than is not None and now - entry.used_at > older_than)
    ]


def prune(chosen: Iterable[CacheEntry]) -> Iterator[tuple[CacheEntry, bool]]:
    """Remove entries, and tell of each whether it was: not, where somebody uses it, or it cannot be removed."""
    for entry in chosen:
        yield entry, _remove(entry)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir()) if not folder.is_symlink() else []
    except OSError:
        return []


def _entry(kind: CacheKind, path: Path, purposes: Mapping[str, str]) -> CacheEntry:
    about = path.lstat()
    # A folder's own time of access is that of the last listing.
    used = about.st_mtime if path.is_dir() else max(about.st_mtime, about.st_atime)
    purpose, useless = _purpose(kind, path, purposes)
    return CacheEntry(kind, path, _bytes(path), datetime.fromtimestamp(used, UTC), purpose, useless)


def _purpose(kind: CacheKind, path: Path, purposes: Mapping[str, str]) -> tuple[str, str | None]:
    if kind == "unfinished":
        return "left behind by something that was interrupted", "it was never finished"
    if kind == "fingerprint":
        folder = remembered_folder(path)
        if folder is None:
            return "a base that an earlier version looked at", None
        return f"the base in {folder}", None if is_current(path, folder) else "that folder is gone, or was changed"
    if kind == "curvature":
        return "what a base is sensitive to, as training needs to know", None
    if kind == "kernels":
        return "what passes on a CPU compute between products", None
    if kind == "model file":
        names = [name for name, built_in in BUILT_IN.items() if built_in.file == path.name]
        return f"the base {names[0]}, as exports to GGUF start from it" if names else "a base", None
    if kind == "base":
        keys = {name: built_in.sha256 for name, built_in in BUILT_IN.items()}
        keys |= {name: prior.key for name, prior in SHIPPED_PRIORS.items()}
        names = [name for name, key in keys.items() if key.startswith(path.name)]
        return f"the base {names[0]}" if names else f"a GGUF file of a {_architecture(path)}, converted", None
    known = [purpose for begins, purpose in purposes.items() if path.name.startswith(begins)]
    return known[0] if known else "what an earlier version used", None


def _architecture(folder: Path) -> str:
    try:
        kind = json.loads((folder / "config.json").read_text())["model_type"]
    except (OSError, ValueError, LookupError, TypeError):
        kind = None
    return kind if isinstance(kind, str) else "model"


def _bytes(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).lstat().st_size
    return total


def _remove(entry: CacheEntry) -> bool:
    path = entry.path
    if entry.kind == "unfinished" and time.time() - path.lstat().st_mtime < _UNFINISHED_SECONDS:
        return False
    try:
        with ExitStack() as locks:
            if path.parent.name == "packages":
                # As whoever fetches it does.
                stem = path.name.removesuffix(".part") if path.suffix == ".part" else "-".join(path.name.split("-")[:2])
                locks.enter_context(FileLock(path.parent / f"{stem}.lock", timeout=0))
            if not locks.enter_context(alone_with(path)):
                return False
            if entry.kind == "fingerprint":
                forget(path)
            else:
                _delete(path)
            if entry.kind == "base":
                path.with_name(f"{path.name}.fingerprint").unlink(missing_ok=True)
    except (OSError, Timeout):
        return False
    return True


def _delete(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
        return
    # Out of the way at once, so that nobody finds half of it; what a kill leaves of it is unfinished.
    aside = Path(tempfile.mkdtemp(dir=path.parent))
    path.rename(aside / path.name)
    shutil.rmtree(aside)
