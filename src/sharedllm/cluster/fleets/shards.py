"""A fleet in pieces: who is trained together, as a function of the manifest alone, and their texts when due."""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sharedllm.errors import InvalidInput, ManifestError, SharedLLMError
from sharedllm.text.manifest import entries, entries_at
from sharedllm.text.reading import UserText


@dataclass(frozen=True)
class Shard:
    """Some lines of a manifest: the unit of work.

    Attributes:
        number: of the shard of the plan that it is, or is a part of, counted from 1.
        lines: offsets of the lines, in the manifest's order.
        suspected: a worker was lost with these users among those it had, so that one of them may be the cause.
    """

    number: int
    lines: tuple[int, ...]
    suspected: bool = False


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """A fleet cut into shards, in the manifest's order. The same manifest and size give the same shards.

    Attributes:
        manifest: the file.
        lines: the offset of every user's line: eight bytes a user, all that is kept of them.
        size: users in a shard; the last one may have fewer.
    """

    manifest: Path
    lines: "array[int]"
    size: int

    def shards(self) -> Iterator[Shard]:
        """Every user in exactly one shard."""
        for begin in range(0, len(self.lines), self.size):
            yield Shard(begin // self.size + 1, tuple(self.lines[begin : begin + self.size]))

    def users(self) -> Iterator[str]:
        """Every user in the order of ``lines``. Reads no file that the manifest names.

        Raises:
            ManifestError: the manifest cannot be read, or has changed since it was planned.
        """
        for entry in entries_at(self.manifest, self.lines):
            yield entry.user

    def read(self, shard: Shard) -> Iterator[tuple[int, str, UserText | SharedLLMError]]:
        """Each user of a shard with the offset of their line, and their text or why it cannot be used.

        Texts are read one by one as the iterator advances.

        Raises:
            ManifestError: the manifest has changed since it was planned.
        """
        for line, entry in zip(shard.lines, entries_at(self.manifest, shard.lines), strict=True):
            try:
                yield line, entry.user, entry.read(self.manifest.parent)
            except InvalidInput as error:
                yield line, entry.user, error


def plan_fleet(manifest: Path, size: int) -> ShardPlan:
    """Look through a manifest once, checking every line and reading no file that it names.

    Args:
        manifest: see `read_manifest`; a text in it that is unfit is its user's failure, found when it is due.
        size: users in a shard.

    Raises:
        InvalidInput: the size is not at least one.
        ManifestError: the manifest names nobody, has a line that is none, or two lines for one user.
    """
    if size < 1:
        raise InvalidInput(f"A shard of {size} users is none", remedy="Give a size of at least 1.")
    lines, users = array("Q"), array("Q")
    for offset, entry in entries(manifest):
        lines.append(offset)
        users.append(_digest(entry.user))
    if not lines:
        raise ManifestError(
            f"The manifest {manifest} names no user", remedy='Begin with a line {"user": "…", "files": ["…"]}.'
        )
    _check_one_line_each(manifest, users)
    return ShardPlan(manifest, lines, size)


def _digest(user: str) -> int:
    return int.from_bytes(hashlib.blake2b(user.encode(), digest_size=8).digest(), "little")


def _check_one_line_each(manifest: Path, users: "array[int]") -> None:
    """Two releases of one user in a run would leave it to chance which is served. Sorts the digests where they are."""
    digests = np.frombuffer(users, dtype=np.uint64)
    digests.sort()
    twice = set(digests[1:][digests[1:] == digests[:-1]].tolist())
    if not twice:
        return
    # Looking for them again costs a second reading of a manifest that is likely to be refused, and no memory.
    seen: set[str] = set()
    for _, entry in entries(manifest):
        if _digest(entry.user) not in twice:
            continue
        if entry.user in seen:
            raise ManifestError(
                f"Two lines of {manifest} are for the user {entry.user!r}",
                remedy="Give each user one line, with all of their files.",
            )
        seen.add(entry.user)
