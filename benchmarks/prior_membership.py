"""Whether it can be told who is in the shipped prior, and what an adapter was trained on.

    python -m benchmarks.prior_membership       # ten minutes on two cores

The attack is a calibrated loss threshold (Carlini et al. 2022, section IV, how much better than without them):
members read better under the prior, compared with the bare base, than others of the same kinds. Others are those whom
`benchmarks.prior` did not select, so that both come from the same packages; both give as many of a kind. Of an adapter:
windows of the text it was trained on against windows that were held out of it, compared with the prior.
The area under the curve is 0.5 where nothing can be told.
"""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.prior import selected
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base, load_base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.perplexity import base_losses, row_losses, spread
from sharedllm.reporting.environment import describe
from sharedllm.text.people import Person
from sharedllm.text.public_people import public_people
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import text_windows, tokenize, windows
from sharedllm.training.recipes import RECIPES
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "prior_membership.json"
PRIOR_BASE = "smollm2-135m-people"
OF_A_KIND, WINDOW, WINDOWS = 8, 256, 2
READ = 40_000
USER = "novelist"


def main() -> None:
    members, others = _matched()
    losses: dict[str, dict[str, list[float]]] = {}
    for name in (BARE_BASE, PRIOR_BASE):
        base = load_base(name)
        losses[name] = {person.user: _read(base, person) for person in members + others}
    gained = {
        user: float(np.mean(losses[BARE_BASE][user]) - np.mean(each)) for user, each in losses[PRIOR_BASE].items()
    }
    inside, outside = ([gained[person.user] for person in people] for people in (members, others))
    result = {
        "environment": describe(),
        "prior": {
            "base": PRIOR_BASE,
            "members": len(members),
            "others": len(others),
            "windows": WINDOWS,
            "nats_gained": {"members": float(np.mean(inside)), "others": float(np.mean(outside))},
            **_told(inside, outside),
            "raw": {"members": inside, "others": outside},
        },
        "adapter": _adapter(load_base(PRIOR_BASE)),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print({name: {key: value for key, value in result[name].items() if key != "raw"} for name in ("prior", "adapter")})


def _matched() -> tuple[list[Person], list[Person]]:
    inside = {person.user for person in selected()}
    kinds: dict[str, dict[bool, list[Person]]] = defaultdict(lambda: {True: [], False: []})
    for person in sorted(public_people("prior"), key=lambda each: hashlib.sha256(each.user.encode()).hexdigest()):
        kinds[person.kind][person.user in inside].append(person)
    members, others = [], []
    for kind in kinds.values():
        count = min(OF_A_KIND, len(kind[True]), len(kind[False]))
        members += kind[True][:count]
        others += kind[False][:count]
    return members, others


def _read(base: Base, person: Person) -> list[float]:
    ids = spread(text_windows(person.text[:READ], base.encode, WINDOW), WINDOWS)
    return (
        [float(each) for each in base_losses(base, ids).nats / (WINDOW - base.tokens.unpredicted)]
        if len(ids)
        else [0.0]
    )


def _adapter(base: Base) -> dict[str, Any]:
    text = tokenize(USER, split_text(sample_text(USER)), base.encode)
    injection = Injection(base, layout_of(base))
    (trained,) = train_vectors(base, injection, [text], RECIPES["adamw"])
    assert trained.adapter is not None
    seen = spread(windows(text.train, WINDOW, text.opening), 32)
    gained = []
    for ids in (seen, spread(text.heldout, 32)):
        table = np.stack([np.zeros_like(trained.adapter.values), trained.adapter.values])
        without, row = row_losses(base, injection, table, ids)
        gained.append([float(each) for each in (without.nats - row.nats) / row.tokens])
    return {"user": USER, **_told(*gained), "raw": {"members": gained[0], "others": gained[1]}}


def _told(inside: list[float], outside: list[float]) -> dict[str, Any]:
    """Area under the curve with its bootstrap interval, and true positives at 5 % false ones."""
    random = np.random.default_rng(0)
    drawn = [_area(random.choice(inside, len(inside)), random.choice(outside, len(outside))) for _ in range(2_000)]
    threshold = np.quantile(outside, 0.95)
    return {
        "area": round(_area(np.array(inside), np.array(outside)), 4),
        "interval": [round(float(each), 4) for each in np.quantile(drawn, (0.025, 0.975))],
        "found_at_5_percent_false": round(float(np.mean(np.array(inside) > threshold)), 4),
    }


def _area(inside: npt.NDArray[np.float64], outside: npt.NDArray[np.float64]) -> float:
    above = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
    return float(above)


if __name__ == "__main__":
    main()
