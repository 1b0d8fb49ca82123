"""Passes of decoding before and after memory is moved to pages of 2 MiB, on one thread. SmolLM2-135M.

    python -m benchmarks.huge_pages

Each run is a process of its own, which takes passes, moves its memory or, as a control, leaves it, and takes passes
again; seconds are those in which the thread computed. A ratio is that of the two medians within a process.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from sharedllm.base.huge_pages import move_to_huge_pages
from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "huge_pages.json"
PEOPLE, RUNS, WARM, PASSES = (1, 32), 6, 2, 12


def main() -> None:
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {str(people): {"moved": [], "left": []} for people in PEOPLE}
    for number in range(RUNS):
        for people, ways in runs.items():
            for way in list(ways)[:: 1 if number % 2 else -1]:
                command = [sys.executable, "-m", "benchmarks.huge_pages", people, way]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
                ways[way].append(json.loads(done.stdout))
                print(people, way, ways[way][-1]["ratio"], flush=True)
    summary = {
        people: {
            way: {"times_as_fast": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
            for way, found in ways.items()
            if (ratios := [each["ratio"] for each in found])
        }
        for people, ways in runs.items()
    }
    result = {
        "environment": describe() | {"threads": 1},
        "others": os.getloadavg()[0],
        "summary": summary,
        "runs": runs,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def one(people: int, move: bool) -> dict[str, Any]:
    """A process's passes before and after, in seconds; and what was moved."""
    import torch

    from benchmarks.trace import STEPS, Side

    torch.set_num_threads(1)
    side = Side(people, True, 0.0)

    def passes() -> list[float]:
        return [sum(found[step] for step in STEPS) for found in (side.step() for _ in range(WARM + PASSES))][WARM:]

    before, moved, after = passes(), move_to_huge_pages() if move else 0, passes()
    return {
        "before": before,
        "moved_bytes": moved,
        "after": after,
        "ratio": statistics.median(before) / statistics.median(after),
    }


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(one(int(sys.argv[1]), sys.argv[2] == "moved")))
    else:
        main()
