"""What adapters are worth beside perplexity, in words and tables, from the result file; see `benchmarks.summary`."""

import json
import textwrap
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "worth.json"

FEWEST = 10
"""People of whom the README tells."""

_MEASURES = {
    "perplexity": ("perplexity", 1, ".2f"),
    "bits_per_character": ("bits per character", 1, ".3f"),
    "next_word_1": ("next word, the first guess, %", 100, ".1f"),
    "next_word_3": ("next word, one of three, %", 100, ".1f"),
    "saved_1": ("keystrokes saved, one suggestion, %", 100, ".1f"),
    "saved_3": ("keystrokes saved, three, %", 100, ".1f"),
    "style": ("distance of style", 1, ".3f"),
}
_CHANGES = ("bare to prior", "prior to own", "prior to other")


def worth_figures() -> str:
    """Markdown of every measure over people, of its changes, and of how it follows perplexity."""
    if not RESULT.exists():
        return "\nNot measured yet: `python -m benchmarks.worth`.\n\n"
    result = json.loads(RESULT.read_text())
    summary = result["summary"]
    windows = next(iter(result["people"].values()))["readers"]["prior"]["windows"]
    values = [_values(name, summary["measures"][name]) for name in _MEASURES]
    changes = [_changes(name, summary["measures"][name]) for name in _MEASURES]
    said = (
        f"People: {summary['people']}, of kinds: {summary['kinds']}, none of them in the prior, on {windows} windows of"
        f" 256 tokens of the end of what they wrote. With an adapter on the prior: {summary['trained']}, from"
        f" {result['own_bytes'] // 1000} KB of own text in {result['steps']} steps, whatever the gate said of it."
        " Medians over people; in brackets 95 % intervals of these medians, by a bootstrap over people, which says"
        " nothing of one. Of so few, they say where to look and not what to find."
    )
    return f"""
{textwrap.fill(said, 118, break_on_hyphens=False)}

| measure | bare base | prior | own adapter | another's adapter |
|---|---|---|---|---|
{chr(10).join(values)}

By how much each changes, for how many people an adapter makes it better than the prior, and the rank correlation of
its gains with those of perplexity (over people, and bare base to prior, prior to own, prior to another's, as far as
they are there):

| measure | bare base to prior | prior to own | prior to another's | better: own, another's | follows perplexity |
|---|---|---|---|---|---|
{chr(10).join(changes)}

"""


def worth_line() -> str:
    """Markdown of what people can feel of it, in a sentence; nothing where few were measured."""
    if not RESULT.exists():
        return ""
    summary: dict[str, Any] = json.loads(RESULT.read_text())["summary"]
    if summary["people"] < FEWEST:
        return ""
    words, keys = (summary["measures"][name]["readers"] for name in ("next_word_1", "saved_3"))
    told = [f"{100 * each['median']:.0f} %" for each in (words["bare"], words["prior"], keys["bare"], keys["prior"])]
    said = (
        f"Beside perplexity, medians of {summary['people']} people: {told[0]} of next words are the first guess of the"
        f" bare base and {told[1]} of the prior; with three suggestions they save {told[2]} and {told[3]} of keystrokes"
        " (`docs/worth.md`)."
    )
    return "\n" + textwrap.fill(said, 118, break_on_hyphens=False) + "\n"


def _values(name: str, measured: dict[str, Any]) -> str:
    title, times, form = _MEASURES[name]
    readers = measured["readers"]
    told = (_with_interval(readers[each], times, form) for each in ("bare", "prior", "own", "other"))
    return f"| {title} | {' | '.join(told)} |"


def _changes(name: str, measured: dict[str, Any]) -> str:
    title, times, form = _MEASURES[name]
    told = [_with_interval(measured["changes"][each], times, f"+{form}") for each in _CHANGES]
    better = f"{measured['own_better']}, {measured['other_better']} of {measured['trained']}" * (
        measured["trained"] > 0
    )
    follows = measured["follows"]
    rank = "" if follows is None else f"{follows['rank']:.2f} ({follows['low']:.2f} to {follows['high']:.2f})"
    return f"| {title} | {' | '.join(told)} | {better} | {rank} |"


def _with_interval(number: dict[str, float] | None, times: float, form: str) -> str:
    if number is None:
        return ""
    median, low, high = (times * number[each] for each in ("median", "low", "high"))
    return f"{median:{form}}" + (f" ({low:{form}} to {high:{form}})" if low < high else "")
