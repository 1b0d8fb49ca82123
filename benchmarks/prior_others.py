"""Whether what 4 KB bring is the person's own: people read by their own row, by one of their kind, and by a stranger's.

    python -m benchmarks.prior_others out/prior_others      # two minutes a pair on one core; goes on where it was ended
    python -m benchmarks.prior_others out/prior_others 20   # for twenty minutes

Of every kind in `benchmarks.prior_curve` two are drawn who have 4 KB before what is held out. On the prior, each has a
row trained on the first of them by the default recipe, in as many steps for everybody, and no gate is asked: what is
measured is rows, and not what would answer. Each then reads by no row, by their own, by that of the other of their
kind, and by that of somebody of another kind, who is drawn from those who came before (from the second pair, for the
first); by each as it is, by its half and by its quarter. Of so little text a whole row often knows too much. Where
`sharedllm train` makes one, cross-validation chooses its scale, too, which would take ten times as long here. Rows stay
in the folder, and no text does.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.prior_curve import PRIOR_BASE, WINDOW, chosen, first_bytes, gain, heldout, median_interval, raw
from benchmarks.prior_summary import FEWEST
from sharedllm.evaluation.perplexity import row_losses
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.people import Person
from sharedllm.text.splits import split_text
from sharedllm.training.recipes import RECIPES, tuned
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "prior_others.json"
OWN_BYTES = 4_000
RECIPE = replace(tuned(RECIPES["default"], format="norm+bank", steps=32), check_every=0)
"""The steps that cross-validation chose for most of those in `results/prior_curve.json` with as much text."""

ROWS = ("own", "kin", "stranger")
"""Whose row reads: the person's, that of another of their kind, and that of somebody of another kind."""

PARTS = (0.25, 0.5, 1.0)
"""Of every row, by which each reads."""

Row = npt.NDArray[np.float32]
Pair = tuple[Person, Person]


def pairs(people: Sequence[Person]) -> list[Pair]:
    """Two of every kind that has so many, in the order of the kinds, drawn by their ids alone."""
    kinds: dict[str, list[Person]] = defaultdict(list)
    for person in people:
        kinds[person.kind].append(person)
    drawn = (sorted(each, key=lambda person: _drawn(person.user)) for each in kinds.values())
    return [(each[0], each[1]) for each in drawn if len(each) > 1]


def others(paired: Sequence[Pair], at: int) -> list[tuple[Person, Person, Person]]:
    """Of a pair each person, the other of their kind, and somebody of another kind."""
    strangers = [person for pair in (paired[:at] or paired[1:2]) for person in pair]
    one, two = paired[at]
    return [
        (person, kin, strangers[_drawn(f"a stranger for {person.user}") % len(strangers)])
        for person, kin in ((one, two), (two, one))
    ]


def _drawn(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * float(sys.argv[2]) if len(sys.argv) > 2 else float("inf")
    result: dict[str, Any] = {"environment": describe(), "bytes": OWN_BYTES, "recipe": RECIPE.as_dict(), "people": {}}
    if RESULT.exists():
        result = json.loads(RESULT.read_text())
    paired = pairs([person for person in chosen() if first_bytes(person, OWN_BYTES) is not None])
    with tempfile.TemporaryDirectory() as scratch, Workplace(PRIOR_BASE, folder=Path(scratch)) as place:
        for at in range(len(paired)):
            for person, kin, stranger in others(paired, at):
                if person.user in result["people"]:
                    continue
                rows = _rows(place, (person, kin, stranger), folder)
                without, *read = row_losses(
                    place.base,
                    place.injection(RECIPE.method),
                    np.stack([np.zeros_like(rows[0]), *(part * row for part in PARTS for row in rows)]),
                    heldout(person, place.base),
                )
                kept = iter(map(raw, read))
                line: dict[str, Any] = {
                    "kind": person.kind,
                    "read_by": dict(zip(ROWS, _names(person, kin, stranger), strict=True)),
                    "nothing": raw(without),
                    "parts": {f"{part}": {name: next(kept) for name in ROWS} for part in PARTS},
                }
                result["people"][person.user] = line
                result["summary"] = summary(result["people"])
                RESULT.write_text(json.dumps(result, indent=1) + "\n")
                for part, by in line["parts"].items():
                    told = ", ".join(f"{name} {gain(line['nothing'], by[name]):+.1%}" for name in ROWS)
                    print(f"{person.user}, {part} of a row: {told}", flush=True)
            if time.monotonic() > ends:
                break


def _names(*people: Person) -> list[str]:
    return [person.user for person in people]


def _rows(place: Workplace, people: Sequence[Person], folder: Path) -> list[Row]:
    """Everybody's row, trained now in one batch or before."""
    paths = {person.user: folder / f"{person.user.replace('/', '-')}.npy" for person in people}
    texts = []
    for person in people:
        text = first_bytes(person, OWN_BYTES)
        if not paths[person.user].exists() and text is not None:
            split = split_text(text, user=person.user)
            # All of it is trained on: there is nothing that a part would be read to choose.
            texts.append(replace(tokenize_to_train(person.user, split, place.base.encode, window=WINDOW), folds=()))
    injection = place.injection(RECIPE.method)
    for trained in train_vectors(place.base, injection, texts, RECIPE, curvature=place.curvature(RECIPE)):
        if trained.adapter is None:
            raise trained.error or RuntimeError(trained.user)
        np.save(paths[trained.user], trained.adapter.values.astype(np.float16))
    return [np.load(path, allow_pickle=False).astype(np.float32) for path in paths.values()]


def summary(people: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What each part of each row brings over the prior alone, and how much more one's own does; medians over people.

    Intervals, told of ten people and more, are of these medians: a bootstrap over people, 95 %.
    """
    return {
        "people": len(people),
        "kinds": len({each["kind"] for each in people.values()}),
        "parts": {f"{part}": _of_a_part(f"{part}", people) for part in PARTS},
    }


def _of_a_part(part: str, people: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    gains = {name: [gain(each["nothing"], each["parts"][part][name]) for each in people.values()] for name in ROWS}
    found: dict[str, Any] = {}
    for name, of_each in gains.items():
        more = [own - other for own, other in zip(gains["own"], of_each, strict=True)]
        found[name] = {
            "gain": _median(of_each),
            "better_than_nothing": sum(each > 0 for each in of_each),
            "own_brings_more": _median(more),
            "own_better": sum(each > 0 for each in more),
        }
    return found


def _median(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(float(np.median(values)), 4),
        "interval": median_interval(values) if len(values) >= FEWEST else None,
    }


if __name__ == "__main__":
    main()
