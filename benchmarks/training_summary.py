"""Figures of training in `docs/speed.md`, from the results of `training_trace`, `training_trials` and `together`."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def training_figures() -> str:
    """Markdown of where a training step's time goes, what was tried, and what many people in one run bring."""
    trace, trials, together = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("training_trace", "training_trials", "together")
    )
    return f"{_training(trace)}\n\n{_trials(trials)}\n\n{_together(together)}\n\n"


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


def _together(together: dict[str, Any]) -> str:
    summary = together["summary"]
    rows = "\n".join(
        f"| {each['people']} people {each['kind']} | {each['tokens_a_second']['alone']:,.0f} |"
        f" {_times(each, 'in one run')} | {_times(each, 'packed')} |"
        for each in summary["people"]
    )
    shares = [f"{share:.0%} with {int(tokens):,}" for tokens, share in summary["of_product_rate"].items()]
    return f"""**Many people in one run.** Against the same people one after the other, on the prior with
`norm+bank` on one thread; the median and the range of {len(together["people"][0]["seconds"]["alone"])} turns.
The products of a layer reach {", ".join(shares)} tokens of what large matrices do.

| | tokens a second, one after the other | in one run | packed, windows alike |
|---|---|---|---|
{rows}"""


def _times(found: dict[str, Any], way: str) -> str:
    if way not in found["times_as_fast"]:
        return ""
    low, middle, high = found["times_as_fast"][way]
    return f"{middle:.2f} × ({low:.2f} to {high:.2f})"
