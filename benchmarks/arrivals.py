"""What prompts cost those who draw beside them: this version beside an earlier one, in turns.

    git worktree add ../before COMMIT
    python -m benchmarks.arrivals ../before          # goes on where it ended; without the result file, anew

Each version's engine is a process of its own with that version's code, on one thread, and seconds are those in which it
computed. Loads are those of `benchmarks.serving_peers`, every request under a row of its own: requests that come at
once, and requests that arrive at random, at shares of what the earlier version answered when 32 came at once. Both get
the same requests at the same seconds.
"""

import json
import os
import statistics
import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processors import result_path
from benchmarks.serving_peers import ARRIVALS, OWN, POINTS, USERS, one_turn
from benchmarks.turns import contender
from benchmarks.versions import commit
from sharedllm.reporting.environment import describe

RESULT = result_path("arrivals")
ROUNDS = 3
LOADS = ("batch", "prompts", *ARRIVALS)
NOW, BEFORE = "now", "before"


def main() -> None:
    folders = {BEFORE: Path(sys.argv[1]).resolve(), NOW: Path(__file__).resolve().parents[1]}
    versions = {name: commit(folder) for name, folder in folders.items()}
    result: dict[str, Any] = {"environment": describe(), "versions": versions, "pairs": []}
    if RESULT.is_file() and (kept := json.loads(RESULT.read_text()))["versions"] == versions:
        result = kept
    pairs, env = result["pairs"], os.environ | {"OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        asks = {}
        for name, folder in folders.items():
            engine = contender("benchmarks.serving_contenders", "loads", f"{USERS}", env=env, folder=folder)
            asks[name] = stack.enter_context(engine)
            # What is laid out once, and made of code, is nobody's turn.
            one_turn(asks[name], OWN[0], "stream", None, 1)
        for number, load in list(product(range(ROUNDS), LOADS))[len(pairs) :]:
            answered = [each[BEFORE] for each in pairs]
            pair: dict[str, Any] = {"round": number, "load": load}
            for name in (BEFORE, NOW) if number % 2 else (NOW, BEFORE):
                turn = one_turn(asks[name], OWN[0], load, answered, 1)
                pair[name] = {"contender": OWN[0], "load": load, **turn}
                print(number, load, name, f"{turn['rate']:.1f} tokens a second", turn["between"], file=sys.stderr)
            pairs.append(pair)
            result["summary"] = summarise(pairs)
            RESULT.write_text(json.dumps(result, indent=1) + "\n")


def summarise(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """By load how many times as fast this version is, median over rounds, and what each version's clients wait for.

    That is ``first``, of all requests, and ``between``, medians over rounds: seconds at p50, p95 and p99.
    """
    found: dict[str, Any] = {}
    for load in dict.fromkeys(pair["load"] for pair in pairs):
        of = [pair for pair in pairs if pair["load"] == load]
        found[load] = {"times": statistics.median(pair[NOW]["rate"] / pair[BEFORE]["rate"] for pair in of)}
        for name in (BEFORE, NOW):
            first = np.quantile([seconds for pair in of for seconds in pair[name]["first"]], POINTS)
            between = [statistics.median(pair[name]["between"][str(point)] for pair in of) for point in POINTS]
            found[load][name] = {"first": first.round(4).tolist(), "between": between}
    return found


if __name__ == "__main__":
    main()
