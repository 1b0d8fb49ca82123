"""Training speed, memory and quality against PEFT's norm tuning: SmolLM2-135M, 100 steps of 512 tokens, one user.

    python -m benchmarks.training

Each contender runs in a process of its own, one after the other, on the same sequences in the same order:

- ``ours``: the default recipe through `train_vectors`, as the command line runs it, without its validation checks.
- ``peft``: PEFT's LNTuningConfig in the plain loop its documentation shows: float32, AdamW, cosine schedule.
- ``peft-bf16``: the same with our precision settings: bfloat16 base weights and autocast, float32 gains.

The machine's own rate is that of one large bfloat16 matrix product. A step is counted as the products it cannot avoid:
two operations per weight and token forwards, two backwards for the activations, none for the frozen weights' gradients,
and attention's own products left out.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "training.json"
STEPS = 100
USER = "programmer"
# The best of 5e-5, 1e-3 and 5e-3 for trained gains in single runs on this user's text before the benchmark was written;
# ours comes from the recipe.
PEFT_RATE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    worker = parser.parse_args().worker
    if worker:
        print(json.dumps(_measure(worker)))
        return
    environment = describe()
    rates = [_product_rate()]
    runs: dict[str, dict[str, Any]] = {}
    for name in ORDER:
        print(name, "…", file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.training", "--worker", name]
        run = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
        if name in runs:
            run["step_seconds"] += runs[name]["step_seconds"]
        runs[name] = run | {"median_step_seconds": statistics.median(run["step_seconds"])}
        rates.append(_product_rate())
    rate = statistics.median(rates)
    ours = runs["ours"]["median_step_seconds"]
    summary = {
        "speed_against_peft": runs["peft"]["median_step_seconds"] / ours,
        "speed_against_peft_bf16": runs["peft-bf16"]["median_step_seconds"] / ours,
        "share_of_product_rate": runs["ours"]["operations_per_step"] / ours / rate,
        "peak_memory_gb": runs["ours"]["peak_bytes"] / 1e9,
        "heldout_perplexity": {name: run["heldout_perplexity"] for name, run in runs.items()},
    }
    RESULT.parent.mkdir(exist_ok=True)
    result = {"environment": environment, "summary": summary, "product_rates": rates, "runs": runs}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary, indent=2))


def _measure(worker: str) -> dict[str, Any]:
    from sharedllm.base.loading import load_base
    from sharedllm.base.resolve import BARE_BASE
    from sharedllm.evaluation.perplexity import spread
    from sharedllm.text.samples import sample_text
    from sharedllm.text.splits import split_text
    from sharedllm.text.windows import tokenize

    base = load_base(BARE_BASE)
    text = tokenize(USER, split_text(sample_text(USER)), base.encode)
    seconds, perplexity, peak = WORKERS[worker](base, text, spread(text.heldout, 32))
    weights = sum(p.numel() for p in base.model.parameters() if p.ndim == 2)
    return {
        "step_seconds": seconds,
        "operations_per_step": 4 * weights * 512,
        "heldout_perplexity": perplexity,
        "peak_bytes": peak,
    }


def _ours(base: Any, text: Any, heldout: Any) -> tuple[list[float], float, int]:
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.evaluation.perplexity import row_losses
    from sharedllm.training.recipes import RECIPES
    from sharedllm.training.vectors import train_vectors

    recipe = replace(RECIPES["adamw"], steps=STEPS, windows_per_step=2, window=256, check_every=0, patience=0)
    injection = Injection(base, layout_of(base))
    marks = [time.perf_counter()]
    (trained,) = train_vectors(
        base, injection, [text], recipe, on_step=lambda user, step: marks.append(time.perf_counter())
    )
    peak = _peak_bytes()
    if trained.adapter is None:
        raise SystemExit(str(trained.error))
    (losses,) = row_losses(base, injection, trained.adapter.values[None], heldout)
    return [b - a for a, b in pairwise(marks)], losses.perplexity, peak


def _peft(base: Any, text: Any, heldout: Any, *, precise: bool) -> tuple[list[float], float, int]:
    import torch
    from peft import LNTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from sharedllm.evaluation.perplexity import base_losses
    from sharedllm.training.recipes import Recipe

    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32 if precise else torch.bfloat16)
    model.to(base.device)
    peft_model = get_peft_model(model, LNTuningConfig(task_type="CAUSAL_LM", target_modules=r".*norm"))
    trained = [parameter for parameter in peft_model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimiser = torch.optim.AdamW(trained, lr=PEFT_RATE, weight_decay=0.0)
    order = Recipe("peft", learning_rate=PEFT_RATE, schedule="cosine", steps=STEPS)
    seconds = []
    for step, windows in enumerate(_batches(text, order)):
        started = time.perf_counter()
        ids = windows.to(base.device)
        for group in optimiser.param_groups:
            group["lr"] = order.rate(step)
        with torch.autocast(base.device.type, torch.bfloat16, enabled=not precise):
            loss = peft_model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        # Waits for the device.
        finite = math.isfinite(loss.item())
        seconds.append(time.perf_counter() - started)
        if not finite:
            raise SystemExit("PEFT's loss is not finite")
    peak = _peak_bytes()
    with torch.autocast(base.device.type, torch.bfloat16):
        perplexity = base_losses(replace(base, model=peft_model.get_base_model()), heldout).perplexity
    return seconds, perplexity, peak


def _batches(text: Any, recipe: Any) -> Iterator[Any]:
    import torch

    from sharedllm.training.step_windows import step_windows

    for step in range(recipe.steps):
        yield torch.from_numpy(step_windows(text, recipe, step))


def _product_rate(device: str = "cpu") -> float:
    """Operations per second of the best of ten bfloat16 products of two 4096 x 4096 matrices."""
    import torch

    size = 4096
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    best = math.inf
    for _ in range(10):
        started = time.perf_counter()
        # Waits for the device.
        (left @ right)[0, 0].item()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


WORKERS = {
    "ours": _ours,
    "peft-bf16": lambda *given: _peft(*given, precise=False),
    "peft": lambda *given: _peft(*given, precise=True),
}
# Ours runs first and last, its steps taken together, so that a machine that slows down or speeds up favours nobody.
ORDER = ("ours", "peft-bf16", "peft", "ours")

if __name__ == "__main__":
    main()
