"""Which figures each bet has."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from experiments.report.ratios import Row, Scale, against_documents, over_base, replications
from experiments.report.results import NOT_RUN, Bet, Run
from sharedllm.reporting import charts
from sharedllm.reporting.charts import Number, Point
from sharedllm.reporting.findings import labels
from sharedllm.reporting.palette import DARK, LIGHT

_LABEL_CHARACTERS = 14
_METHODS = {"norm": "norm-only", "lora_r4": "LoRA-r4", "full": "full"}
_FORMS = {"none": "none", "raw": "raw", "int8": "int8", "int8_gains": "int8 of gains"}
_SIGMAS = ("0.01", "0.03", "0.1", "0.3")
_STEPS = {"at_25_steps/": "25", "at_50_steps/": "50", "": "100", "at_200_steps/": "200"}
HEAT_LIMIT = 0.15
"""The change against the base that takes the strongest colour."""
_CONTROLS = {"general": "general text", "everyone": "everyone"}


@dataclass(frozen=True)
class Chart:
    """A chart for each protocol, side by side."""

    title: str
    caption: str
    drawn: Mapping[str, Markup]
    kind: str = "chart"


@dataclass(frozen=True)
class Shade:
    """One cell of a heat map.

    Attributes:
        perplexity: of the adapter on the text.
        change: how much lower it is than the base's, as a fraction; None for the base itself.
        own: whether it is the user's own adapter.
        light: background in the light theme.
        dark: background in the dark theme.
    """

    perplexity: float
    change: float | None
    own: bool
    light: str
    dark: str


@dataclass(frozen=True)
class Heat:
    """A confusion matrix for each protocol: rows are texts, columns whose adapter reads."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Mapping[str, Mapping[str, Sequence[Shade]]]
    kind: str = "heat"


@dataclass(frozen=True)
class Ratios:
    """Intervals of perplexities as multiples, each row with a cell for each protocol."""

    title: str
    caption: str
    rows: Sequence[Row]
    scale: Scale
    kind: str = "ratios"


Figure = Chart | Heat | Ratios


def figures(bet: Bet) -> list[Figure]:
    """A bet's figures; a protocol that has not been run says so in each."""
    found = _OF_BET.get(bet.number, _gains)(bet)
    compared = against_documents(bet)
    if compared:
        caption = (
            "Perplexity as a multiple of the other's; left of 1 is better. The hollow diamond is the documents' value,"
            " which they give without an interval."
        )
        found.append(Ratios("Against the documents", caption, compared, Scale.of(compared)))
    return found


def _gains(bet: Bet) -> list[Figure]:
    return _ratios(over_base(bet), "Against the base")


def _ratios(rows: Sequence[Row], title: str, what: str = "the base's on the same text") -> list[Figure]:
    caption = (
        f"Perplexity as a multiple of {what}, with its 95% interval; left of 1 is better."
        " A hollow dot: the interval holds 1."
    )
    return [Ratios(title, caption, rows, Scale.of(rows))] if rows else []


def _shootout(bet: Bet) -> list[Figure]:
    own = _charts(bet, "Size against perplexity, own text", lambda run, title: _pareto(run, title, _own_text))
    general = _charts(
        bet, "Size against perplexity, general text", lambda run, title: _pareto(run, title, _general_text)
    )
    caption = (
        "Further down and further left is better. The line at 1 is the base; intervals are paired with it. Each"
        " panel has its own scale."
    )
    return [
        Chart("Size against perplexity on the own text", caption, own),
        Chart("Size against perplexity on general text", caption, general),
        *_gains(bet),
    ]


def _own_text(run: Run, user: str, method: str) -> Number:
    return run.ratio(user, method)


def _general_text(run: Run, user: str, method: str) -> Number:
    return run.ratio("general", f"{method}:{user}")


def _pareto(run: Run, title: str, read: Callable[[Run, str, str], Number]) -> Markup:
    sizes = {method: run.number(f"adapter_bytes/{method}").value for method in _METHODS}
    placed = {method: size for method, size in sizes.items() if math.isfinite(size) and size > 0}
    short = labels(run.users, _LABEL_CHARACTERS)
    return charts.scatter(
        title,
        {short[user]: [Point(size, read(run, user, method)) for method, size in placed.items()] for user in run.users},
        across="bytes of an adapter",
        up="perplexity / base's",
        marks={_METHODS[method]: size for method, size in placed.items()},
    )


def _int8(bet: Bet) -> list[Figure]:
    def drawn(run: Run, title: str) -> Markup:
        short = labels(run.users, _LABEL_CHARACTERS)
        groups = {
            short[user]: {name: run.number(f"ppl/{user}/{form}") for form, name in _FORMS.items()} for user in run.users
        }
        return charts.bars(title, groups, up="perplexity")

    title = "Perplexity without an adapter, with it, and with its int8 forms"
    caption = (
        "Lower is better. Intervals here say how much texts vary from window to window; the paired ones, which compare"
        " forms on the same windows, are below."
    )
    return [Chart(title, caption, _charts(bet, title, drawn)), *_gains(bet)]


def _ensemble(bet: Bet) -> list[Figure]:
    def drawn(run: Run, title: str) -> Markup:
        found = run.notes.get("trace", {})
        saved = {
            name: [_or_nan(b) - _or_nan(a) for a, b in zip(found["base"], found[name], strict=True)]
            for name in ("ensemble", "bayesian")
            if "base" in found and name in found
        }
        sums = {name: list(accumulate(differences)) for name, differences in saved.items()}
        return charts.trace(title, saved.get("ensemble", []), sums)

    title = "Where the ensemble loses, token by token"
    caption = (
        "The unknown user's first hundred predicted tokens. Above, the nats that the uniform mixture saves against the"
        " base: down is lost. Below, the same summed, and the Bayesian mixture that has the base among its members."
    )
    return [Chart(title, caption, _charts(bet, title, drawn)), *_gains(bet)]


def _matrix(bet: Bet) -> list[Figure]:
    users = list(dict.fromkeys(user for run in bet.runs.values() for user in run.users))
    rows = {protocol: {user: _shades(run, user, users) for user in run.users} for protocol, run in bet.runs.items()}
    caption = (
        "Perplexity on held-out text after 100 steps, pooled over seeds; lower is better. Under it, how much lower than"
        " the base's on the same text."
    )
    steps = "The own adapter's margin over the best other, by training steps"
    drawn = _charts(
        bet, steps, lambda run, title: _margins(run, title, [f"{at}margin_vs_best_other/" for at in _STEPS], "steps")
    )
    note = (
        "Above zero the own adapter wins against every other user's on that user's text. Each panel has its own scale."
    )
    return [
        Heat("Whose adapter reads whose text", caption, [*users, *_CONTROLS.values()], rows),
        Chart(steps, note, drawn),
    ]


def _margins(run: Run, title: str, names: Sequence[str], across: str) -> Markup:
    short = labels(run.users, _LABEL_CHARACTERS)
    series = {short[user]: [run.number(name + user) for name in names] for user in run.users}
    places = list(_STEPS.values()) if across == "steps" else _SIGMAS
    return charts.lines(title, series, places=places, across=across, up="margin", form="{:+.0%}")


def _noise(bet: Bet) -> list[Figure]:
    margins = [
        _by_noise(bet, "best_other", "the best other adapter"),
        _by_noise(bet, "mean_of_others", "the mean of the others"),
    ]
    draws = over_base(bet, lambda reader: reader.endswith("/0"))
    return [*margins, *_ratios(draws, "One draw of each noise, against the base")]


def _by_noise(bet: Bet, other: str, words: str) -> Chart:
    title = f"Margin over {words}, by noise on the own adapter"
    names = [f"margin_vs_{other}_at_{sigma}/" for sigma in _SIGMAS]
    drawn = _charts(bet, title, lambda run, title: _margins(run, title, names, "relative noise (sigma)"))
    note = (
        "Where a line falls to zero, noise has cost the user's own adapter its lead. Three draws, pooled. Each"
        " panel has its own scale."
    )
    return Chart(title, note, drawn)


def _replicated(bet: Bet) -> list[Figure]:
    return _ratios(replications(bet), "Norm-only against a full copy", "the full copy's on the same text")


def _none(bet: Bet) -> list[Figure]:
    return []


_OF_BET: dict[str, Callable[[Bet], list[Figure]]] = {
    "18": _none,
    "46": _replicated,
    "49": _shootout,
    "53": _int8,
    "55": _ensemble,
    "61": _matrix,
    "63": _noise,
}


def _charts(bet: Bet, title: str, draw: Callable[[Run, str], Markup]) -> dict[str, Markup]:
    found = {}
    for protocol, run in bet.runs.items():
        named = f"{title}, {protocol} protocol"
        found[protocol] = charts.nothing(named) if run.state == NOT_RUN else draw(run, named)
    return found


def _shades(run: Run, user: str, users: Sequence[str]) -> list[Shade]:
    base = run.number(f"ppl/{user}/base").value
    found = [Shade(base, None, False, LIGHT.shade(0), DARK.shade(0))]
    for author in (*users, *_CONTROLS):
        perplexity = run.number(f"ppl/{user}/{author}").value
        change = 1 - perplexity / base
        # The same colour is the same change in every matrix of the page.
        strength = change / HEAT_LIMIT if math.isfinite(change) else 0.0
        found.append(Shade(perplexity, change, author == user, LIGHT.shade(strength), DARK.shade(strength)))
    return found


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
