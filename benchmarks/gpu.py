"""What needs a GPU, most telling first; `benchmarks/gpu.sh` carries it to a machine that has one.

- ``tests``: passes that are recorded and replayed, and isolation in any company, on the device.
- ``serving``: 32 and 256 distinct users against as many requests of the base alone and against batched `generate`; the
  share of the memory's bandwidth; one stream.
- ``training``: a hundred real people in one batch against PEFT, one after the other.
- ``bets``: the tuned protocol of the catalogue, as far as the time allows.

Each has a result file of its own, and is left alone where there is one of the same commit.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.serving import median_interval
from sharedllm.reporting.environment import describe

PEOPLE = "people.jsonl"
_CHARACTERS = 60_000
"""Of each person: more than a hundred steps of 512 tokens read."""
_SECONDS = 450
"""In which everything is to end; a bet that has not then is left out."""
_BETS = (
    ("58_steering_vector",),
    ("53_adapter_compress", "63_robustness_to_noise", "60_noise_floor"),
    ("04_mixture_combiner", "18_attribution_reconciles", "52_ternary_base_with_norm"),
)
"""Those of a line run one after the other, the lines beside one another."""


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        users: in the batch, for each of which serving is measured.
        pairs: of runs that are compared.
        people: who train in one batch.
        steps: of training.
        peft: people whom PEFT trains.
        full: whether bets are run as registered.
    """

    users: tuple[int, ...] = (32, 256)
    pairs: int = 12
    people: int = 100
    steps: int = 100
    peft: int = 2
    full: bool = True


@dataclass(frozen=True)
class Job:
    """What is asked of every stage.

    Attributes:
        size: how much is done.
        bundle: where the bundle's files are.
        results: where those go that a stage writes itself.
        until: when everything is to end, on the monotonic clock.
    """

    size: Size
    bundle: Path
    results: Path
    until: float


TRY = Size(users=(2,), pairs=2, people=2, steps=2, peft=1, full=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("bundle", "run", "try"))
    parser.add_argument("folder", type=Path, help="Where the bundle's files, or the results, are put.")
    parser.add_argument("--bundle", type=Path, help="Where the bundle's files are.")
    given = parser.parse_args()
    if given.what == "bundle":
        bundle(given.folder)
        return
    begun = time.monotonic()
    unbundle(given.bundle)
    job = Job(Size() if given.what == "run" else TRY, given.bundle, given.folder, begun + _SECONDS)
    commit = describe()["commit"]
    for name, measure in STAGES.items():
        path = given.folder / f"{name}.json"
        if path.exists() and json.loads(path.read_text())["environment"]["commit"] == commit:
            continue
        started = time.monotonic()
        print(f"{name} …", flush=True)
        try:
            found = measure(job)
        except Exception as error:
            # What comes next needs nothing of it, and the machine is there for minutes.
            print(f"{name} failed: {type(error).__name__}: {error}", flush=True)
            continue
        seconds = round(time.monotonic() - started, 1)
        result = {"environment": describe(), "seconds": seconds, **found}
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps({name: found.get("summary"), "seconds": seconds}, indent=1), flush=True)


def bundle(folder: Path) -> None:
    """Put there what this machine has in its cache and another cannot fetch: base, texts and people."""
    from sharedllm.base.resolve import BARE_BASE, built_in_gguf, resolve_base
    from sharedllm.cache_folder import cache_dir
    from sharedllm.text.people import people
    from sharedllm.text.samples import SAMPLES, sample_text

    converted, gguf = resolve_base(BARE_BASE), built_in_gguf(BARE_BASE)
    for name in SAMPLES:
        sample_text(name)
    cache = folder / "cache"
    shutil.copytree(cache_dir() / "texts", cache / "texts")
    shutil.copytree(gguf.parent, cache / "gguf")
    # Its weights are those of the GGUF file; the rest depends on the version of transformers that converts it.
    there = cache / converted.relative_to(cache_dir())
    shutil.copytree(converted, there, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "weights.sha256").write_text(_sha256(converted / "model.safetensors"))
    with (folder / PEOPLE).open("w") as lines:
        for person in people():
            lines.write(json.dumps({"user": person.user, "text": person.text[:_CHARACTERS]}) + "\n")


def unbundle(folder: Path) -> None:
    """Make of the bundle's files a cache like the one that they are from."""
    from sharedllm.base.resolve import BARE_BASE, resolve_base
    from sharedllm.cache_folder import cache_dir

    cache = cache_dir()
    if cache.exists():
        return
    scratch = folder / "converting"
    shutil.copytree(folder / "cache" / "gguf", scratch / "gguf", dirs_exist_ok=True)
    os.environ["SHAREDLLM_CACHE"] = str(scratch)
    converted = resolve_base(BARE_BASE)
    os.environ["SHAREDLLM_CACHE"] = str(cache)
    weights = converted / "model.safetensors"
    if _sha256(weights) != (folder / "weights.sha256").read_text():
        raise SystemExit(f"{converted} has other weights than where the bundle was made")
    weights.replace(folder / "cache" / converted.relative_to(scratch) / weights.name)
    (folder / "cache").rename(cache)
    shutil.rmtree(scratch)


def tests(job: Job) -> dict[str, Any]:
    """Passes recorded and replayed, and isolation, on the device."""
    which = ["tests/serving/test_cuda_graphs.py", "tests/serving/test_isolation.py"]
    only = ["-k", "gpu or recorded or replayed"] if job.size.full else ["-k", "recorded_once"]
    command = [sys.executable, "-m", "pytest", "--timeout", "100", *which, *only]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (job.results / "tests.txt").write_text(done.stdout + done.stderr)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {last}; see tests.txt")
    return {"summary": last, "command": " ".join(command[1:])}


def serving(job: Job) -> dict[str, Any]:
    """Rates of distinct users and of the base, in pairs, beside `generate` and the memory's own rate."""
    from benchmarks.serving import ATTENTIONS
    from benchmarks.serving_contenders import CONTENDERS

    engine, generate = CONTENDERS["engine"](max(job.size.users)), CONTENDERS["generate"](max(job.size.users))
    memory = CONTENDERS["memory"](0)["run"]()
    runs: dict[str, Any] = {}
    for users in job.size.users:
        for adapted in (True, False):
            engine["run"](users, adapted)
        pairs = []
        for number in range(job.size.pairs):
            order = ("base", "users") if number % 2 else ("users", "base")
            pairs.append({who: engine["run"](users, who == "users")["rate"] for who in order})
        runs[str(users)] = {"pairs": pairs, "generate": [generate["run"](ATTENTIONS[0], users) for _ in range(3)]}
    runs["stream"] = [engine["run"](1, False) for _ in range(3)]
    runs["generate_stream"] = [generate["run"](ATTENTIONS[0], 1) for _ in range(2)]
    weights = engine["weights"]()
    summary = {
        "memory_bytes_a_second": memory,
        "one_stream": statistics.median(each["rate"] for each in runs["stream"]),
    }
    summary["one_stream_bandwidth"] = summary["one_stream"] * weights / memory
    summary["one_stream_against_generate"] = summary["one_stream"] / statistics.median(runs["generate_stream"])
    for users in job.size.users:
        pairs = runs[str(users)]["pairs"]
        rate = statistics.median(each["users"] for each in pairs)
        ratios = [each["users"] / each["base"] for each in pairs]
        summary[str(users)] = {
            "tokens_a_second": rate,
            "against_base_alone": statistics.median(ratios),
            "against_base_alone_interval": median_interval(ratios),
            "against_generate": rate / statistics.median(runs[str(users)]["generate"]),
            "bandwidth": rate / users * weights / memory,
        }
    return {"summary": summary, "weights": weights, "runs": runs}


def training(job: Job) -> dict[str, Any]:
    """Seconds of everybody's steps in one batch, and of PEFT's for a few people, one after the other."""
    import torch

    from benchmarks import training as peft
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.base.loading import load_base
    from sharedllm.base.resolve import BARE_BASE
    from sharedllm.evaluation.perplexity import row_losses, spread
    from sharedllm.text.manifest import read_manifest
    from sharedllm.text.splits import split_text
    from sharedllm.text.windows import tokenize
    from sharedllm.training.recipes import RECIPES
    from sharedllm.training.vectors import train_vectors

    peft.STEPS = job.size.steps
    recipe = replace(RECIPES["adamw"], steps=job.size.steps, windows_per_step=2, window=256, check_every=0, patience=0)
    base = load_base(BARE_BASE)
    device = base.device.type
    injection = Injection(base, layout_of(base))
    everybody = read_manifest(job.bundle / PEOPLE)[: job.size.people]
    texts = [tokenize(each.user, split_text(each.text), base.encode, window=recipe.window) for each in everybody]
    list(train_vectors(base, injection, texts, replace(recipe, steps=2)))
    started = time.perf_counter()
    trained = {each.user: each for each in train_vectors(base, injection, texts, recipe)}
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    failed = [str(each.error) for each in trained.values() if each.adapter is None]
    runs: dict[str, Any] = {"ours": {"seconds": seconds, "peak_bytes": peak, "failed": failed}}
    perplexities: dict[str, dict[str, float]] = {}
    for text in texts[: job.size.peft]:
        heldout = spread(text.heldout, 32)
        found = trained[text.user].adapter
        if found is not None:
            (losses,) = row_losses(base, injection, found.values[None], heldout)
            perplexities.setdefault("ours", {})[text.user] = losses.perplexity
        for name, precise in (("peft-bf16", False), ("peft", True)):
            steps, perplexity, _ = peft._peft(base, text, heldout, precise=precise)
            runs.setdefault(name, {})[text.user] = steps
            perplexities.setdefault(name, {})[text.user] = perplexity
    weights = sum(each.numel() for each in base.model.parameters() if each.ndim == 2)
    operations = 4 * weights * recipe.windows_per_step * recipe.window * job.size.steps * len(texts)
    own = seconds / len(texts)
    each = {name: statistics.mean(sum(steps) for steps in runs[name].values()) for name in ("peft", "peft-bf16")}
    summary = {
        "people": len(texts),
        "users_an_hour": 3600 / own,
        "against_peft": each["peft"] / own,
        "against_peft_bf16": each["peft-bf16"] / own,
        "share_of_product_rate": operations / seconds / peft._product_rate(device),
        "heldout_perplexity": perplexities,
    }
    return {"summary": summary, "runs": runs}


def bets(job: Job) -> dict[str, Any]:
    """The catalogue's tuned protocol, in processes beside one another; results as they are recorded."""
    options = ["--protocol=tuned"] if job.size.full else ["--quick", "--protocol=tuned"]
    lines = _BETS if job.size.full else (_BETS[1][:1],)
    waiting = [list(names) for names in lines]
    running: dict[int, tuple[str, subprocess.Popen[bytes], float]] = {}
    seconds: dict[str, float] = {}
    failed: dict[str, int] = {}
    while any(waiting) or running:
        for line, names in enumerate(waiting):
            if names and line not in running:
                name = names.pop(0)
                command = [sys.executable, "-m", f"experiments.bets.{name}", *options]
                with (job.results / f"bet-{name[:2]}.txt").open("wb") as log:
                    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
                running[line] = name, process, time.monotonic()
        time.sleep(0.2)
        for line, (name, process, started) in list(running.items()):
            if time.monotonic() > job.until:
                process.terminate()
                process.wait()
                waiting = [[] for _ in waiting]
            if process.poll() is not None:
                del running[line]
                seconds[name] = round(time.monotonic() - started, 1)
                if process.returncode:
                    failed[name] = process.returncode
    shutil.copytree(Path("experiments/bets/results"), job.results / "bets", dirs_exist_ok=True)
    return {"summary": {"seconds": seconds, "failed": failed}}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


STAGES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "tests": tests,
    "serving": serving,
    "training": training,
    "bets": bets,
}

if __name__ == "__main__":
    main()
