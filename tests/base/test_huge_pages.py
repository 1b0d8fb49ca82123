import mmap
import os
import re
from pathlib import Path

import pytest

from sharedllm.base import huge_pages
from sharedllm.base.huge_pages import move_to_huge_pages

SIZE = 64 * 1024**2

needs_pages = pytest.mark.skipif(
    tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 1)
    or not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists()
    or "[never]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(),
    reason="this machine moves no pages",
)


@pytest.mark.slow
@needs_pages
def test_what_is_held_is_moved_and_stays_as_it_is():
    held = bytearray(os.urandom(1024**2) * (SIZE // 1024**2))
    before = hash(bytes(held))
    assert move_to_huge_pages() >= SIZE - 2 * 2 * 1024**2
    assert hash(bytes(held)) == before


@pytest.mark.parametrize(
    ("mapping", "moved"),
    [
        ("7f0000000000-7f0004000000 rw-p 00000000 00:00 0 \nSize: 65536 kB\nRss: 65536 kB\n", [(0x7F0000000000, SIZE)]),
        (
            "7f0000001000-7f0004001000 rw-p 00000000 00:00 0 \nSize: 65536 kB\nRss: 65000 kB\n",
            [(0x7F0000200000, SIZE - 2**21)],
        ),
        # Half of it was never touched.
        ("7f0000000000-7f0004000000 rw-p 00000000 00:00 0 \nSize: 65536 kB\nRss: 32768 kB\n", []),
        # A file's, and what cannot be written.
        ("7f0000000000-7f0004000000 rw-p 00000000 fe:00 9 /a file\nSize: 65536 kB\nRss: 65536 kB\n", []),
        ("7f0000000000-7f0004000000 r--p 00000000 00:00 0 \nSize: 65536 kB\nRss: 65536 kB\n", []),
        ("7f0000000000-7f0000200000 rw-p 00000000 00:00 0 [stack]\nSize: 2048 kB\nRss: 2048 kB\n", []),
    ],
)
def test_only_memory_that_is_in_use_is_moved(tmp_path, monkeypatch, mapping, moved):
    told = tmp_path / "smaps"
    told.write_text(mapping)
    monkeypatch.setattr(huge_pages, "Path", lambda _: told)
    assert list(huge_pages._large()) == moved


def test_a_machine_that_does_not_tell_its_mappings_moves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(huge_pages, "Path", lambda _: tmp_path / "none")
    assert move_to_huge_pages() == 0


def test_files_that_are_mapped_may_be_called_what_is_no_text(tmp_path):
    with (tmp_path / os.fsdecode(b"\xff")).open("wb+") as file:
        file.write(bytes(4096))
        file.flush()
        with mmap.mmap(file.fileno(), 4096):
            assert move_to_huge_pages() >= 0
