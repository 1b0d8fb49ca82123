"""The figures of `docs/speed.md`: from `benchmarks.serving_peers`, `trace`, `kernels`, `compiled`, `huge_pages`
and `speculation`."""

import json
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.int8_summary import int8_figures, int8_speed, texts_cost
from benchmarks.processors import IN_FLOAT32, RESULTS
from benchmarks.serving_summary import serving_figures
from benchmarks.training_summary import training_figures


def speed_figures() -> str:
    """Markdown of what peers reach beside the engine, and of where the time of a pass and of a training step goes."""
    peers, trace, kernels, compiled, pages, speculation = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("serving_peers", "trace", "kernels", "compiled", "huge_pages", "speculation")
    )
    products, alone = _products(kernels["products"]), _alone(kernels["alone"])
    passes = [_peers(peers), _trace(trace), _compiled(compiled), _pages(pages), products, alone, int8_figures()]
    return "\n" + "\n\n".join([*passes, _speculation(speculation), *_in_float32(), training_figures()])


def _in_float32() -> Iterator[str]:
    """The same of a processor on which the base is in float32, as far as it was measured."""
    paths = {path.stem: path for path in IN_FLOAT32.glob("*.json")}
    found = {name: json.loads(path.read_text()) for name, path in paths.items()}
    if "compiled" in found:
        yield _products_beside(found["compiled"])
        if "grids" in found["compiled"]:
            yield _on_grids(found["compiled"]["grids"])
    if "serving_peers" in found:
        yield _peers(found["serving_peers"], "Beside peers there")
    if "arrivals" in found:
        yield _arrivals(found["arrivals"])
    if "trace" in found:
        yield _trace(found["trace"], "float32")
    if "kernels" in found:
        yield _products(found["kernels"]["products"]) + _runs(found["kernels"])
    if "serving" in found:
        yield f"32 users there, prompts of 64 tokens, 64 new ones, greedy:\n\n{serving_figures(found['serving'])}"
    if "speculation" in found:
        yield f"What a pass of several tokens costs there:\n\n{_costs(found['speculation']['costs'])}"
    if "int8_weights" in found:
        yield int8_speed(found["int8_weights"], "float32")
        if found["int8_weights"]["losses"]:
            yield texts_cost(found["int8_weights"])


def _runs(kernels: dict[str, Any]) -> str:
    if "from_two_runs" not in kernels:
        return ""
    return "\n\nOurs and torch's in float32 are of a run of their own: compare them with one another."


def _products_beside(compiled: dict[str, Any]) -> str:
    environment, rows = compiled["environment"], []
    for people, each in compiled["people"].items():
        summary, kind = each["summary"], "torch's products"
        ways = [f"{summary[f'{way}_ms']:.1f}" for way in ("torch", kind, "compiled")]
        ways.append(f"{summary['parts_ms']['compiled']['products']:.1f}")
        times = map(_times, (summary, summary["beside"][kind]))
        rows.append(f"| {people} | {' | '.join([*ways, *times])} |")
    body = "\n".join(rows)
    cpu, torch = environment["cpu"], environment["packages"]["torch"]
    return f"""**On a processor that multiplies no bfloat16** a base is in float32. {cpu}, torch {torch}.
Products of ours beside torch's, and beside a pass without any kernel of ours: passes in turns, in one process on one
thread; the load of the machine beside them {compiled["others"]:.0f}.

| people | ms a pass, by torch | by other kernels | by all | of it products | times as fast as by torch | as by others |
|---|---|---|---|---|---|---|
{body}"""


def _times(found: dict[str, Any]) -> str:
    return f"{found['times_as_fast']:.2f} ({found['interval'][0]:.2f} to {found['interval'][1]:.2f})"


def _on_grids(grids: dict[str, Any]) -> str:
    rows = []
    for base, counts in grids.items():
        for people, each in counts.items():
            found = each["summary"]
            rows.append(
                f"| {base} | {people} | {found['float32_ms']:.1f} | {found['grids_ms']:.1f} | {_times(found)} |"
            )
    body = "\n".join(rows)
    return f"""Weights as their quantised file has them beside the same numbers in float32, likewise:

| base | people | ms a pass, float32 | on grids | times as fast |
|---|---|---|---|---|
{body}"""


def _peers(peers: dict[str, Any], where: str = "Beside peers") -> str:
    environment, turns = peers["environment"], peers["turns"]
    others = [each["others"] for each in turns]
    rounds = 1 + max(each["round"] for each in turns)
    seconds = "seconds of the wall" if environment["threads"] > 1 else "seconds in which the process computed"
    tables = "\n\n".join(_load(load, found) for load, found in peers["summary"].items())
    load = f"{min(others):.0f} to {max(others):.0f}"
    return f"""**{where}.** {environment["cpu"]}, {", ".join(environment["peers"])}.
Threads of each: {environment["threads"]}; {seconds}; rounds: {rounds}; the load of the machine beside them: {load}.

{tables}"""


def _load(load: str, found: dict[str, Any]) -> str:
    rows = []
    for name, each in found.items():
        first, between = ([f"{value:,.0f}" for value in each[kind].values()] for kind in _KINDS)
        ahead = ", ".join(f"{ratio:.2f} × {peer}" for peer, ratio in each.get("times", {}).items())
        rows.append(
            f"| {name} | {each['tokens_per_second']:,.1f} | {' / '.join(first)} | {' / '.join(between)} | {ahead} |"
        )
    body = "\n".join(rows)
    head = "new tokens a second | first token, ms: p50 / p95 / p99 | between tokens, ms | ours in the same round"
    return f"""| {load} | {head} |
|---|---|---|---|---|
{body}"""


_KINDS = ("first_token_ms", "between_tokens_ms")


def _arrivals(found: dict[str, Any]) -> str:
    rows = [
        f"| {load} | {figure} | {before:,.2f} | {now:,.2f} | {ratio:.2f} |"
        for load, figures in found["summary"].items()
        for figure, (before, now, ratio) in figures.items()
    ]
    rounds, others = 1 + found["pairs"][-1]["round"], statistics.median(pair["others"] for pair in found["pairs"])
    body, before = "\n".join(rows), found["versions"]["before"][:8]
    return f"""**What prompts cost those who draw beside them**, there, in commit {before} and now. A row each, one
thread, seconds in which it computed, medians of {rounds} rounds; the load of the machine beside it {others:.0f}.

| load | | before | now | now / before |
|---|---|---|---|---|
{body}"""


def _trace(trace: dict[str, Any], dtype: str = "bfloat16") -> str:
    summary = trace["summary"]
    parts = list(next(iter(summary.values()))["shares"])
    rows = "\n".join(_pass(name, each) for name, each in summary.items())
    return f"""**Where a pass's time goes.** One thread, seconds in which it computed; the load of the machine beside it
{trace["others"]:.0f}. Of memory is the share of the rate at which the machine reads it that weights are read at; of
products that of its own {dtype} rate for large matrices. Both are of the whole pass, and of its products alone.

| | ms a pass | {" | ".join(parts)} | of memory | of products |
|---|---|{"---|" * len(parts)}---|---|
{rows}"""


def _pass(name: str, found: dict[str, Any]) -> str:
    shares = [f"{share:.0%}" for share in found["shares"].values()]
    limits = [f"{found[kind]:.0%}, {found[f'{kind}_alone']:.0%}" for kind in ("bandwidth", "products")]
    return f"| {name} | {found['pass_ms']:.1f} | {' | '.join([*shares, *limits])} |"


def _pages(pages: dict[str, Any]) -> str:
    def times(people: str, way: str) -> str:
        found = pages["summary"][people][way]
        return f"{found['times_as_fast']:.2f} ({found['least']:.2f} to {found['most']:.2f})"

    rows = "\n".join(
        f"| {people} | {times(people, 'moved')} | {times(people, 'left')} |" for people in pages["summary"]
    )
    processes = len(pages["runs"]["1"]["moved"])
    return f"""**Memory in pages of 2 MiB.** How many times as fast a process's passes are after it was moved there, and
as a control after it was left where it was; the median of {processes} processes on one thread, the least and the most.

| people | moved | left |
|---|---|---|
{rows}"""


def _products(measured: list[dict[str, Any]]) -> str:
    shapes = dict.fromkeys((each["in"], each["out"]) for each in measured)
    tables = "\n\n".join(
        _ways(f"{into:,} × {out:,}", [each for each in measured if (each["in"], each["out"]) == (into, out)])
        for into, out in shapes
    )
    return f"""**Ways to multiply.** Microseconds of a product of so many tokens, in × out, on one thread.

{tables}"""


def _ways(shape: str, measured: list[dict[str, Any]]) -> str:
    ways = dict.fromkeys(way for each in measured for way in each["microseconds"])
    rows = "\n".join(
        f"| {way} | "
        + " | ".join(f"{each['microseconds'][way]:,.0f}" if way in each["microseconds"] else "" for each in measured)
        + " |"
        for way in ways
    )
    return f"""| {shape} | {" | ".join(f"{each['tokens']}" for each in measured)} |
|---|{"---|" * len(measured)}
{rows}"""


def _alone(alone: dict[str, Any]) -> str:
    summary = alone["summary"]
    low, high = summary["interval"]
    times, pairs = f"{summary['times_as_fast']:.2f} times as fast", len(alone["fused"])
    return f"""**Attention of one token alone.** Fused instead of in plain products, a pass of one stream of a person is
{times} ({low:.2f} to {high:.2f}; the median of {pairs} pairs of passes)."""


def _compiled(compiled: dict[str, Any]) -> str:
    rows = "\n".join(_beside(people, each) for people, each in compiled["people"].items())
    return f"""**Compiled kernels beside torch's operations.** Passes in turns, in one process on one thread; the load
of the machine beside them {compiled["others"]:.0f}.

| people | ms a pass, of it attention, before | with kernels | times as fast |
|---|---|---|---|
{rows}"""


def _beside(people: str, found: dict[str, Any]) -> str:
    summary = found["summary"]
    ms = {
        way: f"{summary[f'{way}_ms']:.1f}, {summary['parts_ms'][way]['attention']:.1f}" for way in ("torch", "compiled")
    }
    low, high = summary["interval"]
    ratio = f"{summary['times_as_fast']:.2f} ({low:.2f} to {high:.2f})"
    return f"| {people} | {ms['torch']} | {ms['compiled']} | {ratio} |"


def _speculation(found: dict[str, Any]) -> str:
    choice = "\n".join(
        f"| {length} | {most} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |"
        for (length, most), ratios in _choices(found["choice"]).items()
    )
    kinds = list(dict.fromkeys((each["task"], each["sampling"]) for each in found["choice"]))
    answers = "\n".join(_answered(each) for each in found["summary"])
    others = [each["others"] for each in found["answers"]]
    load = f"{min(others):.0f} to {max(others):.0f}"
    return f"""**Tokens of the own text, read ahead.** One stream of a person; one thread, seconds in which it
computed; the load of the machine beside it {load}. Times as fast is from the first token to the last: the median over
pairs of answers with and without, its interval, and the least and the most. Same are answers all of whose tokens are.

| task | drawn | times as fast | least, most | tokens a second | proposed | of these drawn | same |
|---|---|---|---|---|---|---|---|
{answers}

What a pass costs beside one in which each stream reads one token:

{_costs(found["costs"])}

By these costs, how many times as fast answers from *validation* text would be, by how many tokens have to be the same
and how many are proposed at most:

| tokens the same | proposed | {" | ".join(f"{task}, {sampling}" for task, sampling in kinds)} |
|---|---|{"---|" * len(kinds)}
{choice}"""


def _costs(costs: list[dict[str, Any]]) -> str:
    rows = "\n".join(
        f"| {each['base']} | {each['streams']} | {each['tokens']} | {1e3 * statistics.median(each['seconds']):.1f} | "
        f"{each['cost']:.2f} ({each['interval'][0]:.2f} to {each['interval'][1]:.2f}) |"
        for each in costs
    )
    return f"""| weights | streams | tokens each | ms | times one token each |
|---|---|---|---|---|
{rows}"""


def _choices(choice: list[dict[str, Any]]) -> dict[tuple[int, int], list[float]]:
    found: dict[tuple[int, int], list[float]] = {}
    for each in choice:
        found.setdefault((each["length"], each["most"]), []).append(each["times_as_fast"])
    return found


def _answered(found: dict[str, Any]) -> str:
    # With fewer than six pairs there is none.
    interval = " ({:.2f} to {:.2f})".format(*found["interval"]) if found["interval"] else ""
    drawn = found["accepted"] / found["proposed"] if found["proposed"] else 0.0
    cells = [
        found["task"],
        found["sampling"],
        f"{found['times_as_fast']:.2f}{interval}",
        f"{found['least']:.2f}, {found['most']:.2f}",
        f"{found['tokens_per_second']:.1f}",
        f"{found['proposed']:,}",
        f"{drawn:.0%}",
        f"{found['same']} of {found['pairs']}",
    ]
    return f"| {' | '.join(cells)} |"
