"""Figures of training in `docs/speed.md`, from the results of `training_trace` and `training_trials`."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def training_figures() -> str:
    """Markdown of where a training step's time goes, and of what was tried."""
    trace, trials = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("training_trace", "training_trials")
    )
    return f"{_training(trace)}\n\n{_trials(trials)}\n\n"


def _training(trace: dict[str, Any]) -> str:
    summary = trace["summary"]
    parts = list(next(iter(summary.values()))["shares"])
    rows = "\n".join(
        f"| {name} | {each['step_ms']:.0f} | {' | '.join(f'{share:.0%}' for share in each['shares'].values())} |"
        f" {each['products']:.0%}, {each['products_of_layers_alone']:.0%} |"
        for name, each in summary.items()
    )
    return f"""**Where a training step's time goes.** One window of 256 tokens of one person, on the prior, on one
thread, in seconds in which it computed; the load of the machine beside it {trace["others"]:.0f}. Of products is the
share of the machine's bfloat16 rate for large matrices, of the whole step and of the layers' products alone; what is
counted are the products that a row cannot do without, forwards and for the gradient of what is multiplied. Each of some
thousand operations is timed with some microseconds of calling it, so that too little is left for Python.

| | ms a step | {" | ".join(parts)} | of products |
|---|---|{"---|" * len(parts)}---|
{rows}"""


def _trials(trials: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {way} | {each['times_as_fast']:.3f} ({each['interval'][0]:.3f} to {each['interval'][1]:.3f}) |"
        f" {f'{apart:.2%}' if (apart := trials['gradients_apart'].get(way)) is not None else ''} |"
        for way, each in trials["summary"].items()
    )
    rounds = len(next(iter(trials["seconds"].values())))
    return f"""**Ways to take a training step.** A window of one person's norm row on one thread, in turns with how it
is taken: above one, what was tried is faster, in the median of {rounds} rounds. Beside it, how far its gradient is from
that.

| | times as fast | gradient |
|---|---|---|
{rows}"""
