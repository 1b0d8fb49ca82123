"""Passes of decoding by compiled kernels beside the same by torch's operations, on one thread. SmolLM2-135M.

    python -m benchmarks.compiled

A stream of a person, and 32 people with a row each, as in `benchmarks.trace`. Both ways take a pass in turns, in one
process; seconds are those in which the thread computed.
"""

import json
import os
import statistics
from typing import Any

import torch

from benchmarks import trace
from benchmarks.serving import median_interval
from benchmarks.trace import APART, RESULT, STEPS, Side, in_turns
from sharedllm.base import fused_norms
from sharedllm.base.compiled_kernels import kernels
from sharedllm.reporting.environment import describe
from sharedllm.serving import runner
from sharedllm.serving.attention import rotary

KEPT = RESULT.with_name("compiled.json")
PEOPLE, PAIRS = (1, 32), 24


def main() -> None:
    torch.set_num_threads(1)
    result: dict[str, Any] = {"environment": describe() | {"threads": 1}, "others": os.getloadavg()[0], "people": {}}
    for people in PEOPLE:
        result["people"][people] = _pairs(people)
        print(people, result["people"][people]["summary"])
    KEPT.write_text(json.dumps(result, indent=1) + "\n")


def _pairs(people: int) -> dict[str, Any]:
    passes = in_turns({"compiled": Side(people, True, 0.0), "torch": _without_kernels(people)}, PAIRS)
    whole = {way: [sum(each[step] for step in STEPS) for each in found] for way, found in passes.items()}
    ratios = [slow / fast for slow, fast in zip(whole["torch"], whole["compiled"], strict=True)]
    parts = {
        way: {part: 1e3 * statistics.median(each[part] for each in found) for part in APART}
        for way, found in passes.items()
    }
    summary = {"times_as_fast": statistics.median(ratios), "interval": median_interval(ratios), "parts_ms": parts}
    return {"passes": passes, "summary": summary | {f"{way}_ms": 1e3 * statistics.median(whole[way]) for way in whole}}


def _without_kernels(people: int) -> Side:
    """One that is made where nothing can be compiled."""
    modules: list[Any] = [trace, runner, fused_norms, rotary]
    found = kernels
    try:
        for each in modules:
            each.kernels = lambda: None
        return Side(people, True, 0.0)
    finally:
        for each in modules:
            each.kernels = found


if __name__ == "__main__":
    main()
