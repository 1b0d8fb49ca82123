"""What prompts cost those who draw beside them: this version beside an earlier one, in turns.

    git worktree add ../before COMMIT
    python -m benchmarks.arrivals ../before          # goes on where it ended; for another version, anew

Each version's engine is a process of its own with that version's code, on one thread, and seconds are those in which it
computed. Every request has a row of its own, and both versions get the same requests at the same seconds:

- ``batch``, ``prompts``: of `benchmarks.serving_peers`, all of which come at once;
- ``nine tenths``, ``one and a half``: of there, too, at random, of what the earlier version answers of ``batch``;
- ``long among short``: a dozen prompts of 64 tokens, then one of 2,000, and four more of 64 behind it.
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
from benchmarks.serving_peers import OWN, USERS, made_prompts, one_turn
from benchmarks.turns import Ask, contender
from benchmarks.versions import commit
from sharedllm.reporting.environment import describe

RESULT = result_path("arrivals")
ROUNDS = 4
MIXED = "long among short"
LOADS = ("batch", "prompts", MIXED, "nine tenths", "one and a half")
NOW, BEFORE = "now", "before"
POINTS = (0.5, 0.99)

Figures = dict[str, float]
"""Of a turn: new tokens a second, and what was waited for, in seconds."""


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
            answered = [
                {"contender": OWN[0], "load": pair["load"], "rate": pair[BEFORE]["tokens a second"]} for pair in pairs
            ]
            pair: dict[str, Any] = {"round": number, "load": load, "others": os.getloadavg()[0]}
            for name in (BEFORE, NOW) if number % 2 else (NOW, BEFORE):
                pair[name] = _mixed(asks[name], number) if load == MIXED else _alike(asks[name], load, answered)
                print(number, load, name, pair[name], file=sys.stderr)
            pairs.append(pair)
            result["summary"] = summarise(pairs)
            RESULT.write_text(json.dumps(result, indent=1) + "\n")


def _alike(ask: Ask, load: str, answered: list[dict[str, Any]]) -> Figures:
    turn = one_turn(ask, OWN[0], load, answered, 1)
    firsts = np.quantile(turn["first"], POINTS).tolist()
    waits = {f"first token, p{point * 100:.0f}": first for point, first in zip(POINTS, firsts, strict=True)}
    waits |= {f"between tokens, p{point * 100:.0f}": turn["between"][str(point)] for point in POINTS}
    return {"tokens a second": turn["rate"], **waits}


def _mixed(ask: Ask, number: int) -> Figures:
    before, long, behind, new = 12, 2_000, 4, 64
    lengths, at = [64] * before + [long] + [64] * behind, [0.0] * before + [0.001] + [0.002] * behind
    prompts = made_prompts(lengths, np.random.default_rng([*MIXED.encode(), number]))
    answered = ask("play", {"prompts": prompts, "new": new, "at": at, "own": True, "computing": True})["tokens"]
    firsts = [tokens[0] for tokens in answered]
    gaps = np.concatenate([np.diff(tokens) for tokens in answered[:before]])
    return {
        "tokens a second": len(lengths) * new / max(tokens[-1] for tokens in answered),
        "first token, of the long one": firsts[before],
        "first token, behind it": statistics.median(firsts[before + 1 :]),
        "between tokens, before it, p99": float(np.quantile(gaps, 0.99)),
    }


def summarise(pairs: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """By load and figure, medians over rounds: what the earlier version had, this one, and this one's share of that."""
    found: dict[str, dict[str, list[float]]] = {}
    for load in dict.fromkeys(pair["load"] for pair in pairs):
        of = [pair for pair in pairs if pair["load"] == load]
        for figure in of[0][NOW]:
            both = [(pair[BEFORE][figure], pair[NOW][figure]) for pair in of]
            ratios = [now / before for before, now in both]
            found.setdefault(load, {})[figure] = [*np.median(both, axis=0).tolist(), statistics.median(ratios)]
    return found


if __name__ == "__main__":
    main()
