"""What four additions reach of what the same text reaches at once."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.cli.conftest import writing

from benchmarks import growing
from sharedllm.text.people import Person

pytestmark = pytest.mark.slow


@pytest.fixture
def person(base_of, inject, monkeypatch):
    """What the benchmark finds of a made-up person on a small base, in few and short steps."""
    monkeypatch.setattr(growing, "WEEK", replace(growing.WEEK, steps=3, window=64, learning_rate=2e-2))
    monkeypatch.setattr(growing, "TOGETHER", replace(growing.TOGETHER, steps=12, window=64, learning_rate=2e-2))
    monkeypatch.setattr(growing, "CHARACTERS", 512)
    base = base_of("llama")
    own, strange = (Person(name, "sample", writing(name, 12_000)) for name in ("alice", "bob"))
    return growing.measured(base, inject(base), own, strange)


def test_every_row_is_read_on_every_text_and_every_addition_has_its_figures(person):
    rows = {"base", "added", "at once", "alone", "mean", "halfway", "stranger", *(f"week {n}" for n in range(1, 5))}
    texts = [*(f"behind {n}" for n in range(1, 5)), "behind stranger", "heldout"]
    assert all(set(person[text]) == rows for text in texts)
    assert all(len(losses) == growing.BEHIND for losses in person["behind 1"].values())
    assert [each["of"] for each in person["additions"]] == ["own"] * 3 + ["stranger"]
    for week, each in enumerate(person["additions"], start=1):
        seen = [f"behind {n}" for n in range(1, week + 1)]
        gained = np.mean([np.subtract(person[text]["base"], person[text][f"week {week}"]) for text in seen])
        assert each["old_gain"] == pytest.approx(gained)
        assert each["curvature_old"] > 0 < each["curvature_new"]
    json.dumps(person, allow_nan=False)


def test_what_was_added_is_compared_with_what_is_gained_at_once(person):
    shares = growing.reached(person)
    base, once, added = (np.mean(person["heldout"][name]) for name in ("base", "at once", "added"))
    assert once < base
    assert shares["added"] == pytest.approx((1 - np.exp(added - base)) / (1 - np.exp(once - base)))
    assert shares["added"] > 0.5
