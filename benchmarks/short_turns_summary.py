"""What came of learning short turns that recur once, in words, from the result file; see `benchmarks.summary`."""

import json
import textwrap
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "short_turns.json"


def short_turns_figures() -> str:
    """Markdown of how much better or worse what follows is foretold, a person a clause."""
    people = json.loads(RESULT.read_text())["people"].values()
    said = (
        "*Short turns that recur*, like *ok* and *haha yes*, are learned as often as they are said."
        " `benchmarks/short_turns.py` trains people of a public chat whom the prior never saw on some 10,000 characters"
        " of theirs in which the most short turns recur, in 64 steps at most: once as they are, and once with a turn of"
        " up to 40 characters learned where it is first said and only read after that. Perplexity of what they said"
        f" next is then lower by {'; '.join(map(_person, people))}. {_verdict(list(people))}"
    )
    return f"\n{textwrap.fill(said, 118, break_on_hyphens=False)}\n\n"


def _person(told: dict[str, Any]) -> str:
    every, new = (told[which]["once_over_every"] for which in ("heldout", "new"))
    return (
        f"{_interval(every)}, and without the turns there that recur by {_interval(new)}, for one whose"
        f" {told['recurring']} of {told['turns']} turns recur"
    )


def _interval(found: dict[str, float]) -> str:
    estimate, low, high = (f"{100 * found[which]:.1f}" for which in ("estimate", "low", "high"))
    return f"{estimate} % [{low}, {high}]"


def _verdict(people: list[dict[str, Any]]) -> str:
    found = [told["heldout"]["once_over_every"] for told in people]
    better, worse = sum(each["low"] > 0 for each in found), sum(each["high"] < 0 for each in found)
    said = f"Learned once is better beyond its interval for {better} of {len(found)} and worse for {worse}"
    if better > worse:
        return f"{said}."
    return (
        f"{said}, so there is no rule for it. (Intervals are over windows of the text; which windows are drawn in"
        " training differs as well, since what is only read moves them.)"
    )
