"""Free memory goes back to the system."""

import sys
from pathlib import Path

import pytest

from sharedllm.http.free_memory import give_back

BLOCK, BLOCKS = 64 * 1024, 2048


def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("this process has no resident memory")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and other systems' allocators have no such call")
def test_the_holes_between_what_is_held_are_given_back():
    blocks = [bytearray(b"x" * BLOCK) for _ in range(BLOCKS)]
    for place in range(0, BLOCKS, 2):
        blocks[place] = None
    before = resident()
    give_back()
    assert before - resident() > BLOCK * BLOCKS / 4
    assert blocks[1] == b"x" * BLOCK
