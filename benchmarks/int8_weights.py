"""What weights in int8 bring and cost: speed in pairs, memory, and perplexity with and without people's own rows.

    sharedllm demo --store out/store.db                  # rows of the sample users, trained on plain weights
    python -m benchmarks.int8_weights out/store.db       # perplexity, of what is not in the result file yet
    python -m benchmarks.int8_weights speed              # passes and memory, anew
    python -m benchmarks.int8_weights peer               # one stream beside llama.cpp, anew
    python -m benchmarks.int8_weights texts              # perplexity of the bare base under nothing, without a store

Speed: passes of one stream and of 32 people with a norm row each, of the same engine on plain weights and on int8, and
on weights in bfloat16 where plain ones are in float32, in turns within one process, on one thread, in seconds in which
it computed; a ratio is that of neighbours in time. Memory is what a process holds that has begun to serve, less what it
held with torch and transformers imported.

One stream beside llama.cpp in eight bits is that of `benchmarks.serving_peers`, in turns: a process each, one thread,
seconds in which it computed.

Perplexity is of what serving computes, the head included: of general text, and of each sample user's held-out text
under nothing and under the row of their last release on that base, which was trained on plain weights. A gain is how
much lower a row makes the perplexity on the same weights; what int8 costs is paired by window, too.
"""

import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.processors import NATIVE, result_path
from benchmarks.serving import median_interval
from benchmarks.serving_peers import LLAMACPP, Start, Turn, one_turn, peers
from benchmarks.serving_peers import USERS as USERS_AT_ONCE
from benchmarks.trace import STEPS, Side, in_turns
from benchmarks.turns import contender
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base, Weights, load_base, load_tokens
from sharedllm.base.prepacked_weights import Prepacked
from sharedllm.base.resolve import BARE_BASE, DEFAULT_BASE
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import Losses, Windows, spread
from sharedllm.reporting.environment import describe
from sharedllm.serving.request import Limits
from sharedllm.serving.runner import Runner
from sharedllm.store import Store, open_store
from sharedllm.text.samples import general_text, sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import text_windows, tokenize

RESULT = result_path("int8_weights")
WEIGHTS: tuple[Weights, ...] = ("plain", "int8") if NATIVE == "bfloat16" else ("plain", "bfloat16", "int8")
USERS = ("programmer", "novelist", "scientist")
LOADS = {"one stream of a person": 1, "32 people": 32}
PAIRS, WINDOWS, WINDOW, ROUNDS = 24, 8, 256, 3
PEER = "llama.cpp Q8_0"

Row = np.ndarray[Any, np.dtype[np.float32]]


def main() -> None:
    torch.set_num_threads(1)
    (what,) = sys.argv[1:]
    if what in WEIGHTS:
        print(_held(what))
    elif what == "speed":
        speed: dict[str, Any] = {}
        for load, count in LOADS.items():
            speed[load] = _speed(count)
            _keep({"environment": describe() | {"threads": 1, "others": os.getloadavg()[0]}, "speed": speed})
        _keep({"memory": {weights: _memory(weights) for weights in WEIGHTS}})
    elif what == "peer":
        _keep({"peer": _peer()})
    elif what == "texts":
        for weights in WEIGHTS:
            _read(BARE_BASE, weights, None)
    else:
        with open_store(what) as store:
            for name, weights in product((DEFAULT_BASE, BARE_BASE), WEIGHTS):
                _read(name, weights, store)


def _kept() -> dict[str, Any]:
    return dict(json.loads(RESULT.read_text())) if RESULT.exists() else {"losses": {}}


def _keep(found: dict[str, Any]) -> None:
    result = _kept() | found
    result["quality"] = {name: _told(each) for name, each in result["losses"].items() if {*WEIGHTS} <= {*each}}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def _speed(count: int) -> dict[str, Any]:
    found = in_turns({weights: Side(count, True, 0.0, weights) for weights in WEIGHTS}, PAIRS)
    passes = {
        weights: [{"pass": sum(each[step] for step in STEPS), "products": each["products"]} for each in own]
        for weights, own in found.items()
    }
    times = {way: {part: _times(passes, way, part) for part in ("pass", "products")} for way in WEIGHTS[1:]}
    return passes | {"times_as_fast": times.pop("int8"), "beside": times}


def _times(passes: dict[str, list[dict[str, float]]], way: str, part: str) -> dict[str, Any]:
    ratios = [plain[part] / narrow[part] for plain, narrow in zip(passes["plain"], passes[way], strict=True)]
    return {"median": statistics.median(ratios), "interval": median_interval(ratios)}


def _peer() -> dict[str, Any]:
    """Turns at one stream, and how many times as fast as llama.cpp ours are in the same round."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    own = partial(contender, "benchmarks.serving_contenders", "loads in int8", f"{USERS_AT_ONCE}", env=env)
    starts: dict[str, Start] = {"ours, int8": own}
    for name, start in peers(1):
        if name in ("ours", PEER):
            starts[name] = start
        if name == PEER:
            break
    turns: list[Turn] = []
    with ExitStack() as stack:
        asks = {name: stack.enter_context(start()) for name, start in starts.items()}
        for name, ask in asks.items():
            one_turn(ask, name, "stream", None, 1)
        for number in range(ROUNDS):
            for name in list(asks)[:: 1 if number % 2 else -1]:
                turn = one_turn(asks[name], name, "stream", turns, 1)
                turns.append({"round": number, "contender": name, "load": "stream", **turn})
    rates = {name: [each["rate"] for each in turns if each["contender"] == name] for name in starts}
    times = {name: statistics.median(np.divide(own, rates[PEER]).tolist()) for name, own in rates.items()}
    return {"peers": LLAMACPP, "turns": turns, "times_as_fast": times}


def _memory(weights: str) -> int:
    """Bytes that a process of its own holds."""
    command = [sys.executable, "-m", "benchmarks.int8_weights", weights]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def _held(weights: Weights) -> int:
    """Bytes that serving holds in this process."""
    load_tokens(BARE_BASE)
    before = _resident()
    base = load_base(BARE_BASE, device="cpu", weights=weights)
    runner = Runner(base, Limits(running=1, cache_tokens=256, table_bytes=0), format="norm")
    gc.collect()
    # What was freed may still be the allocator's.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    held = _resident() - before
    runner.close()
    return held


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _read(name: str, weights: Weights, store: Store | None) -> None:
    """Read what has not been read yet with a base; under nothing alone without a store."""
    losses = _kept()["losses"]
    found = losses.setdefault(name, {}).setdefault(weights, {})
    if {*USERS, "general"} <= {*found}:
        return
    base = load_base(name, device="cpu", weights=weights)
    injection = Injection(base, layout_of(base, "norm"))
    prepacked = Prepacked(base)
    rows = {"nothing": np.zeros(injection.layout.size, np.float32)}
    for user in ("general", *USERS):
        if user in found:
            continue
        if user == "general":
            own, windows = rows, text_windows(split_text(general_text()).heldout, base.encode, WINDOW)
        else:
            own = rows if store is None else rows | {"own": _row(store, user, base)}
            windows = tokenize(user, split_text(sample_text(user)), base.encode).heldout
        windows = spread(windows, WINDOWS)
        found[user] = {row: _nats(base, injection, values, windows) for row, values in own.items()}
        _keep({"windows": WINDOWS, "window": WINDOW, "losses": losses})
    prepacked.remove()
    injection.remove()


def _row(store: Store, user: str, base: Base) -> Row:
    """A user's last row on a base."""
    for number in range(store.user(user).releases, 0, -1):
        adapter = store.release(user, number).adapter
        if (adapter.base, adapter.format) == (base.fingerprint, "norm"):
            return adapter.values
    raise SystemExit(f"{user} has no norm release on {base.name} in this store")


def _nats(base: Base, injection: Injection, row: Row, windows: Windows) -> list[float]:
    """Of each window, from the logits that serving computes."""
    nats = []
    with torch.inference_mode(), injection.rows(torch.from_numpy(row.copy())[None], torch.zeros(1, dtype=torch.int64)):
        for window in torch.from_numpy(windows):
            logits = base.model(input_ids=window[None], use_cache=False).logits[0, :-1].float()
            nats.append(float(torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum")))
    return nats


def _told(read: dict[str, dict[str, dict[str, list[float]]]]) -> dict[str, Any]:
    """By whose text: perplexities, what int8 costs, and what a row gains on either."""
    found: dict[str, Any] = {}
    for user in (each for each in read["plain"] if each in read["int8"]):
        losses = {
            (weights, row): Losses(np.array(nats), WINDOW - 1)
            for weights in WEIGHTS
            for row, nats in read[weights][user].items()
        }
        found[user] = {f"{row}, {weights}": {"perplexity": each.perplexity} for (weights, row), each in losses.items()}
        for row in read["int8"][user]:
            for weights in WEIGHTS[1:]:
                cost = improvement(losses[weights, row], losses["plain", row])
                found[user][f"{row}, {weights}"]["worse_than_plain"] = cost.as_dict()
        for weights in WEIGHTS if "own" in read["int8"][user] else ():
            gain = improvement(losses[weights, "nothing"], losses[weights, "own"])
            found[user][f"own, {weights}"]["gain"] = gain.as_dict()
    return found


if __name__ == "__main__":
    main()
