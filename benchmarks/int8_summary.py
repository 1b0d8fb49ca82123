"""The figures of weights in int8 in `docs/speed.md`, from the result of `benchmarks.int8_weights`."""

import json
import statistics
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "int8_weights.json"
_READ = ("nothing, plain", "nothing, int8", "own, plain", "own, int8")


def int8_figures() -> str:
    """Markdown of what weights in int8 bring and cost."""
    found: dict[str, Any] = json.loads(RESULT.read_text())
    quality = "\n".join(
        _cost(base, user, each) for base, texts in found["quality"].items() for user, each in texts.items()
    )
    costs, before = (
        [
            each["worse_than_plain"]["estimate"]
            for texts in read.values()
            for text in texts.values()
            for each in text.values()
            if "worse_than_plain" in each
        ]
        for read in (found["quality"], found["as_they_come"])
    )
    return f"""{int8_speed(found, "bfloat16")}
Perplexity over {found["windows"]} windows of {found["window"]} tokens a text, of nothing and under a person's own norm
row, which was trained on plain weights. With every linear layer in int8 and its states as they come, int8 cost
{min(before):.1%} to {max(before):.1%} of these texts; so it costs {min(costs):.1%} to {max(costs):.1%}.

| base | text | plain | int8 | row, plain | row, int8 | int8 costs (with the row) | gain, plain | gain, int8 |
|---|---|---|---|---|---|---|---|---|
{quality}"""


def int8_speed(found: dict[str, Any], dtype: str) -> str:
    """Markdown of how much faster they are than plain ones, which are in some dtype."""
    memory = " and ".join(f"{held / 1e6:,.0f} MB {weights}" for weights, held in found.get("memory", {}).items())
    holds = f" What begins to serve holds {memory}." if memory else ""
    speed = "\n".join(
        _faster(load, weights, each, times)
        for load, each in found["speed"].items()
        for weights, times in (each.get("beside", {}) | {"int8": each["times_as_fast"]}).items()
    )
    others = found["environment"]["others"]
    return f"""**Weights in int8.** The same engine on plain weights ({dtype}) and on int8, in turns; one thread,
seconds in which it computed; the load of the machine beside it {others:.0f}.{holds}

| | weights | pass, plain, ms | pass, ms | times as fast | its products |
|---|---|---|---|---|---|
{speed}
{_beside(found)}"""


def texts_cost(found: dict[str, Any]) -> str:
    """Markdown of what weights that are not plain cost each text that was read under nothing."""
    told = [
        f"{user}, {way.removeprefix('nothing, ')} {_share(each['worse_than_plain'])}"
        for texts in found["quality"].values()
        for user, read in texts.items()
        for way, each in read.items()
        if "worse_than_plain" in each
    ]
    return (
        f"Perplexity over {found['windows']} windows of {found['window']} tokens under nothing is higher than\n"
        f"with plain weights by: {'; '.join(told)}."
    )


def _beside(found: dict[str, Any]) -> str:
    if "peer" not in found:
        return ""
    told = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found["peer"]["times_as_fast"].items() if "ours" in name)
    return f"\nOne stream of the base in turns, times as fast as llama.cpp Q8_0 ({found['peer']['peers']}): {told}.\n"


def _faster(load: str, weights: str, found: dict[str, Any], times: dict[str, Any]) -> str:
    passes = [1e3 * statistics.median(each["pass"] for each in found[way]) for way in ("plain", weights)]
    ratios = [
        f"{each['median']:.2f} ({each['interval'][0]:.2f} to {each['interval'][1]:.2f})" for each in times.values()
    ]
    return f"| {load} | {weights} | {passes[0]:.1f} | {passes[1]:.1f} | {' | '.join(ratios)} |"


def _cost(base: str, user: str, found: dict[str, Any]) -> str:
    rows = [f"{found[name]['perplexity']:.2f}" if name in found else "" for name in _READ]
    last = found["own, int8"] if "own, int8" in found else found["nothing, int8"]
    gains = [_share(found[name]["gain"]) if name in found else "" for name in ("own, plain", "own, int8")]
    return f"| {base} | {user} | {' | '.join([*rows, _share(last['worse_than_plain']), *gains])} |"


def _share(interval: dict[str, float]) -> str:
    return f"{interval['estimate']:.1%} ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"
