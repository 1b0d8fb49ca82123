"""Serving and training alone and beside a process that is always busy, by how threads wait for one another.

    python -m benchmarks.company

OpenMP's threads meet after every product. By default whoever is there first spins for milliseconds, on a core that
the last may be waiting for. Each way of waiting is a process of its own for serving (one stream of the base) and for
training (a step of 512 tokens), and they take turns: alone, and beside a loop that does nothing, at the usual priority.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.turns import Ask, contender, take_orders
from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "company.json"
ROUNDS, STEPS = 2, 2
_SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
WAYS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""Ways of waiting, as the environment that a process begins with."""


def main() -> None:
    if sys.argv[1:]:
        take_orders({"serve": _serve, "train": _train}[sys.argv[1]]())
        return
    environment = describe()
    rest = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    runs: dict[str, dict[str, dict[str, list[float]]]] = {}
    for kind in ("serve", "train"):
        with ExitStack() as stack:
            asks = {
                way: stack.enter_context(contender("benchmarks.company", kind, env={**rest, **settings}))
                for way, settings in WAYS.items()
            }
            runs[kind] = _measured(asks)
    summary = {
        kind: {way: {where: statistics.median(each) for where, each in found.items()} for way, found in ways.items()}
        for kind, ways in runs.items()
    }
    RESULT.write_text(json.dumps({"environment": environment, "summary": summary, "runs": runs}, indent=1) + "\n")
    print(json.dumps(summary, indent=2))


def _measured(asks: Mapping[str, Ask]) -> dict[str, dict[str, list[float]]]:
    for ask in asks.values():
        ask("run")
    found: dict[str, dict[str, list[float]]] = {way: {"alone": [], "in company": []} for way in asks}
    for _ in range(ROUNDS):
        for way, ask in asks.items():
            found[way]["alone"].append(ask("run"))
            with busy():
                found[way]["in company"].append(ask("run"))
    return found


@contextmanager
def busy() -> Iterator[None]:
    """Have another process compute all the time."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _serve() -> dict[str, Any]:
    """New tokens a second of one request."""
    from benchmarks.serving_contenders import CONTENDERS

    engine = CONTENDERS["engine"](1)["run"]
    return {"run": lambda: engine(1, False)["rate"]}


def _train() -> dict[str, Any]:
    """Steps a second."""
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.base.loading import load_base
    from sharedllm.base.resolve import BARE_BASE
    from sharedllm.text.samples import sample_text
    from sharedllm.text.splits import split_text
    from sharedllm.text.windows import tokenize
    from sharedllm.training.recipes import Recipe
    from sharedllm.training.vectors import train_vectors

    base = load_base(BARE_BASE)
    injection = Injection(base, layout_of(base))
    text = tokenize("programmer", split_text(sample_text("programmer")), base.encode)
    # Said in full, so that earlier versions take the same steps (benchmarks.versions).
    recipe = Recipe("company", learning_rate=5e-3, schedule="constant", steps=STEPS, windows_per_step=2, check_every=0)

    def run() -> float:
        marks = [time.perf_counter()]
        list(train_vectors(base, injection, [text], recipe, on_step=lambda *_: marks.append(time.perf_counter())))
        return 1 / statistics.median(after - before for before, after in pairwise(marks))

    return {"run": run}


if __name__ == "__main__":
    main()
