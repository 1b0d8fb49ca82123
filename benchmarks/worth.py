"""What an adapter is worth beside perplexity, over public people, and how well each measure follows perplexity.

    python -m benchmarks.worth            # hours on two cores; every person is kept, and the same command goes on
    python -m benchmarks.worth 20         # for twenty minutes

The people are those of `benchmarks.prior_curve`, none of whom is in the prior: one of every kind first. Whoever has
45,000 bytes before the last 12,000 characters, which nothing is trained on, is trained on the first of them by the job
that `sharedllm train` runs, gate and all, in fewer steps. Their last characters are then read, foretold and written on
with by the bare base, by the prior, by their own adapter, whatever the gate said, and by that of the person before
them: the control. Adapters stay in `out/worth`, and no text does.
"""

import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prior_curve import HELDOUT, PRIOR_BASE, WINDOW, chosen, first_bytes
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.gate import Gate
from sharedllm.evaluation.intervals import Estimate
from sharedllm.evaluation.perplexity import row_losses, spread
from sharedllm.evaluation.style import shipped_reference
from sharedllm.operations.ask import Row
from sharedllm.operations.train import train_and_judge
from sharedllm.operations.workplace import Workplace
from sharedllm.operations.worth import Measure, WorthReader, measure_worth
from sharedllm.reporting.environment import describe
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.people import Person
from sharedllm.text.splits import split_text
from sharedllm.text.windows import text_windows
from sharedllm.training.recipes import RECIPES, tuned

RESULT = Path(__file__).parent / "results" / "worth.json"
ADAPTERS = Path(__file__).parent.parent / "out" / "worth"
OWN_BYTES = 45_000
STEPS = 32
WINDOWS, FORETOLD = 8, 2
FORMAT = "norm"
BEGUN = 3
"""People who are read by the bare base and by the prior before anybody is trained."""
FIRST, THEN = ("bare", "prior"), ("own", "other")
READERS = FIRST + THEN
BETTER = {
    "bits_per_character": -1,
    "next_word_1": 1,
    "next_word_3": 1,
    "saved_1": 1,
    "saved_3": 1,
    "style": -1,
}
"""Whether more or less of each measure is better."""
MEASURES: tuple[Measure, ...] = ("bits_per_character", "next_word_1", "next_word_3", "saved_1", "saved_3", "style")
STEPS_BETWEEN = (("bare", "prior"), ("prior", "own"), ("prior", "other"))
"""From whom to whom each measure changes."""


def main() -> None:
    ends = time.monotonic() + 60 * float(sys.argv[1]) if len(sys.argv) > 1 else math.inf
    result: dict[str, Any] = {"environment": describe(), "own_bytes": OWN_BYTES, "steps": STEPS, "people": {}}
    if RESULT.exists():
        result = json.loads(RESULT.read_text())
    people = [person for person in chosen() if first_bytes(person, OWN_BYTES) is not None]
    # What takes no training comes first, of a few; then everything of everybody.
    jobs = [(at, FIRST) for at in range(BEGUN)] + [(at, job) for at in range(len(people)) for job in (FIRST, THEN)]
    ADAPTERS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bare, prior = (Workplace(name, folder=Path(folder) / name) for name in (BARE_BASE, PRIOR_BASE))
        with bare, prior:
            for at, job in jobs:
                person = people[at]
                line = result["people"].setdefault(person.user, {"kind": person.kind, "readers": {}})
                if set(job) <= line["readers"].keys():
                    continue
                if job == FIRST:
                    line["readers"] |= _read(bare, person, {"bare": None}) | _read(prior, person, {"prior": None})
                else:
                    # The first person has the second's, so that nobody's adapter is trained for the control alone.
                    other = people[at - 1 if at else 1]
                    rows = {"own": _trained(prior, person), "other": _trained(prior, other)}
                    line |= {"other": other.user}
                    line["readers"] |= _read(prior, person, rows)
                result["summary"] = summary(list(result["people"].values()))
                RESULT.write_text(json.dumps(result, indent=1) + "\n")
                print(person.user, _short(line), flush=True)
                if time.monotonic() > ends:
                    break


def _trained(place: Workplace, person: Person) -> Row:
    """A person's row as the store would keep it: trained now, or before."""
    path = ADAPTERS / f"{person.user.replace('/', '-')}.npy"
    if not path.exists():
        text = first_bytes(person, OWN_BYTES)
        assert text is not None
        recipe = tuned(RECIPES["default"], format=FORMAT, steps=STEPS)
        tokenized = tokenize_to_train(person.user, split_text(text, user=person.user), place.base.encode, window=WINDOW)
        general = spread(place.general("validation", WINDOW), WINDOWS)
        gate = Gate(max_windows=WINDOWS)
        (judged,) = train_and_judge(place, [tokenized], recipe, gate=gate, general=general)
        if judged.adapter is None:
            raise judged.error or RuntimeError(person.user)
        np.save(path, judged.adapter.values.astype(np.float16))
    row: Row = np.load(path, allow_pickle=False).astype(np.float32)
    return row


def _read(place: Workplace, person: Person, given: Mapping[str, Row | None]) -> dict[str, Any]:
    """Everything measured of one person by some readers of one base."""
    begun = time.monotonic()
    rows: dict[WorthReader, Row | None] = dict(given.items())
    windows = spread(text_windows(person.text[-HELDOUT:], place.base.encode, WINDOW), WINDOWS)
    injection = place.injection(FORMAT)
    table = np.stack([np.zeros(injection.layout.size, np.float32) if row is None else row for row in rows.values()])
    losses = dict(zip(rows, row_losses(place.base, injection, table, windows), strict=True))
    reference = shipped_reference()
    worth = measure_worth(place.base, rows, losses, windows, format=FORMAT, foretold=FORETOLD, reference=reference)
    return {
        reader: {"perplexity": round(losses[reader].perplexity, 4)}
        | {measure: _told(worth.of(measure, reader)) for measure in MEASURES}
        | {"windows": len(windows), "seconds": round((time.monotonic() - begun) / len(rows), 1)}
        for reader in given
    }


def _told(estimate: Estimate | None) -> float | None:
    return None if estimate is None else round(estimate.estimate, 5)


def _short(line: dict[str, Any]) -> str:
    told = ("perplexity", "next_word_1", "saved_3", "style")
    return "; ".join(
        f"{name} " + ", ".join(f"{each[measure]:.3f}" for measure in told if each[measure] is not None)
        for name, each in line["readers"].items()
    )


def summary(people: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each measure the median of every reader and of every change, over people, and how it follows perplexity."""
    whole = [line["readers"] for line in people if len(line["readers"]) == len(READERS)]
    found: dict[str, Any] = {"people": len(people), "trained": len(whole), "measures": {}}
    found["kinds"] = len({line["kind"] for line in people})
    for measure in ("perplexity", *MEASURES):
        told = [line["readers"] for line in people if line["readers"]["prior"][measure] is not None]
        found["measures"][measure] = {
            "people": len(told),
            "readers": {name: _median([each[name][measure] for each in told if name in each]) for name in READERS},
            "changes": {
                f"{before} to {after}": _median(
                    [each[after][measure] - each[before][measure] for each in told if after in each]
                )
                for before, after in STEPS_BETWEEN
            },
            "own_better": sum(_gain(each, "prior", "own", measure) > 0 for each in told if "own" in each),
            "other_better": sum(_gain(each, "prior", "other", measure) > 0 for each in told if "other" in each),
            "trained": sum("own" in each for each in told),
            "follows": None if measure == "perplexity" else _follows(told, measure),
        }
    return found


def _gain(readers: dict[str, Any], before: str, after: str, measure: str) -> float:
    """By how much a measure gets better from one reader to another; of perplexity, of its logarithm."""
    if measure == "perplexity":
        return math.log(readers[before][measure] / readers[after][measure])
    return float(BETTER[measure] * (readers[after][measure] - readers[before][measure]))


def _follows(told: list[dict[str, Any]], measure: str) -> dict[str, Any] | None:
    """Spearman's rank correlation of gains with those of perplexity, over people and changes of reader.

    The interval is by a bootstrap over people, each with all of their changes.
    """
    if len(told) < 3:
        return None
    # As told, so that what is equal but for rounding is a tie.
    gains = [
        np.array(
            [
                [_gain(each, before, after, name) for name in ("perplexity", measure)]
                for before, after in STEPS_BETWEEN
                if after in each
            ]
        ).round(5)
        for each in told
    ]
    drawn = np.random.default_rng(0).integers(0, len(told), (2_000, len(told)))
    values = [_rank_correlation(np.concatenate([gains[at] for at in each])) for each in drawn]
    low, high = np.nanquantile(values, (0.025, 0.975))
    return {
        name: round(float(each), 3)
        for name, each in (("rank", _rank_correlation(np.concatenate(gains))), ("low", low), ("high", high))
    }


def _rank_correlation(pairs: Any) -> float:
    ranks = np.stack([_ranks(column) for column in pairs.T])
    return float(np.corrcoef(ranks)[0, 1]) if ranks.std(axis=1).all() else math.nan


def _ranks(values: Any) -> Any:
    """From 0 on; equal ones share the mean of theirs."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes + 1) / 2)[group]


def _median(values: list[float]) -> dict[str, float] | None:
    """Of people, with a bootstrap interval."""
    if not values:
        return None
    drawn = np.random.default_rng(0).choice(values, size=(10_000, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return {name: round(float(each), 5) for name, each in (("median", np.median(values)), ("low", low), ("high", high))}


if __name__ == "__main__":
    main()
