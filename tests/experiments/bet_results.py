"""A catalogue's results from invented losses, measured, judged and packed by the catalogue's own code."""

import importlib
import json
from collections.abc import Iterable
from itertools import combinations

import numpy as np
from experiments.catalogue.bet import all_bets
from experiments.catalogue.readings import Readings, doubt
from experiments.catalogue.results import SCHEMA
from experiments.catalogue.verdict import Measured, judge

from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import Losses

USERS = ("programmer", "novelist", "scientist")
WINDOWS, TOKENS = 16, 255
PAIRS = [f"{a}+{b}" for a, b in combinations(USERS, 2)]
WORLD = {
    "date": "2025-01-31T12:34:56+00:00",
    "cpu": "A processor",
    "cores": 2,
    "commit": "0123456789abcdef",
    "uncommitted_changes": False,
    "base": {"name": "smollm2-135m", "fingerprint": "9f2c41d07ab3", "dtype": "torch.bfloat16", "device": "cpu"},
    "seeds": [0],
    "window": TOKENS + 1,
    "windows": WINDOWS,
    "seconds": 61.3,
}
rollup = importlib.import_module("experiments.bets.00_rollup")


def write_results(folder, numbers=None, *, protocols=("documented", "tuned"), broken=(), users=USERS):
    """Results of some bets (all by default) and the summary of all; the named bets' readers are broken."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, bet in all_bets().items():
        if numbers is None or number in numbers:
            found = {
                protocol: result(bet, protocol, broken=number in broken, users=users)
                for protocol in bet.protocols
                if protocol in protocols
            }
            write_result(folder, bet, found)
    rollup.write(folder)
    return folder


def write_result(folder, bet, protocols):
    """One result file, as the catalogue writes it."""
    stored = {"schema": SCHEMA, "bet": bet.name, "claim": bet.claim, "protocols": protocols}
    (folder / f"{bet.name}.json").write_text(json.dumps(stored, allow_nan=False))


def result(bet, protocol, *, broken=False, users=USERS):
    """One protocol's entry of a result file."""
    readings = invented(bet.number, 0.96 if protocol == "documented" else 0.86, broken=broken, users=users)
    measured = Measured(readings.users, bet.measure(readings))
    doubts = doubt(readings, bet.measure, bet.criteria, resamples=20)
    verdict = judge(bet.criteria, measured)
    for tier, share in doubts.holds.items():
        verdict[tier]["holds_in_resamples"] = share
    numbers = {
        name: {"value": finite(value), "interval": [finite(end) for end in doubts.intervals[name]]}
        for name, value in measured.values.items()
    }
    return {
        "status": "official",
        "protocol": protocol,
        "criteria_sha256": bet.criteria_sha256,
        "verdict": verdict,
        "measurements": numbers,
        "improvements_over_base": improvements(readings),
        "world": WORLD,
        "readings": readings.as_dict(),
    }


def finite(value):
    return float(value) if np.isfinite(value) else None


def improvements(readings):
    """As `Readings.improvements`, from fewer resamples than a result has."""
    found = {}
    for text, read in readings.losses.items():
        for reader, losses in read.items():
            if reader != "base" and np.isfinite(losses.nats).all():
                interval = improvement(read["base"], losses, resamples=100)
                found.setdefault(text, {})[reader] = interval.as_dict()
    return found


def invented(number, own, *, broken=False, users=USERS):
    """Readings of one bet: adapters multiply the perplexity of their own user's text by ``own``, others' by more."""
    readings = Readings(users)
    random = np.random.default_rng(int(number))
    texts = {"04": [*users, "journalist"], "13": [*users, "general"], "55": ["journalist", *users], "18": []}
    for place, text in enumerate(texts.get(number, users)):
        _read(readings, random, text, 9.0 + 4 * place, dict(readers(number, text, own, users)), broken)
    if number == "49":
        general = {f"{m}:{u}": 1.0 + 0.03 * i for i, u in enumerate(users) for m in ("norm", "lora_r4", "full")}
        _read(readings, random, "general", 21.0, general, broken)
        readings.facts |= {"adapter_bytes/norm": 140_544, "adapter_bytes/lora_r4": 4_884_480}
        readings.facts |= {"adapter_bytes/full": 538_060_032}
    if number == "13":
        readings.facts |= {"bytes/ternary": 80_000_000, "bytes/as_it_runs": 269_000_000}
    if number == "18":
        readings.facts |= {"max_residual": 3e-6, "tokens": 1000.0, "specialists": 3.0}
    if number == "55":
        traces = {name: (random.gamma(1.2, 2.0, 100) * -1).round(4).tolist() for name in ("base", "ensemble")}
        traces["bayesian"] = [max(a, b) - 0.01 for a, b in zip(traces["base"], traces["ensemble"], strict=True)]
        readings.notes["trace"] = traces
    return readings


def readers(number, text, own, users) -> Iterable[tuple[str, float]]:
    """Each reader of a bet on a text, with what it makes of the base's perplexity."""
    others = {user: own if user == text else 1.0 - (1 - own) * 0.3 for user in users}
    pairs = {pair: (1 + own) / 2 for pair in PAIRS if text in pair.split("+")}
    match number:
        case "04":
            yield from {**others, "mixture": 0.97, "product": 1.01}.items()
        case "13":
            yield "ternary", 14.0
        case "31" | "54":
            yield from {"own": own, **pairs}.items()
        case "46":
            yield from ((f"{method}/{seed}", own + 0.02 * seed) for method in ("norm", "full") for seed in range(5))
        case "49":
            yield from {"norm": own, "lora_r4": own * 0.98, "full": own * 3}.items()
        case "52":
            yield from {"norm": own, "ternary": 14.0, "ternary+norm": 6.0}.items()
        case "53":
            yield from {"raw": own, "int8": own * 1.001, "int8_gains": 1.1}.items()
        case "55":
            yield from {**others, "ensemble": 1.02, "bayesian": 0.99}.items()
        case "58":
            yield from {"norm": own, "steering": 0.98}.items()
        case "60":
            yield from {"own": own, "random0": 1.01, "random1": 1.02, "random2": 1.0}.items()
        case "61":
            authors = {**others, "general": 0.97, "everyone": own * 1.01}
            for steps in (25, 50, 100, 200):
                for seed in range(3):
                    for author, factor in authors.items():
                        yield f"{author}@{steps}/{seed}", 1 - (1 - factor) * steps / 120
        case "63":
            yield from others.items()
            for level, sigma in enumerate((0.01, 0.03, 0.1, 0.3)):
                yield from ((f"noisy {sigma}/{draw}", own + 0.03 * level**2) for draw in range(3))


def _read(readings, random, text, base, factors, broken):
    hard = random.normal(0, 0.25, WINDOWS)
    for reader, factor in {"base": 1.0, **factors}.items():
        noise = hard + random.normal(0, 0.01, WINDOWS)
        nats = (np.log(base * factor) + noise) * TOKENS
        readings.add(text, reader, Losses(nats * np.nan if broken and reader != "base" else nats, TOKENS))
