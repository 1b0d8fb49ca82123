"""What a person gains by how much of their own text there is: on the prior, and on the bare base.

    python -m benchmarks.prior_curve            # hours on two cores; every line is kept, and the same command goes on
    python -m benchmarks.prior_curve 20         # for twenty minutes

The people are those of the role `figures`, none of whom is in the prior, at most five of a kind. Read are the last
12,000 characters of each, which nothing is trained on. Whoever has so many bytes before that is trained on the first of
them by the job that `sharedllm train` runs, gate and all; what counts is what answers them then: their row if it was
served, and what they would have got otherwise (the prior, or the bare base) if it was held back. The most telling lines
come first.
"""

import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.plots import write_curve
from sharedllm.base.loading import Base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.perplexity import Losses, Windows, base_losses, plain_counts, row_losses, spread
from sharedllm.operations.train import train_and_judge
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.people import Person
from sharedllm.text.public_people import public_people
from sharedllm.text.splits import split_text
from sharedllm.text.windows import text_windows
from sharedllm.training.recipes import RECIPES, tuned

RESULTS = Path(__file__).parent / "results"
RESULT = RESULTS / "prior_curve.json"
PRIOR_BASE = "smollm2-135m-people"
OF_A_KIND = 5
ROUNDS = (slice(0, 12), slice(12, 42))
"""Who is trained, minutes each: a dozen of as many kinds by every line, then the rest of two of every kind."""

HELDOUT, GAP = 12_000, 2_000
WINDOW, WINDOWS = 256, 8

JOBS = [
    (0, PRIOR_BASE, ""),
    (4_000, PRIOR_BASE, "norm+bank"),
    (10_000, PRIOR_BASE, "norm+bank"),
    (4_000, BARE_BASE, "norm"),
    (30_000, PRIOR_BASE, "norm+bank"),
    (10_000, BARE_BASE, "norm"),
    (30_000, BARE_BASE, "norm"),
    (2_000, PRIOR_BASE, "norm+bank"),
    (4_000, PRIOR_BASE, "norm"),
    (4_000, PRIOR_BASE, "bank"),
    (100_000, PRIOR_BASE, "norm+bank"),
    (100_000, BARE_BASE, "norm"),
]
"""Bytes of own text, base and format, the most telling first."""


def chosen() -> list[Person]:
    """Whose text is read: the first of each kind who have enough to hold out and be trained on."""
    kinds: dict[str, list[Person]] = defaultdict(list)
    for person in public_people("figures"):
        if len(kinds[person.kind]) < OF_A_KIND and len(person.text) >= HELDOUT + GAP + 4_000:
            kinds[person.kind].append(person)
    # One of every kind, then another of every kind, so that whenever it ends all kinds are there.
    return [people[n] for n in range(OF_A_KIND) for people in kinds.values() if n < len(people)]


def heldout(person: Person, base: Base) -> Windows:
    """Windows of the end of their text."""
    return spread(text_windows(person.text[-HELDOUT:], base.encode, WINDOW), WINDOWS)


def general_windows(place: Workplace) -> Windows:
    """Windows of held-out general text."""
    return spread(place.general("heldout", WINDOW), 4 * WINDOWS)


def first_bytes(person: Person, size: int) -> str | None:
    """So many bytes of the beginning of their text; None if there are not so many before what is held out."""
    before = person.text[: -HELDOUT - GAP].encode()
    return before[:size].decode(errors="ignore") if len(before) >= size else None


def main() -> None:
    ends = time.monotonic() + 60 * float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
    result: dict[str, Any] = {"environment": describe(), "people": {}, "lines": []}
    if RESULT.exists():
        result = json.loads(RESULT.read_text())
    people = chosen()
    for place, size, format, person in _lines(people, result):
        line = _line(place, size, format, person, result)
        result["lines"].append(line)
        result["summary"] = summary(result)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(
            f"{person.user} {size:,} {place.name} {format}: {_gain(line, result):+.1%} {line.get('reason', '')}",
            flush=True,
        )
        if time.monotonic() > ends:
            break
    _draw(result)


def _lines(people: list[Person], result: dict[str, Any]) -> Iterator[tuple[Workplace, int, str, Person]]:
    done = {(line["user"], line["bytes"], line["base"], line["format"]) for line in result["lines"]}
    places: dict[str, Workplace] = {}
    with tempfile.TemporaryDirectory() as folder:
        for some, (size, base, format) in product(ROUNDS, JOBS):
            for person in people[some if size else slice(None)]:
                if (person.user, size, base, format) in done or (size and first_bytes(person, size) is None):
                    continue
                for name in (BARE_BASE, base):
                    places.setdefault(name, Workplace(name, folder=Path(folder) / name))
                if "general" not in result:
                    result["general"] = {
                        name: raw(base_losses(place.base, general_windows(place))) for name, place in places.items()
                    }
                if person.user not in result["people"]:
                    bare = base_losses(places[BARE_BASE].base, heldout(person, places[BARE_BASE].base))
                    result["people"][person.user] = {"kind": person.kind, "bytes": len(person.text.encode())} | raw(
                        bare
                    )
                yield places[base], size, format, person
        for place in places.values():
            place.close()


def _line(place: Workplace, size: int, format: str, person: Person, result: dict[str, Any]) -> dict[str, Any]:
    windows = heldout(person, place.base)
    line: dict[str, Any] = {"user": person.user, "bytes": size, "base": place.name, "format": format}
    if not size:
        return line | raw(base_losses(place.base, windows))
    text = first_bytes(person, size)
    assert text is not None
    begun = time.monotonic()
    recipe = tuned(RECIPES["default"], format=format)
    tokenized = tokenize_to_train(person.user, split_text(text, user=person.user), place.base.encode, window=WINDOW)
    (judged,) = train_and_judge(place, [tokenized], recipe)
    if judged.adapter is None or judged.gate is None:
        return line | {"error": str(judged.error)} | raw(base_losses(place.base, windows))
    seconds = time.monotonic() - begun
    table = np.stack([np.zeros_like(judged.adapter.values), judged.adapter.values])
    without, row = row_losses(place.base, place.injection(format), table, windows)
    return line | {
        "passed": judged.gate.passed,
        "reason": judged.gate.reason,
        "scale": judged.adapter.provenance.get("scale", 1.0),
        "steps": judged.adapter.provenance.get("steps"),
        "seconds": round(seconds, 1),
        "without": raw(without),
        **raw(row),
    }


def raw(losses: Losses) -> dict[str, Any]:
    """What is kept of losses: nats of every window, and how many tokens are predicted in each."""
    return {"nats": [round(float(each), 4) for each in losses.nats], "tokens": plain_counts(losses.tokens)}


def gain(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """How much lower perplexity is, of what `raw` kept of the same windows."""
    fall = np.sum(before["nats"]) - np.sum(after["nats"])
    return float(1 - np.exp(-fall / (len(before["nats"]) * before["tokens"])))


def _gain(line: dict[str, Any], result: dict[str, Any]) -> float:
    """How much lower perplexity is than the bare base's with what is served."""
    return gain(result["people"][line["user"]], line if line.get("passed", True) else line["without"])


def summary(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Each job over its people: gain against the bare base, and against what they would have got otherwise."""
    found = []
    for size, base, format in JOBS:
        lines = [
            line for line in result["lines"] if (line["bytes"], line["base"], line["format"]) == (size, base, format)
        ]
        if not lines:
            continue
        gains = sorted(_gain(line, result) for line in lines)
        row: dict[str, Any] = {"bytes": size, "base": base, "format": format, "people": len(lines)}
        row |= {"gain": dict(zip(("p10", "median", "p90"), np.quantile(gains, (0.1, 0.5, 0.9)).round(4), strict=True))}
        row["median_interval"] = median_interval(gains)
        judged = [line for line in lines if "passed" in line]
        if judged:
            served = [line for line in judged if line["passed"]]
            own = [gain(line["without"], line) for line in served]
            row |= {
                "served": len(served),
                "harmed_by_more_than_1_percent": sum(bool(each < -0.01) for each in own),
                "seconds": statistics.median(line["seconds"] for line in judged),
            }
        found.append(row)
    return found


def median_interval(values: Sequence[float]) -> list[float]:
    """Of the median over people: a bootstrap of 10,000 resamples, 95 %."""
    drawn = np.random.default_rng(0).choice(values, size=(10_000, len(values)))
    return [round(float(each), 4) for each in np.quantile(np.median(drawn, axis=1), (0.025, 0.975))]


def _draw(result: dict[str, Any]) -> None:
    """The medians by bytes of own text."""
    sizes = sorted({size for size, _, _ in JOBS})
    series = {}
    for name, base in (("on the prior", PRIOR_BASE), ("on the bare base", BARE_BASE)):
        best = {row["bytes"]: 100 * row["gain"]["median"] for row in result["summary"] if row["base"] == base}
        best.setdefault(0, 0.0)
        series[name] = [[best[size]] for size in sizes if size in best]
    if len({len(each) for each in series.values()}) == 1:
        places = [f"{size // 1000} KB" for size in sizes]
        write_curve(
            RESULTS / "prior_curve.svg", "Gain by own text", series, places=places, across="own text", up="% lower"
        )


if __name__ == "__main__":
    main()
