"""Serving speed: many users in one batch, against the base alone, plain `generate`, and PEFT. SmolLM2-135M, greedy.

    python -m benchmarks.serving    # ended before its time, the same command goes on where it was

Every request has a prompt of 64 tokens of general text and gets 64 new ones; of what our engine is asked nothing has
been read before. Contenders are processes of their own
(`serving_contenders.py`) and take turns, and a ratio is the median over the rounds of what two of them did in the same
round. So all of them see the same machine, however its speed wanders.

- ``users``: our engine, 32 distinct users.
- ``stream``, ``first_token``: our engine, one request of the base.
- ``generate``: transformers' `generate` of the base, 32 prompts and one, with its own attention (sdpa) and with ours.
- ``peft_norm``: PEFT's LNTuningConfig, one adapter a user, `set_adapter` before each user's `generate`; in each round
  other users, everybody once in all of them.
- ``peft_lora``: PEFT's LoRA-r4, `generate` of a mixed batch with `adapter_names`.
- ``memory``: bytes a second that the device copies, read and written, which no pass over the weights can exceed.

After the rounds: 32 users and 32 requests of the base alone in pairs of their own, since they differ by less than a
machine does between two minutes; 31 users alone and beside one who has read a prompt of 4,000 tokens and answers; our
engine by the number of users; the admission of users who are not on the device.
"""

import json
import math
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from benchmarks.plots import write_curve
from benchmarks.processors import result_path
from benchmarks.turns import Ask, contender
from sharedllm.base.cpu_attention import NAME as STACKED
from sharedllm.reporting.environment import describe

USERS, ROUNDS, REPEATS, PAIRS = 32, 4, 3, 16
CURVE = (1, 2, 4, 8, 16, 32, 64)
ATTENTIONS = ("sdpa", STACKED)

CONTENDERS = {
    "engine": max(CURVE),
    "generate": USERS,
    "peft-norm": USERS,
    "peft-lora": USERS,
    "memory": 0,
    "admission": 0,
}
"""By name, how many users each is begun with."""

Round = dict[str, Any]
Find = Callable[[str], Ask]


def main() -> None:
    """Measure what is not yet there, a part at a time, each kept as soon as it is whole."""
    path = result_path("serving")
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if "summary" in result:
        result = {}
    runs = result.setdefault("runs", {})
    # Parts may be of different hours, even of different versions.
    environments = result.setdefault("environment", {})
    with ExitStack() as stack:
        asks: dict[str, Ask] = {}

        def ask(name: str) -> Ask:
            if name not in asks:
                asks[name] = stack.enter_context(
                    contender("benchmarks.serving_contenders", name, str(CONTENDERS[name]))
                )
            return asks[name]

        for part, measure in PARTS.items():
            if part not in runs:
                print(part, "…", file=sys.stderr)
                runs[part], environments[part] = measure(ask), describe()
                path.write_text(json.dumps(result, indent=1) + "\n")
    result["summary"] = summarise(runs)
    path.write_text(json.dumps(result, indent=1) + "\n")
    curve, base = runs["users"], runs["base"]
    write_curve(
        path.with_suffix(".svg"),
        "Tokens a second by users in the batch",
        {"distinct users": list(curve.values()), "the base alone, 32 requests": [base] * len(CURVE)},
        places=list(curve),
        across="users, each with an adapter of their own",
        up="tokens a second",
    )
    print(json.dumps(result["summary"], indent=2))


def _rounds(ask: Find) -> list[Round]:
    one_round(ask, 0)
    return [one_round(ask, number) for number in range(ROUNDS)]


def _curve(ask: Find) -> dict[str, list[float]]:
    engine = ask("engine")
    rates = [[engine("run", users, True)["rate"] for users in CURVE] for _ in range(REPEATS)]
    return {str(users): list(found) for users, found in zip(CURVE, zip(*rates, strict=True), strict=True)}


def one_round(ask: Find, number: int) -> Round:
    """Everybody's turn: new tokens a second, and seconds to the first one."""
    engine, generate = ask("engine"), ask("generate")
    share = USERS // ROUNDS
    peers = {
        "peft_norm": partial(ask("peft-norm"), "run", number * share, (number + 1) * share),
        "peft_lora": partial(ask("peft-lora"), "run"),
        **{f"generate_{name}": partial(generate, "run", name, USERS) for name in ATTENTIONS},
    }
    found: Round = {"users": [], "stream": [], "first_token": [], "memory": ask("memory")("run")}
    for name, run in peers.items():
        found["users"].append(engine("run", USERS, True)["rate"])
        found[name] = run()
    for name in ATTENTIONS:
        one = engine("run", 1, False)
        found["stream"].append(one["rate"])
        found["first_token"].append(one["first"])
        found[f"generate_{name}_stream"] = generate("run", name, 1)
        found[f"generate_{name}_first_token"] = generate("first_token", name)
    return found


def one_pair(engine: Ask, base_first: bool) -> dict[str, float]:
    """New tokens a second of 32 users and of the base alone, one right after the other; neither is always the first."""
    order = ("base", "users") if base_first else ("users", "base")
    return {who: engine("run", USERS, who == "users")["rate"] for who in order}


def one_neighbour(engine: Ask) -> dict[str, float]:
    """New tokens a second of 31 users alone, and beside one more who has a long prompt."""
    return {"alone": engine("run", USERS - 1, True)["rate"], "beside": engine("beside", USERS - 1)["rate"]}


def summarise(runs: dict[str, Any]) -> dict[str, Any]:
    """The claims as ratios: each the median over rounds, within which either side is its median."""
    rounds = runs["rounds"]

    def ratio(ours: str, theirs: str) -> float:
        return statistics.median(float(np.median(each[ours]) / np.median(each[theirs])) for each in rounds)

    def bandwidth(rate: str, streams: int) -> float:
        # A pass reads all weights once, and draws a token for each stream. Its keys and values are left out.
        passes = [float(np.median(each[rate])) / streams for each in rounds]
        return statistics.median(
            a_second * float(runs["weights"] / each["memory"]) for a_second, each in zip(passes, rounds, strict=True)
        )

    pairs = [pair["users"] / pair["base"] for pair in runs["pairs"]]
    return {
        "tokens_per_second": statistics.median(runs["users"][str(USERS)]),
        "users_against_base_alone": statistics.median(pairs),
        "users_against_base_alone_interval": median_interval(pairs),
        "beside_a_long_prompt": statistics.median(each["beside"] / each["alone"] for each in runs["beside"]),
        "bandwidth_one_stream": bandwidth("stream", 1),
        "bandwidth_users": bandwidth("users", USERS),
        "against_generate": {name: ratio("users", f"generate_{name}") for name in ATTENTIONS},
        # Of the attentions the one that is faster for what is compared.
        "one_stream_against_generate": min(ratio("stream", f"generate_{name}_stream") for name in ATTENTIONS),
        "first_token_against_generate": min(
            1 / ratio("first_token", f"generate_{name}_first_token") for name in ATTENTIONS
        ),
        "against_peft_norm": ratio("users", "peft_norm"),
        "against_peft_lora": ratio("users", "peft_lora"),
        "admission_p50_ms": statistics.median(runs["admission"]["seconds"]) * 1e3,
        "admission_p99_ms": float(np.quantile(runs["admission"]["seconds"], 0.99)) * 1e3,
    }


def median_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Between which two values the median lies, by how often a coin that is thrown for each would say otherwise."""
    count, tail, beyond = len(values), 0.0, 0
    while (tail := tail + math.comb(count, beyond) / 2**count) <= (1 - confidence) / 2:
        beyond += 1
    # With so few that even the outermost are not enough, there is none.
    ordered = sorted(values)
    return (ordered[beyond - 1], ordered[-beyond]) if beyond else (math.nan, math.nan)


PARTS: dict[str, Callable[[Find], Any]] = {
    "weights": lambda ask: ask("engine")("weights"),
    "rounds": _rounds,
    "pairs": lambda ask: [one_pair(ask("engine"), number % 2 == 0) for number in range(PAIRS)],
    "users": _curve,
    "base": lambda ask: [ask("engine")("run", USERS, False)["rate"] for _ in range(REPEATS)],
    "admission": lambda ask: ask("admission")("run"),
    "beside": lambda ask: [one_neighbour(ask("engine")) for _ in range(REPEATS)],
}


if __name__ == "__main__":
    main()
