"""What the prior brings, in words and tables, from the result files; `benchmarks.summary` puts them into the pages."""

import json
import math
import statistics
import textwrap
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
FEWEST = 10
"""People of whom a median, and its interval, is told."""


def prior_figures() -> str:
    """Markdown of what the prior brings, what it costs, and what can be told of those who are in it."""
    return f"""
{curve()}

{_kinds(_load("prior_curve"))}

{_control(_load("prior_control"))}

{_others(_load("prior_others"))}

{_sweep(_load("prior_sweep"))}

{_time(_load("time_to_quality"))}

{_membership(_load("prior_membership"))}

"""


def curve() -> str:
    """Markdown of gain by how much of somebody's own text there is."""
    curve = _load("prior_curve")
    rows = [
        f"| {_size(row['bytes'])} | {row['base']} | {row['format'] or 'none'} | {row['people']} |"
        f" {row['gain']['median']:.1%} ({row['median_interval'][0]:.1%} to {row['median_interval'][1]:.1%}) |"
        f" {row['gain']['p10']:.1%} | {_served(row)} |"
        for row in sorted(curve["summary"], key=lambda row: (row["base"], row["bytes"], row["format"]))
        if row["people"] >= FEWEST
    ]
    people = curve["people"].values()
    kinds = sorted({each["kind"] for each in people})
    return f"""How much lower than the bare base's the perplexity of the end of a person's text is, for {len(people)}
people of {len(kinds)} kinds, none of them in the prior, by how much of their own text there was. What counts is what
answers them: whoever's row the gate held back has the gain of the base alone. {_general(curve["general"])}

| own text | base | format | people | median (95 % interval) | lowest tenth | served; harmed by over 1 % |
|---|---|---|---|---|---|---|
{_lines(rows)}"""


def _general(general: dict[str, Any]) -> str:
    bare, prior = (_perplexity(general[name]) for name in ("smollm2-135m", "smollm2-135m-people"))
    return f"Perplexity of general text (WikiText-2): {bare:.1f} on the bare base, {prior:.1f} on the prior."


def _perplexity(read: dict[str, Any]) -> float:
    return math.exp(sum(read["nats"]) / (read["tokens"] * len(read["nats"])))


def _size(count: int) -> str:
    return f"{count // 1000} KB" if count else "nothing"


def _served(row: dict[str, Any]) -> str:
    if "served" not in row:
        return ""
    return f"{row['served']} of {row['people']}; {row['harmed_by_more_than_1_percent']}"


def _kinds(curve: dict[str, Any]) -> str:
    nothing = {
        person: line for line in curve["lines"] if not line["bytes"] for person in [line["user"]] if "nats" in line
    }
    gains: dict[str, list[float]] = {}
    for person, line in nothing.items():
        bare = curve["people"][person]
        fall = (sum(bare["nats"]) - sum(line["nats"])) / (bare["tokens"] * len(bare["nats"]))
        gains.setdefault(bare["kind"], []).append(1 - math.exp(-fall))
    told = (f"{kind} {statistics.median(each):.0%} ({len(each)})" for kind, each in sorted(gains.items()))
    said = f"With nothing of their own, by kind, the median and how many people: {', '.join(told)}."
    return textwrap.fill(said, 118, break_on_hyphens=False)


def _control(found: dict[str, Any]) -> str:
    told, recipe, shipped = found["summary"], found["recipe"], found["shipped"]
    count, general = told["people"], {name: _perplexity(read) for name, read in found["general"].items()}
    rows = []
    for name, each in told["priors"].items():
        compared = ["", "", ""]
        if name != "people":
            less = _with_interval(each["less_than_people"], each["less_than_people_interval"], ".1%")
            share = _with_interval(each["share"], each["share_interval"], ".0%")
            compared = [less, f"{each['people_better']} of {count}", share]
        gain = _with_interval(each["median"], each["median_interval"], ".1%")
        rows.append(
            f"| {_TRAINED_ON[name]} | {gain} | {each['p10']:.1%} | {' | '.join(compared)} | {general[name]:.1f} |"
        )
    tokens, most = (each["people"] * each["windows"] * each["window"] for each in (recipe, shipped))
    tokens, most = tokens * found["steps"], most * shipped["steps"]
    bare = found["general"]["bare"]
    texts, windows = found["texts"]["general"]["texts"], len(bare["nats"])
    said = f"""How much of that is people, and how much a chat model's return to plain text? {count} of these people,
with nothing of their own, under priors by the shipped one's recipe after {found["steps"]} of {recipe["steps"]} steps
that each read a window of {recipe["people"]} of {texts} texts, in place of {shipped["steps"]} steps and
{shipped["people"]} texts: {tokens:,} tokens in place of {most:,}, and nobody is met twice. That is far from what
ships, and these priors compare with one another alone. Read are 2 windows of everybody's and {windows} of general
text ({general["bare"]:.1f} on the bare base), which is other articles of WikiText-2 than the second was trained on,
with its spaces around signs. What the bare base made of them is the curve's, of another machine: on somebody's windows
that were read again here it differs by up to {found["bare_differs_by"]:.1f} nats in {bare["tokens"]} tokens."""
    return f"""{textwrap.fill(said, 118, break_on_hyphens=False)}

| trained on | gain (95 % interval) | lowest tenth | less than the first | gain less | share of it | general text |
|---|---|---|---|---|---|---|
{_lines(rows)}"""


def _others(found: dict[str, Any]) -> str:
    told, recipe = found["summary"], found["recipe"]
    rows = []
    for part, by in told["parts"].items():
        for name, each in by.items():
            more = "" if name == "own" else _told(each["own_brings_more"])
            better = "" if name == "own" else f"{each['own_better']} of {told['people']}"
            whose = f"{_WHOSE[name]}, {float(part):.0%} of it"
            rows.append(
                f"| {whose} | {_told(each['gain'])} | {each['better_than_nothing']} of {told['people']} | {more} |"
                f" {better} |"
            )
    said = f"""Is that a person's own? {told["people"]} people of {told["kinds"]} kinds, on the prior: rows of
{_size(found["bytes"])} each after {recipe["steps"]} steps, by which nobody had chosen how far to go, nor any gate
looked. How much lower than with no row the perplexity of their held-out text is."""
    return f"""{textwrap.fill(said, 118, break_on_hyphens=False)}

| read by | gain (95 % interval) | better than nothing | their own brings more | does so for |
|---|---|---|---|---|
{_lines(rows)}"""


_WHOSE = {"own": "their own row", "kin": "one of their kind", "stranger": "one of another kind"}


def _told(found: dict[str, Any]) -> str:
    return _with_interval(found["median"], found["interval"], ".1%")


_TRAINED_ON = {
    "people": "people's texts",
    "general": "articles of WikiText-2",
    "shuffled": "people's texts, the words of each shuffled",
}


def _with_interval(number: float, interval: list[float] | None, form: str) -> str:
    return f"{number:{form}}" + (f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else "")


def _sweep(sweep: dict[str, Any]) -> str:
    rows = []
    for each in sorted(sweep["variants"], key=lambda each: (each["tokens"], each["optimiser"], each["format"])):
        best = [max(gain for _, gain in gains) for gains in each["gains"].values()]
        last = [gains[-1][1] for gains in each["gains"].values()]
        rows.append(
            f"| {each['tokens']:,} | {each['optimiser']} | {each['format']} | {each['learning_rate']:g} |"
            f" {each['numbers']:,} | {statistics.mean(best):.1%} | {statistics.mean(last):.1%} | {min(last):.1%} |"
        )
    return f"""Formats, optimisers and rates, by validation text of the sample users, from so many tokens of theirs,
1,000 in 32 steps and 8,000 in 64. How much lower than the prior's perplexity is, at each person's best check and at
the last one:

| tokens | optimiser | format | rate | numbers | mean, best | mean, last | worst, last |
|---|---|---|---|---|---|---|---|
{_lines(rows)}"""


def _time(found: dict[str, Any]) -> str:
    people = found["summary"]["users"]
    rows = []
    for user, each in people.items():
        told = [each["goal"], *(each["gains"][str(step)] for step in _TOLD), each["end"]]
        rows.append(f"| {user} | {' | '.join(f'{gain:.1%}' for gain in told)} | {_reached(each)} |")
    steps = " | ".join(f"{step} steps" for step in _TOLD)
    checks = ", ".join(f"{each['most_of_its_gain']} ({user})" for user, each in people.items())
    return f"""How many steps of 256 tokens a `norm+bank` row on the prior takes by the default recipe until it reads
held-out text as well as AdamW's norm row on the bare base does after its 200. Gains are over the bare base, on every
other window of those in the README. Of what the default recipe gains on their validation text, in up to 256 steps,
95 % was there at its check after {checks}.

| | the row on the bare base | {steps} | at its end | as good after |
|---|---|{"---|" * len(_TOLD)}---|---|
{_lines(rows)}"""


_TOLD = (0, 16, 32, 64)


def _reached(found: dict[str, Any]) -> str:
    if found["reaches"] is None:
        return "not reached"
    return f"{found['reaches']} steps, {found['share_of_time']:.0%} of the time"


def _membership(found: dict[str, Any]) -> str:
    prior, adapter = found["prior"], found["adapter"]
    return f"""Who is in it: by how much better {prior["members"]} contributors read under the prior than under the bare
base, against {prior["others"]} others of the same kinds, {_area(prior)} of the contributors are found where 5 % of the
others are taken for some. What an adapter was trained on, the {adapter["user"]}'s: {_area(adapter)}. The area is 0.5
where nothing can be told."""


def _area(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return (
        f"the area under the curve is {found['area']:.2f} ({low:.2f} to {high:.2f}), and"
        f" {found['found_at_5_percent_false']:.0%}"
    )


def _lines(rows: list[str]) -> str:
    return "\n".join(rows)


def _load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found
