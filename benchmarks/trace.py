"""Where the time of a pass goes, on one thread: one stream of the base, and 32 people with a row each. SmolLM2-135M.

    python -m benchmarks.trace

Everybody has read their prompt and draws a token in each pass. Seconds are those in which the thread computed, without
its waits for others on the machine. A pass is timed by its steps (plan, run, sample, take), and within ``run``
products, attention and our other kernels are, whole. What is left of it has operations too small to be timed one by
one: they are told by torch's profiler, in passes of their own, as the median over these of the operation at the same
place, so that whatever interrupted one of them falls out. The rest is Python: the model's own code, hooks and calls.

Beside them, in the same run and on as many threads: how fast the machine reads memory, and a product of large matrices
in what the base is in. ``bandwidth`` is the share of the first at which one stream's pass reads the weights, and
``products`` of the second at which 32 people's pass multiplies.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch.profiler import record_function

from benchmarks.processors import NATIVE, result_path
from benchmarks.serving_contenders import made_prompts, made_rows
from benchmarks.weights_read import bytes_read
from sharedllm.base.compiled_kernels import kernels
from sharedllm.base.context_length import steady_context
from sharedllm.base.loading import Weights, load_base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.reporting.environment import describe
from sharedllm.serving.request import Counters, Limits, Request, Sampling
from sharedllm.serving.runner import Runner
from sharedllm.serving.sampler import sample
from sharedllm.serving.scheduler import Scheduler
from sharedllm.serving.sequence import Sequence

RESULT = result_path("trace")
SIDES = {
    "one stream of the base": (1, False, 0.0),
    "32 people": (32, True, 0.0),
    "32 people, drawn warm": (32, True, 1.0),
}
"""Requests, whether each has a row of its own, and at which temperature tokens are drawn."""
WARM, PASSES, PROFILED = 4, 16, 6
BETWEEN = ("norm", "rotate")
"""Kernels but that of attention."""
STEPS = ("plan", "run", "sample", "take")
APART = ("products", "attention", "kernels")
MEMORY_BYTES, MATRIX = 2**28, 2048


class Side:
    """Requests that draw a token in each pass, driven pass by pass."""

    def __init__(
        self, count: int, rows: bool, temperature: float, weights: Weights = "plain", base_name: str = BARE_BASE
    ) -> None:
        """Let them in and read their prompts."""
        base = load_base(base_name, device="cpu", weights=weights)
        self.operations = 2 * sum(each.numel() for each in base.model.parameters() if each.ndim == 2) * count
        limits = Limits(running=count, cache_tokens=256 * count)
        self._runner = Runner(base, limits, format="norm")
        table, cache = self._runner.table, self._runner.cache
        self._scheduler = Scheduler(table, cache, limits, Counters(), ends=(), original=steady_context(base))
        self.apart, self._marked = dict.fromkeys(APART, 0.0), False
        for product in self._runner._products._products:
            product._multiply = self._timed("products", product._multiply)  # type: ignore[method-assign]
        attention, ours = self._runner._attention, kernels()
        for name in ("singles", "stretch"):
            setattr(attention, name, self._timed("attention", getattr(attention, name)))
        self._undo = ExitStack()
        for name in BETWEEN if ours is not None else ():
            setattr(ours, name, self._timed("kernels", getattr(ours, name)))
            # Two sides beside one another have the same kernels.
            self._undo.callback(vars(ours).pop, name, None)
        values = made_rows(self._runner.layout.size, count)
        for place, prompt in enumerate(made_prompts(base, count)):
            own: dict[str, Any] = {"release": f"{place}", "values": values[place]} if rows else {}
            request = Request(
                prompt,
                f"{place}",
                max_tokens=128,
                ignore_end=True,
                sampling=Sampling(temperature=temperature, seed=place),
                top_logprobs=None,
                **own,
            )
            self._scheduler.submit(Sequence(base, place, request, lambda _: None))
        for _ in range(WARM + count * len(prompt) // limits.batch_tokens):
            self.step()

    def step(self) -> dict[str, float]:
        """One pass; seconds of each of its steps."""
        times = [time.thread_time()]

        def noted(result: Any) -> Any:
            times.append(time.thread_time())
            return result

        self.apart = dict.fromkeys(APART, 0.0)
        plan = noted(self._scheduler.next())
        logits = noted(self._runner.run(plan))
        sampled = noted(sample(logits))
        self._scheduler.take(sampled)
        noted(None)
        return {step: end - begin for step, (begin, end) in zip(STEPS, pairwise(times), strict=True)} | self.apart

    def _timed(self, part: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            # To be marked takes longer than some of what is timed.
            with record_function(part) if self._marked else nullcontext():
                begun = time.thread_time()
                result = does(*given, **named)
                self.apart[part] += time.thread_time() - begun
            return result

        return timed

    def run_alone(self) -> None:
        """A pass whose tokens nobody gets, with what is apart marked for the profiler."""
        plan = self._scheduler.next()
        assert plan is not None
        self._marked = True
        self._runner.run(plan)
        self._marked = False

    def close(self) -> None:
        """Give the base back."""
        self._undo.close()
        self._runner.close()


def in_turns(sides: dict[str, Side], pairs: int) -> dict[str, list[dict[str, float]]]:
    """So many passes of each side, one of each after the other, neither always the first; they are closed then."""
    passes: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(pairs):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            passes[name].append(sides[name].step())
    for side in sides.values():
        side.close()
    return passes


def main() -> None:
    torch.set_num_threads(1)
    memory, products = [], []
    sides: dict[str, Any] = {}
    read = bytes_read(load_base(BARE_BASE, device="cpu"))
    for name, settings in SIDES.items():
        print(name, "…", file=sys.stderr)
        side = Side(*settings)
        memory.append(_rate(_reading(), MEMORY_BYTES))
        products.append(_rate(_multiplying(), 2 * MATRIX**3))
        passes = [side.step() for _ in range(PASSES)]
        sides[name] = {"bytes": read, "operations": side.operations, "passes": passes, "small": _small(side)}
        side.close()
    result = {"environment": describe() | {"threads": 1}, "others": os.getloadavg()[0]}
    result |= {"memory_bytes_a_second": memory, "product_operations_a_second": products, "sides": sides}
    result["summary"] = summarise(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=2))


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """By side: milliseconds of a pass, the shares of what it does, and of what the machine could."""
    memory = statistics.median(result["memory_bytes_a_second"])
    products = statistics.median(result["product_operations_a_second"])
    found = {}
    for name, side in result["sides"].items():
        steps = {step: statistics.median(each[step] for each in side["passes"]) for step in (*STEPS, *APART)}
        whole = statistics.median(sum(each[step] for step in STEPS) for each in side["passes"])
        parts = {part: steps[part] for part in ("products", "attention")}
        parts |= {"norms, rotation and the like": side["small"] + steps["kernels"]}
        parts["Python of the model"] = max(0.0, steps["run"] - sum(parts.values()))
        parts |= {"scheduling": steps["plan"] + steps["take"], "sampling": steps["sample"]}
        found[name] = {
            "pass_ms": 1e3 * whole,
            "shares": {part: seconds / sum(parts.values()) for part, seconds in parts.items()},
            "bandwidth": side["bytes"] / whole / memory,
            "bandwidth_alone": side["bytes"] / steps["products"] / memory,
            "products": side["operations"] / whole / products,
            "products_alone": side["operations"] / steps["products"] / products,
        }
    return found


def _small(side: Side) -> float:
    """Seconds of a pass's operations that are neither products nor attention, nor after the run."""
    from torch.profiler import ProfilerActivity, profile

    passes = []
    for _ in range(PROFILED):
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            side.run_alone()
        events = profiler.events()
        taken = [each.time_range for each in events if each.name in APART]
        passes.append(
            [
                (each.name, each.self_cpu_time_total)
                for each in events
                if not any(own.start <= each.time_range.start <= own.end for own in taken)
            ]
        )
    # As long as nobody's keys outgrow their padding all passes have the same operations.
    usual = statistics.mode(tuple(name for name, _ in each) for each in passes)
    alike = [each for each in passes if tuple(name for name, _ in each) == usual]
    return 1e-6 * sum(float(statistics.median(each[place][1] for each in alike)) for place in range(len(usual)))


def _rate(does: Callable[[], object], amount: float) -> float:
    """As much of it a second, in the best of several."""
    seconds = []
    for _ in range(8):
        begun = time.thread_time()
        does()
        seconds.append(time.thread_time() - begun)
    return amount / min(seconds)


def _reading() -> Callable[[], object]:
    numbers = torch.ones(MEMORY_BYTES // 4)
    return numbers.sum


def _multiplying() -> Callable[[], object]:
    left, right = (torch.ones(MATRIX, MATRIX, dtype=getattr(torch, NATIVE)) for _ in range(2))
    return lambda: left @ right


if __name__ == "__main__":
    main()
