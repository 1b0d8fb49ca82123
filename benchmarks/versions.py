"""This version beside an earlier one of the same: serving and training, in turns on the same machine.

    git worktree add ../before COMMIT
    python -m benchmarks.versions ../before          # or one of both, ../before train

Contenders are those of `benchmarks.serving` and `benchmarks.company`, each version's own, in a process of its own with
that version's code. A row's ratio is the median over rounds, in each of which both have had their turn; neither is
always the first. Above one, this version is faster.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.serving import USERS, median_interval
from benchmarks.turns import Ask, contender
from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "versions.json"
ROUNDS = 6
ROWS: dict[str, tuple[str, Callable[[Ask], float]]] = {
    "32 users": ("serve", lambda ask: float(ask("run", USERS, True)["rate"])),
    "32 requests of the base": ("serve", lambda ask: float(ask("run", USERS, False)["rate"])),
    "8 users": ("serve", lambda ask: float(ask("run", 8, True)["rate"])),
    "one stream": ("serve", lambda ask: float(ask("run", 1, False)["rate"])),
    "31 users beside a long prompt": ("serve", lambda ask: float(ask("beside", USERS - 1)["rate"])),
    "training steps": ("train", lambda ask: float(ask("run"))),
}
"""What is measured, by whom, as something of which more is better."""


CONTENDERS = {
    "serve": ("benchmarks.serving_contenders", "engine", str(USERS)),
    "train": ("benchmarks.company", "train"),
}


def main() -> None:
    before, now = Path(sys.argv[1]).resolve(), Path(__file__).resolve().parents[1]
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    for kind in sys.argv[2:] or CONTENDERS:
        module, *_ = CONTENDERS[kind]
        if not (before / f"{module.replace('.', '/')}.py").is_file():
            raise SystemExit(f"the earlier version has no {module}: copy this one's there, if it can run it")
        rounds = _rounds(kind, {"before": before, "now": now})
        result[kind] = {
            "environment": describe(),
            "before": commit(before),
            "summary": {row: _ratio(found) for row, found in rounds.items()},
            "rounds": rounds,
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result[kind]["summary"], indent=2))


def _rounds(kind: str, folders: dict[str, Path]) -> dict[str, list[dict[str, float]]]:
    """Of every row of a kind, what each version did in each round."""
    module, *arguments = CONTENDERS[kind]
    measures = {row: measure for row, (who, measure) in ROWS.items() if who == kind}
    rounds: dict[str, list[dict[str, float]]] = {row: [] for row in measures}
    with ExitStack() as stack:
        asks = {
            name: stack.enter_context(contender(module, *arguments, folder=folder)) for name, folder in folders.items()
        }
        # The first of everybody warms up.
        for number in range(ROUNDS + 1):
            print(kind, "round", number, "of", ROUNDS, "…", file=sys.stderr)
            for row, measure in measures.items():
                order = ("before", "now") if number % 2 else ("now", "before")
                found = {name: measure(asks[name]) for name in order}
                rounds[row] += [found] if number else []
    return rounds


def _ratio(found: list[dict[str, float]]) -> dict[str, Any]:
    ratios = [each["now"] / each["before"] for each in found]
    return {"ratio": statistics.median(ratios), "interval": median_interval(ratios)}


def commit(folder: Path) -> str:
    """What is checked out there."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
