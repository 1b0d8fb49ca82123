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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prior_curve import HELDOUT, PRIOR_BASE, WINDOW, chosen, first_bytes
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.gate import Gate
from sharedllm.evaluation.intervals import Estimate
from sharedllm.evaluation.perplexity import base_losses, row_losses, spread
from sharedllm.evaluation.style import shipped_reference
from sharedllm.operations.ask import Row
from sharedllm.operations.train import train_and_judge
from sharedllm.operations.workplace import Workplace
from sharedllm.operations.worth import MEASURES, Reader, Worth, measure_worth
from sharedllm.reporting.environment import describe
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.people import Person
from sharedllm.text.splits import split_text
from sharedllm.text.windows import text_windows
from sharedllm.training.recipes import RECIPES, tuned

RESULT = Path(__file__).parent / "results" / "worth.json"
ADAPTERS = Path(__file__).parent.parent / "out" / "worth"
OWN_BYTES = 45_000
STEPS = 50
WINDOWS, FORETOLD = 8, 2
FORMAT = "norm"
READERS = ("bare", "prior", "own", "other")
BETTER = {"bits_per_character": -1, "next_word_1": 1, "next_word_3": 1, "saved_1": 1, "saved_3": 1, "style": -1}
"""Whether more or less of each measure is better."""
STEPS_BETWEEN = (("bare", "prior"), ("prior", "own"), ("prior", "other"))
"""From whom to whom each measure changes."""


def main() -> None:
    ends = time.monotonic() + 60 * float(sys.argv[1]) if len(sys.argv) > 1 else math.inf
    result: dict[str, Any] = {"environment": describe(), "own_bytes": OWN_BYTES, "steps": STEPS, "people": []}
    if RESULT.exists():
        result = json.loads(RESULT.read_text())
    people = [person for person in chosen() if first_bytes(person, OWN_BYTES) is not None]
    ADAPTERS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bare, prior = (Workplace(name, folder=Path(folder) / name) for name in (BARE_BASE, PRIOR_BASE))
        with bare, prior:
            done = {line["user"] for line in result["people"]}
            for before, person in zip(people[-1:] + people, people, strict=False):
                if person.user in done:
                    continue
                # The first person has the second's, so that nobody's adapter is trained for the control alone.
                other = people[1] if before is people[-1] else before
                own, theirs = _trained(prior, person), _trained(prior, other)
                line = _line(bare, prior, person, own, theirs) | {"other": other.user}
                result["people"].append(line)
                result["summary"] = summary(result["people"])
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


def _line(bare: Workplace, prior: Workplace, person: Person, own: Row, other: Row) -> dict[str, Any]:
    """Everything measured of one person."""
    begun = time.monotonic()
    windows = spread(text_windows(person.text[-HELDOUT:], prior.base.encode, WINDOW), WINDOWS)
    rows: dict[Reader, Row | None] = {None: None, "own": own, "other": other}
    table = np.stack([np.zeros_like(own), own, other])
    losses = dict(zip(rows, row_losses(prior.base, prior.injection(FORMAT), table, windows), strict=True))
    options: dict[str, Any] = {"format": FORMAT, "foretold": FORETOLD, "reference": shipped_reference()}
    on_prior = measure_worth(prior.base, rows, losses, windows, **options)
    on_bare = measure_worth(bare.base, {None: None}, {None: base_losses(bare.base, windows)}, windows, **options)
    read: dict[str, tuple[Worth, Reader]] = {
        "bare": (on_bare, None),
        "prior": (on_prior, None),
        "own": (on_prior, "own"),
        "other": (on_prior, "other"),
    }
    return {
        "user": person.user,
        "kind": person.kind,
        "windows": len(windows),
        "seconds": round(time.monotonic() - begun, 1),
        "readers": {
            name: {"perplexity": round(worth.losses[reader].perplexity, 4)}
            | {measure: _told(worth.of(measure, reader)) for measure in MEASURES}
            for name, (worth, reader) in read.items()
        },
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
    found: dict[str, Any] = {"people": len(people), "kinds": len({line["kind"] for line in people}), "measures": {}}
    for measure in ("perplexity", *MEASURES):
        told = [line["readers"] for line in people if line["readers"]["prior"][measure] is not None]
        found["measures"][measure] = {
            "people": len(told),
            "readers": {name: _median([each[name][measure] for each in told]) for name in READERS},
            "changes": {
                f"{before} to {after}": _median([each[after][measure] - each[before][measure] for each in told])
                for before, after in STEPS_BETWEEN
            },
            "own_better": sum(_gain(each, "prior", "own", measure) > 0 for each in told),
            "other_better": sum(_gain(each, "prior", "other", measure) > 0 for each in told),
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
    gains = np.array(
        [[[_gain(each, *step, name) for name in ("perplexity", measure)] for step in STEPS_BETWEEN] for each in told]
    )
    # As told, so that what is equal but for rounding is a tie.
    gains = gains.round(5)
    drawn = np.random.default_rng(0).integers(0, len(told), (2_000, len(told)))
    values = [_rank_correlation(gains[each].reshape(-1, 2)) for each in drawn]
    low, high = np.nanquantile(values, (0.025, 0.975))
    return {
        name: round(float(each), 3)
        for name, each in (("rank", _rank_correlation(gains.reshape(-1, 2))), ("low", low), ("high", high))
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
