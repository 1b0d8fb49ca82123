"""Passes of decoding by compiled kernels beside the same by torch's operations, on one thread. SmolLM2-135M.

    python -m benchmarks.compiled

A stream of a person, and 32 people with a row each, as in `benchmarks.trace`. All ways take a pass in turns, in one
process; seconds are those in which the thread computed. Where products are ours, too, there is a third way: torch's
products beside our other kernels. And there weights on grids (`base/weight_grids.py`) are multiplied beside the same in
float32, of the bare base and of the one with a prior.
"""

import json
import os
import statistics
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch

from benchmarks import trace
from benchmarks.processors import result_path
from benchmarks.serving import median_interval
from benchmarks.trace import APART, STEPS, Side, in_turns
from sharedllm.base import fused_norms, prepacked_weights, weight_layouts
from sharedllm.base.resolve import BARE_BASE, DEFAULT_BASE
from sharedllm.base.weight_layouts import multiplies_bfloat16
from sharedllm.reporting.environment import describe
from sharedllm.serving import runner
from sharedllm.serving.attention import rotary

KEPT = result_path("compiled")
PEOPLE, PAIRS = (1, 32), 24
BASES = (BARE_BASE, DEFAULT_BASE)


def main() -> None:
    torch.set_num_threads(1)
    result: dict[str, Any] = {"environment": describe() | {"threads": 1}, "others": os.getloadavg()[0], "people": {}}
    for people in PEOPLE:
        result["people"][people] = _pairs(people)
        print(people, result["people"][people]["summary"])
    if not multiplies_bfloat16():
        result["grids"] = {base: {people: _on_grids(base, people) for people in PEOPLE} for base in BASES}
    KEPT.write_text(json.dumps(result, indent=1) + "\n")


def _pairs(people: int) -> dict[str, Any]:
    sides = {"compiled": Side(people, True, 0.0), "torch": _without("kernels", people)}
    if not multiplies_bfloat16():
        sides["torch's products"] = _without("layout_for", people)
    passes = in_turns(sides, PAIRS)
    whole = _whole(passes)
    times = {way: _times_as_fast(whole[way], whole["compiled"]) for way in whole.keys() - {"compiled"}}
    parts = {
        way: {part: 1e3 * statistics.median(each[part] for each in found) for part in APART}
        for way, found in passes.items()
    }
    summary = times.pop("torch") | {"beside": times, "parts_ms": parts}
    return {"passes": passes, "summary": summary | {f"{way}_ms": 1e3 * statistics.median(whole[way]) for way in whole}}


def _on_grids(base: str, people: int) -> dict[str, Any]:
    sides = {"grids": Side(people, True, 0.0, base_name=base), "float32": _without("grids_of", people, base)}
    passes = in_turns(sides, PAIRS)
    whole = _whole(passes)
    summary = _times_as_fast(whole["float32"], whole["grids"])
    summary |= {f"{way}_ms": 1e3 * statistics.median(found) for way, found in whole.items()}
    print(base, people, summary)
    return {"passes": passes, "summary": summary}


def _whole(passes: dict[str, list[dict[str, float]]]) -> dict[str, list[float]]:
    return {way: [sum(each[step] for step in STEPS) for each in found] for way, found in passes.items()}


def _times_as_fast(slow: list[float], fast: list[float]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(slow, fast, strict=True)]
    return {"times_as_fast": statistics.median(ratios), "interval": median_interval(ratios)}


def _without(what: str, people: int, base: str = BARE_BASE) -> Side:
    """One that is made where nothing can be compiled (``kernels``), or no weight is laid out (``layout_for``) or found
    on grids (``grids_of``)."""
    modules = [trace, runner, fused_norms, rotary, weight_layouts, prepacked_weights]
    with ExitStack() as undo:
        for each in modules:
            if hasattr(each, what):
                undo.enter_context(patch.object(each, what, lambda *_: None))
        return Side(people, True, 0.0, base_name=base)


if __name__ == "__main__":
    main()
