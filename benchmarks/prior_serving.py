"""What serving people on the shipped prior costs beside the bare base, in one process and in turns.

    python -m benchmarks.prior_serving

Thirty-two people write at once, each with a row of their own. Each side is a base of its own with the engine's runner
and scheduler: the bare base without rows, norm rows on the prior, and norm rows with coordinates of its frames. They
take turns pass by pass, in another order each time, on one thread each, and a pass's time is what that thread computed,
without the waits for others on the machine. ``share`` is the bare base's time over a side's: 0.95 is 5 % fewer tokens.
"""

import json
import os
import statistics
import time
from collections.abc import Sequence as Ordered
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sharedllm.base.context_length import steady_context
from sharedllm.base.loading import load_base
from sharedllm.base.resolve import BARE_BASE, DEFAULT_BASE
from sharedllm.reporting.environment import describe
from sharedllm.serving.request import Counters, Limits, Request, Sampling
from sharedllm.serving.runner import Runner
from sharedllm.serving.sampler import sample
from sharedllm.serving.scheduler import Scheduler
from sharedllm.serving.sequence import Sequence

RESULT = Path(__file__).parent / "results" / "prior_serving.json"
PEOPLE, PROMPT, WARM, PASSES = 32, 8, 6, 30
SIDES = (
    ("bare base", BARE_BASE, "norm", False),
    ("norm", DEFAULT_BASE, "norm", True),
    ("norm+bank", DEFAULT_BASE, "norm+bank", True),
)
SPREAD = 0.05
"""Of the random rows; what they are changes no time."""


class Side:
    """One way of serving, driven pass by pass."""

    def __init__(self, name: str, base_name: str, format: str, rows: bool) -> None:
        """Let everybody's request in."""
        self.name = name
        self.seconds: list[float] = []
        base = load_base(base_name, device="cpu")
        limits = Limits(running=PEOPLE, cache_tokens=256 * PEOPLE, table_bytes=0)
        self._runner = Runner(base, limits, format=format)
        ends: tuple[int, ...] = ()
        self._scheduler = Scheduler(
            self._runner.table, self._runner.cache, limits, Counters(), ends=ends, original=steady_context(base)
        )
        chance = np.random.default_rng(0)
        for person in range(PEOPLE):
            values = (SPREAD * chance.standard_normal(self._runner.layout.size)).astype(np.float16).astype(np.float32)
            own: dict[str, Any] = {"release": f"{person}", "values": values} if rows else {}
            prompt = chance.integers(3, 10_000, PROMPT).tolist()
            request = Request(
                prompt,
                f"{person}",
                max_tokens=PASSES + WARM + 8,
                ignore_end=True,
                sampling=Sampling(temperature=0),
                top_logprobs=None,
                **own,
            )
            self._scheduler.submit(Sequence(base, person, request, lambda event: None))

    def step(self) -> float:
        """One pass; the seconds it took."""
        began = time.thread_time()
        plan = self._scheduler.next()
        assert plan is not None and len(plan.chunks) == PEOPLE
        self._scheduler.take(sample(self._runner.run(plan)))
        return time.thread_time() - began

    def close(self) -> None:
        """Give the base back."""
        self._runner.close()


def main() -> None:
    torch.set_num_threads(1)
    sides = [Side(*each) for each in SIDES]
    for side in sides:
        for _ in range(WARM):
            side.step()
    for number in range(PASSES):
        for side in sides if number % 2 else sides[::-1]:
            side.seconds.append(side.step())
    told = [_told(side, sides[0].seconds) for side in sides]
    result = {"environment": describe(), "load": os.getloadavg(), "people": PEOPLE, "sides": told}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for each in told:
        print(each["name"], f"{1e3 * each['median']:.1f} ms a pass, share {each['share']:.3f}")


def _told(side: Side, bare: Ordered[float]) -> dict[str, Any]:
    shares = [theirs / own for theirs, own in zip(bare, side.seconds, strict=True)]
    return {
        "name": side.name,
        "median": statistics.median(side.seconds),
        "share": statistics.median(shares),
        "seconds": side.seconds,
    }


if __name__ == "__main__":
    main()
