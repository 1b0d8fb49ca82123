"""Fleets: users an hour against PEFT one after the other, memory over the number of users, Ray against local workers.

    python -m benchmarks.fleet

Each contender runs in a process of its own, one after the other, on the same sequences of the same people, 100 steps of
512 tokens each:

- ``fleet``: `train_fleet` with one local worker, as the command line runs it: from the start of the worker and the
  loading of its base to the last release in the store, every adapter through its gate.
- ``loop``: `train_vectors` alone, the same people in one batch.
- ``peft``, ``peft-bf16``: what benchmarks/training.py runs of those names, once for every person, of which the steps
  alone are timed: no loading, no gate, no store.
- ``memory-2``, ``memory-4``, ``memory-8``: the peak of a process that takes a few steps with so many people.
- ``local-2``, ``ray-2``: `train_fleet` on two workers, two shards, to see what Ray costs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import training
from benchmarks.plots import write_curve
from sharedllm.reporting.environment import describe
from sharedllm.training.recipes import RECIPES

if TYPE_CHECKING:
    from sharedllm.base.loading import Base
    from sharedllm.cluster.fleets.job import FleetJob
    from sharedllm.cluster.workers.executors import Executor

RESULT = Path(__file__).parent / "results" / "fleet.json"
BASE = "smollm2-135m"
USERS = (
    "president/Abraham Lincoln",
    "chat/0f9fe1f8",
    "library/bottle",
    "sample/novelist",
    "president/Barack Obama",
    "chat/a54af4d5",
    "library/lark",
    "sample/scientist",
)
PEOPLE = 6
MEMORY_STEPS = 5
WINDOWS = 32
# The steps and tokens of benchmarks/training.py, whose PEFT loop is used.
RECIPE = replace(RECIPES["adamw"], steps=training.STEPS, windows_per_step=2, window=256, check_every=0, patience=0)

Texts = Mapping[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=PEOPLE, choices=range(2, len(USERS) + 1), help="How many train.")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(WORKERS[arguments.worker](BASE, _texts(), arguments.people)))
        return
    environment = describe()
    runs: dict[str, list[dict[str, Any]]] = {}
    for name in ORDER:
        print(name, "…", file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.fleet", "--people", str(arguments.people), "--worker", name]
        run = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
        runs.setdefault(name, []).append(run)
    result = {"environment": environment, "people": arguments.people, "summary": summary(runs), "runs": runs}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    peaks = {name.removeprefix("memory-"): peak / 2**20 for name, peak in result["summary"]["peak_bytes"].items()}
    write_curve(
        RESULT.with_suffix(".svg"),
        "Peak memory of training",
        {"one process": [[peak] for peak in peaks.values()]},
        places=list(peaks),
        across="users who train",
        up="MiB",
    )
    print(json.dumps(result["summary"], indent=2))


def summary(runs: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The ratios that are claimed, from the raw values."""
    seconds = {
        name: statistics.median(run["seconds"] for run in of_name) / len(of_name[0]["heldout_perplexity"])
        for name, of_name in runs.items()
        if "seconds" in of_name[0]
    }
    return {
        "users_per_hour": {name: 3600 / each for name, each in seconds.items()},
        "fleet_against_peft": seconds["peft"] / seconds["fleet"],
        "fleet_against_peft_bf16": seconds["peft-bf16"] / seconds["fleet"],
        "loop_against_peft": seconds["peft"] / seconds["loop"],
        "loop_against_peft_bf16": seconds["peft-bf16"] / seconds["loop"],
        "ray_overhead": seconds["ray-2"] / seconds["local-2"] - 1,
        "peak_bytes": {name: of_name[0]["peak_bytes"] for name, of_name in runs.items() if "memory" in name},
        "heldout_perplexity": {
            name: runs[name][0]["heldout_perplexity"] for name in ("fleet", "loop", "peft-bf16", "peft")
        },
    }


def _texts() -> dict[str, str]:
    from sharedllm.text.people import people

    found = {person.user: person.text for person in people() if person.user in USERS}
    return {user: found[user] for user in USERS}


def _fleet(base_name: str, texts: Texts, people: int, *, workers: int = 1, on_ray: bool = False) -> dict[str, Any]:
    from sharedllm.base.loading import load_base
    from sharedllm.cluster.fleets.run import Result, train_fleet
    from sharedllm.cluster.fleets.shards import plan_fleet
    from sharedllm.store import open_store

    users = list(texts)[:people]
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder, "store.db")) as store:
        manifest = Path(folder, "fleet.jsonl")
        manifest.write_text("".join(json.dumps({"user": user, "text": texts[user]}) + "\n" for user in users))
        job = _job(base_name, Path(folder, "training"))
        plan = plan_fleet(manifest, -(-people // workers))
        results: list[tuple[float, Result]] = []
        started = time.perf_counter()
        for news in train_fleet(store, plan, job, _executor(job, workers, on_ray=on_ray), origin="benchmark"):
            if isinstance(news, Result):
                results.append((time.perf_counter() - started, news))
        seconds = time.perf_counter() - started
        failed = [result.reason for _, result in results if result.release is None]
        if failed or len(results) != people:
            raise SystemExit(f"{len(results)} of {people} people trained: {failed}")
        values = {user: store.release(user, 1).adapter.values for user in users}
    return {
        "seconds": seconds,
        "done_after": [at for at, _ in results],
        "heldout_perplexity": _perplexities(load_base(base_name), texts, values),
    }


def _job(base_name: str, checkpoints: Path) -> "FleetJob":
    from sharedllm.base.fingerprint import fingerprint
    from sharedllm.base.resolve import resolve_base
    from sharedllm.cluster.fleets.job import FleetJob
    from sharedllm.evaluation.gate import Gate
    from sharedllm.text.samples import general_text
    from sharedllm.text.splits import split_text

    general = split_text(general_text()).validation
    return FleetJob(base_name, fingerprint(resolve_base(base_name)), RECIPE, general, checkpoints, Gate())


def _executor(job: "FleetJob", workers: int, *, on_ray: bool) -> "Executor[Any, Any]":
    if on_ray:
        from sharedllm.cluster.workers.ray import RayExecutor

        return RayExecutor(job, None, workers)
    from sharedllm.cluster.workers.local import LocalExecutor

    return LocalExecutor(job, workers)


def _loop(base_name: str, texts: Texts, people: int) -> dict[str, Any]:
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.base.loading import load_base
    from sharedllm.training.vectors import train_vectors

    base = load_base(base_name)
    injection = Injection(base, layout_of(base))
    tokenized = [_tokenized(base, user, texts[user]) for user in list(texts)[:people]]
    started = time.perf_counter()
    trained = list(train_vectors(base, injection, tokenized, RECIPE))
    seconds = time.perf_counter() - started
    injection.remove()
    values = {each.user: each.adapter.values for each in trained if each.adapter is not None}
    return {"seconds": seconds, "heldout_perplexity": _perplexities(base, texts, values)}


def _peft(base_name: str, texts: Texts, people: int, *, precise: bool) -> dict[str, Any]:
    from sharedllm.base.loading import load_base
    from sharedllm.evaluation.perplexity import spread

    base = load_base(base_name)
    steps: dict[str, list[float]] = {}
    perplexities = {}
    for user in list(texts)[:people]:
        text = _tokenized(base, user, texts[user])
        steps[user], perplexities[user], _ = training._peft(base, text, spread(text.heldout, WINDOWS), precise=precise)
    return {
        "seconds": sum(map(sum, steps.values())),
        "step_seconds": steps,
        "heldout_perplexity": perplexities,
    }


def _memory(base_name: str, texts: Texts, people: int) -> dict[str, Any]:
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.base.loading import load_base
    from sharedllm.training.vectors import train_vectors

    base = load_base(base_name)
    injection = Injection(base, layout_of(base))
    before = training._peak_bytes()
    # As in a fleet, a text is read when its user's turn comes.
    tokenized = (_tokenized(base, user, texts[user]) for user in list(texts)[:people])
    done = sum(1 for _ in train_vectors(base, injection, tokenized, replace(RECIPE, steps=MEMORY_STEPS)))
    return {"users": done, "peak_bytes": training._peak_bytes(), "peak_bytes_before": before}


def _tokenized(base: "Base", user: str, text: str) -> Any:
    from sharedllm.text.splits import split_text
    from sharedllm.text.windows import tokenize

    return tokenize(user, split_text(text), base.encode, window=RECIPE.window)


def _perplexities(base: "Base", texts: Texts, values: Mapping[str, Any]) -> dict[str, float]:
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.evaluation.perplexity import row_losses, spread

    injection = Injection(base, layout_of(base))
    found = {}
    for user, row in values.items():
        heldout = spread(_tokenized(base, user, texts[user]).heldout, WINDOWS)
        (losses,) = row_losses(base, injection, np.stack([row]), heldout)
        found[user] = losses.perplexity
    injection.remove()
    return found


WORKERS: dict[str, Callable[[str, Texts, int], dict[str, Any]]] = {
    "fleet": _fleet,
    "loop": _loop,
    "peft-bf16": lambda *given: _peft(*given, precise=False),
    "peft": lambda *given: _peft(*given, precise=True),
    "memory-2": lambda base, texts, _: _memory(base, texts, 2),
    "memory-4": lambda base, texts, _: _memory(base, texts, 4),
    "memory-8": lambda base, texts, _: _memory(base, texts, 8),
    "local-2": lambda *given: _fleet(*given, workers=2),
    "ray-2": lambda *given: _fleet(*given, workers=2, on_ray=True),
}
# What is compared runs before and after what it is compared with, so that a machine that slows down favours nobody.
ORDER = (
    *("fleet", "loop", "peft-bf16", "peft", "loop", "fleet"),
    *("memory-2", "memory-4", "memory-8"),
    *("local-2", "ray-2", "ray-2", "local-2"),
)

if __name__ == "__main__":
    main()
