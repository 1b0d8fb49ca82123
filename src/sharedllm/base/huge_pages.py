"""Memory in pages of 2 MiB, where the machine has them: a pass that reads all weights looks up fewer pages.

A base of 135 million parameters is 70,000 pages of 4 KiB, of which a processor remembers where some 2,000 are. Linux
gives the larger ones to whoever asks before memory is touched, as libraries that hold weights do not, and since 6.1
moves what is there already (`madvise(2)`, `MADV_COLLAPSE`).
"""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

_HUGE = 2 * 1024**2
_COLLAPSE = 25
_FULL = 0.9
"""Of what is in use of a mapping, from which on it is moved: the rest would be taken up, too."""

_MAPPING = re.compile(
    r"^(?P<begin>[0-9a-f]+)-(?P<end>[0-9a-f]+) rw-p \S+ 00:00 0 *(?:\[heap\])?$.*?^Rss: +(?P<used>\d+) kB$",
    re.MULTILINE | re.DOTALL,
)


def move_to_huge_pages() -> int:
    """Move what this process holds in large and full mappings; returns how many bytes were moved.

    What they hold stays as it is, and other threads may read and write it meanwhile. Where the machine has no such
    pages, or none left, nothing is moved.
    """
    try:
        mappings = list(_large())
    except OSError:
        return 0
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return sum(size for begin, size in mappings if advise(begin, size, _COLLAPSE) == 0)


def _large() -> Iterator[tuple[int, int]]:
    """Where mappings of memory alone begin that are nearly full, and their sizes, both in whole pages of 2 MiB."""
    for found in _MAPPING.finditer(Path("/proc/self/smaps").read_text("utf-8", "replace")):
        begin, end = int(found["begin"], 16), int(found["end"], 16)
        first, last = -(-begin // _HUGE) * _HUGE, end // _HUGE * _HUGE
        if last > first and 1024 * int(found["used"]) >= _FULL * (end - begin):
            yield first, last - first
