"""What rows cost in vLLM: 32 people, a row each, against the same requests of the base in a vLLM without the plug-in.

    PYTHON -m benchmarks.vllm_rows      # the Python of an environment with vLLM: make test-vllm makes .venv-vllm

Both sides are a process of their own with vLLM as the server of this package asks for it, compiled, on one thread, and
take turns pass by pass, in another order each time. In a pass everybody reads one token. A pass's seconds are what the
process computed, without the waits for others on the machine; the wall's are kept beside them. ``share`` is the base's
time over the rows': 0.97 is 3 % fewer tokens. ``prompts`` is the same of reading everybody's prompt, all passes of it.
"""

import json
import math
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.serving import median_interval
from benchmarks.turns import contender, take_orders
from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "vllm_rows.json"
PEOPLE, PROMPT, NEW, ROUNDS = 32, 64, 64, 4
THREADS = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "ERROR"}

Seconds = tuple[float, float]
"""Of the process, and of the wall."""


class Side:
    """vLLM on the bare base, with rows for everybody or as it is."""

    def __init__(self, rows: bool) -> None:
        from benchmarks.serving_contenders import made_prompts, made_rows
        from sharedllm.adapters.layouts import layout_of
        from sharedllm.base.loading import load_base
        from sharedllm.base.resolve import BARE_BASE
        from sharedllm.serving.request import Limits
        from sharedllm.serving.vllm import passes
        from sharedllm.serving.vllm.rows import row_bytes

        base = load_base(BARE_BASE, device="cpu")
        layout = layout_of(base)
        limits = Limits(running=PEOPLE, cache_tokens=256 * PEOPLE)
        self._folder = tempfile.TemporaryDirectory()
        model = {"model": str(passes.without_frames(base.folder, Path(self._folder.name)))}
        asked = model | passes.arguments(base, limits, context=256)
        self._prompts = made_prompts(base, PEOPLE)
        self._rows = rows
        self._turn = 0
        if not rows:
            self._llm = passes.started(asked)
            return
        self._llm = passes.started(asked, sites=layout.sites, slots=PEOPLE + 1)
        for slot, values in enumerate(made_rows(layout.size, PEOPLE), start=1):
            self._llm.collective_rpc("sharedllm_write", args=(slot, f"{slot}", row_bytes(values)))

    def read(self) -> Seconds:
        """Let everybody's request in, and read their prompts; nothing of an earlier turn is found again."""
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.lora.request import LoRARequest

        self._turn += 1
        self._llm.reset_prefix_cache()
        parameters = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True, detokenize=False)
        for slot, prompt in enumerate(self._prompts, start=1):
            own = LoRARequest(f"{slot}", slot, "rows") if self._rows else None
            self._llm.add_request(f"{self._turn}-{slot}", tokens_input(prompt), parameters, lora_request=own)
        took = [0.0, 0.0]
        begun: set[str] = set()
        while len(begun) < PEOPLE:
            cpu, wall, outputs = self._pass()
            took = [took[0] + cpu, took[1] + wall]
            begun |= {output.request_id for output in outputs}
        return took[0], took[1]

    def step(self) -> tuple[float, float, int]:
        """One pass over everybody; its seconds, and how many tokens came of it."""
        cpu, wall, outputs = self._pass()
        return cpu, wall, len(outputs)

    def end(self) -> None:
        """End what is left of the turn."""
        while self._llm.has_unfinished_requests():
            self._llm.step()

    def _pass(self) -> tuple[float, float, list[Any]]:
        cpu, wall = time.process_time(), time.perf_counter()
        outputs = self._llm.step()
        return time.process_time() - cpu, time.perf_counter() - wall, outputs


def main() -> None:
    if len(sys.argv) > 1:
        side = Side(sys.argv[1] == "rows")
        take_orders({"read": side.read, "step": side.step, "end": side.end})
        return
    with ExitStack() as stack:
        names = ("base", "rows")
        env = {**os.environ, **THREADS}
        asks = {name: stack.enter_context(contender("benchmarks.vllm_rows", name, env=env)) for name in names}
        prompts: dict[str, list[Seconds]] = {name: [] for name in names}
        passes: dict[str, list[Seconds]] = {name: [] for name in names}
        # One more, which warms up.
        for turn in range(ROUNDS + 1):
            print("round", turn, "of", ROUNDS, "…", file=sys.stderr)
            for name in names if turn % 2 else names[::-1]:
                prompts[name].append(asks[name]("read"))
            # The last few are fewer people's, whose prompts were read first.
            for number in range(NEW - PEOPLE * PROMPT // 512 - 4):
                for name in names if number % 2 else names[::-1]:
                    cpu, wall, tokens = asks[name]("step")
                    assert tokens == PEOPLE
                    passes[name].append((cpu, wall))
            for name in names:
                asks[name]("end")
            if not turn:
                for kept in (*prompts.values(), *passes.values()):
                    kept.clear()
    result: dict[str, Any] = {
        "environment": describe(),
        "vllm": _version(),
        "load": os.getloadavg(),
        "people": PEOPLE,
        "passes": _told(passes),
        "prompts": _told(prompts),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for what in ("passes", "prompts"):
        print(what, {name: value for name, value in result[what].items() if not name.endswith("seconds")})


def _told(seconds: dict[str, list[Seconds]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for number, clock in enumerate(("cpu", "wall")):
        base, rows = ([each[number] for each in seconds[name]] for name in ("base", "rows"))
        shares = [theirs / own for theirs, own in zip(base, rows, strict=True)]
        interval = median_interval(shares)
        told |= {
            f"{clock}_share": statistics.median(shares),
            # Of a few rounds there is none.
            f"{clock}_share_interval": interval if math.isfinite(sum(interval)) else None,
            f"{clock}_base_ms": 1e3 * statistics.median(base),
            f"{clock}_rows_ms": 1e3 * statistics.median(rows),
            f"{clock}_base_seconds": base,
            f"{clock}_rows_seconds": rows,
        }
    return told


def _version() -> str:
    from importlib.metadata import packages_distributions, version

    return " ".join(f"{name} {version(name)}" for name in set(packages_distributions()["vllm"]))


if __name__ == "__main__":
    main()
