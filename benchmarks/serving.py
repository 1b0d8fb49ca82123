"""Serving speed: many users in one batch, against the base alone, plain `generate`, and PEFT. SmolLM2-135M, greedy.

    python -m benchmarks.serving

Every request has a prompt of 64 tokens of general text and gets 64 new ones. Contenders run in processes of their own,
one after the other, each repeating its measurement; the engine measures the base alone and distinct users in turns, so
that both see the same machine.

- ``engine``: 32 requests of the base alone, then 1, 2, 4 … 64 distinct users, and one stream.
- ``generate``: transformers' batched `generate` of the base, with its own attention (sdpa) and with ours (stacked).
- ``peft-norm``: PEFT's LNTuningConfig, one adapter a user, `set_adapter` before each user's `generate`.
- ``peft-lora``: PEFT's LoRA-r4, `generate` of a mixed batch with `adapter_names`.
- ``admission``: from a user who is not in the table to their row on the device, through SQLite.
- ``http``: 32 clients of a real server process against the same requests handed to the engine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.plots import write_curve
from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "serving.json"
USERS, PROMPT, NEW, REPEATS = 32, 64, 64, 3
CURVE = (1, 2, 4, 8, 16, 32, 64)
STORED = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    worker = parser.parse_args().worker
    if worker:
        print(json.dumps(WORKERS[worker]()))
        return
    environment, runs = describe(), {}
    for name in WORKERS:
        print(name, "…", file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.serving", "--worker", name]
        runs[name] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    result = {"environment": environment, "summary": summarise(runs), "runs": runs}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    engine = runs["engine"]
    curve = [engine["users"][str(users)] for users in CURVE]
    write_curve(
        RESULT.with_suffix(".svg"),
        "Tokens a second by users in the batch",
        {"distinct users": curve, "the base alone, 32 requests": [engine["base"]] * len(CURVE)},
        places=[str(users) for users in CURVE],
        across="users, each with an adapter of their own",
        up="tokens a second",
    )
    print(json.dumps(result["summary"], indent=2))


def summarise(runs: dict[str, Any]) -> dict[str, Any]:
    """The claims as ratios, medians over repeats."""
    median = statistics.median
    engine, generate = runs["engine"], runs["generate"]
    many = median(engine["users"][str(USERS)])
    best = max(median(rates) for rates in generate["batched"].values())
    return {
        "tokens_per_second": many,
        "users_against_base_alone": many / median(engine["base"]),
        "against_generate": {name: many / median(rates) for name, rates in generate["batched"].items()},
        "base_alone_against_best_generate": median(engine["base"]) / best,
        "one_stream_against_generate": median(engine["stream"]) / max(map(median, generate["stream"].values())),
        "first_token_against_generate": min(map(median, generate["first_token"].values()))
        / median(engine["first_token"]),
        "against_peft_norm": many / median(runs["peft-norm"]["rate"]),
        "against_peft_lora": many / median(runs["peft-lora"]["rate"]),
        "admission_p50_ms": median(runs["admission"]["seconds"]) * 1e3,
        "admission_p99_ms": float(np.quantile(runs["admission"]["seconds"], 0.99)) * 1e3,
        "http_overhead": 1 - median(runs["http"]["http"]) / median(runs["http"]["engine"]),
    }


def _prompts(base: Any, count: int) -> list[list[int]]:
    from sharedllm.text.samples import sample_text

    ids = base.encode(sample_text("general")[:200_000])
    return [ids[place * PROMPT : (place + 1) * PROMPT] for place in range(count)]


def _rows(width: int, count: int) -> Any:
    """Rows as stored ones are, of the size that training gives."""
    rows = 0.1 * np.random.default_rng(0).standard_normal((count, width))
    return rows.astype(np.float16).astype(np.float32)


def _ask(engine: Any, prompts: list[list[int]], rows: Any) -> tuple[float, float]:
    """Seconds until all requests are answered, and until the first token of any."""
    from sharedllm.serving.request import Finished, Request, Sampling

    ended = [threading.Event() for _ in prompts]
    first: list[float] = []
    begun = time.perf_counter()
    for place, prompt in enumerate(prompts):

        def deliver(event: Any, place: int = place) -> None:
            first.append(time.perf_counter())
            if isinstance(event, Finished):
                ended[place].set()

        own = {} if rows is None else {"release": f"{place}", "values": rows[place]}
        greedy = Sampling(temperature=0)
        asked = Request(prompt, f"{place}", max_tokens=NEW, sampling=greedy, ignore_end=True, **own)
        engine.submit(asked, deliver)
    for event in ended:
        event.wait()
    return time.perf_counter() - begun, first[0] - begun


def _engine() -> dict[str, Any]:
    from sharedllm.base.loading import load_base
    from sharedllm.serving.engine import Engine

    base = load_base()
    engine = Engine(base)
    engine.start()
    prompts, rows = _prompts(base, max(CURVE)), _rows(engine.layout.size, max(CURVE))
    _ask(engine, prompts[:USERS], rows)
    found: dict[str, Any] = {"base": [], "users": {str(n): [] for n in CURVE}, "stream": [], "first_token": []}
    for _ in range(REPEATS):
        for users in CURVE:
            seconds, _ = _ask(engine, prompts[:users], rows)
            found["users"][str(users)].append(users * NEW / seconds)
            if users == USERS:
                seconds, _ = _ask(engine, prompts[:users], None)
                found["base"].append(users * NEW / seconds)
        for _ in range(REPEATS):
            seconds, first = _ask(engine, prompts[:1], None)
            found["stream"].append(NEW / seconds)
            found["first_token"].append(first)
    engine.close()
    return found


def _generate() -> dict[str, Any]:
    import torch

    from sharedllm.base.loading import load_base

    base = load_base()
    prompts = torch.tensor(_prompts(base, USERS), device=base.device)
    found: dict[str, Any] = {"batched": {}, "stream": {}, "first_token": {}}
    for attention in ("sdpa", base.model.config._attn_implementation):
        base.model.set_attn_implementation(attention)
        _seconds(base.model, prompts, NEW)
        kinds = {"batched": (prompts, NEW, USERS * NEW), "stream": (prompts[:1], NEW, NEW)}
        for kind, (ids, new, tokens) in kinds.items():
            found[kind][attention] = [tokens / _seconds(base.model, ids, new) for _ in range(REPEATS)]
        found["first_token"][attention] = [_seconds(base.model, prompts[:1], 1) for _ in range(REPEATS)]
    return found


def _seconds(model: Any, ids: Any, new: int, **options: Any) -> float:
    import torch

    begun = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            **options,
        )
    return time.perf_counter() - begun


def _peft(config: Any, mixed: bool) -> dict[str, Any]:
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from sharedllm.base.loading import load_base

    base = load_base()
    ids = torch.tensor(_prompts(base, USERS), device=base.device)
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=base.dtype).to(base.device).eval()
    model = get_peft_model(model, config, adapter_name="0")
    for user in range(1, USERS):
        model.add_adapter(f"{user}", config)
    # A new adapter begins in training mode.
    model.eval()
    names = [f"{user}" for user in range(USERS)]
    rates = []
    # One user after the other takes minutes, and its rate does not wander as one short batch's does.
    for _ in range(REPEATS if mixed else 1):
        begun = time.perf_counter()
        if mixed:
            _seconds(model, ids, NEW, adapter_names=names)
        else:
            for user, name in enumerate(names):
                model.set_adapter(name)
                _seconds(model, ids[user : user + 1], NEW)
        rates.append(USERS * NEW / (time.perf_counter() - begun))
    return {"rate": rates}


def _peft_norm() -> dict[str, Any]:
    from peft import LNTuningConfig

    return _peft(LNTuningConfig(task_type="CAUSAL_LM", target_modules=r".*norm"), mixed=False)


def _peft_lora() -> dict[str, Any]:
    from peft import LoraConfig

    from sharedllm.training.baselines import ALPHA, PROJECTIONS, RANK

    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM")
    return _peft(config, mixed=True)


def _fill(url: str, base: Any, rows: Any) -> None:
    from sharedllm.adapters.adapter import Adapter, GateOutcome
    from sharedllm.store import open_store

    passed = GateOutcome(passed=True, reason="made for a benchmark", figures={})
    with open_store(url) as store:
        store.publish_many(
            (f"user {user}", Adapter("norm", base.fingerprint, values, {}), passed) for user, values in enumerate(rows)
        )


def _admission() -> dict[str, Any]:
    from sharedllm.base.loading import load_base
    from sharedllm.routing.route import route
    from sharedllm.serving.engine import Engine
    from sharedllm.store import open_store

    base = load_base()
    engine = Engine(base)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/store.db"
        _fill(url, base, _rows(engine.layout.size, STORED))
        with open_store(url) as store:
            for user in np.random.default_rng(1).permutation(STORED):
                begun = time.perf_counter()
                release = route(store, f"user {user}", base=base.fingerprint).release
                if release is None:
                    raise SystemExit("A user who was stored is not served")
                engine._batch.table.acquire(release.id, release.user, release.adapter.values)
                seconds.append(time.perf_counter() - begun)
                engine._batch.table.give_back(release.id)
    engine.close()
    return {"seconds": seconds, "misses": engine._batch.table.misses}


def _http() -> dict[str, Any]:
    from benchmarks.serving_http import measure

    return measure(USERS, NEW, REPEATS)


WORKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "engine": _engine,
    "generate": _generate,
    "peft-norm": _peft_norm,
    "peft-lora": _peft_lora,
    "admission": _admission,
    "http": _http,
}

if __name__ == "__main__":
    main()
