"""The figures that a bet states, drawn from what was measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from markupsafe import Markup

from experiments.catalogue import figures as declared
from experiments.catalogue.bet import all_bets
from experiments.report.bet_results import NOT_RUN, SUMMARY, TO_ROLL_UP, BetResults, Run
from experiments.report.ratios import RatioAxis, RatioRow, compared, over_base
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.intervals import CONFIDENCE
from sharedllm.reporting import charts
from sharedllm.reporting.charts import Point
from sharedllm.reporting.findings import labels
from sharedllm.reporting.palette import DARK, LIGHT

_LABEL_CHARACTERS = 14
HEAT_LIMIT = 0.15
"""The change against the base that takes the strongest colour."""


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
    rows: Sequence[RatioRow]
    scale: RatioAxis
    kind: str = "ratios"


Drawing = Chart | Heat | Ratios


def figures(bet: BetResults) -> list[Drawing]:
    """What a bet states that it shows; a protocol that has not been run says so in each.

    Raises:
        InvalidInput: the bet states something else than when its summary was made.
    """
    stated = all_bets().get(bet.number)
    if stated is None or stated.criteria_sha256 != bet.criteria_sha256:
        raise InvalidInput(f"{SUMMARY} is not of {bet.name} as it is", remedy=f"Make it again: {TO_ROLL_UP}")
    return [figure for each in stated.figures if (figure := _figure(bet, each)) is not None]


def _figure(bet: BetResults, stated: declared.Figure) -> Drawing | None:
    match stated:
        case declared.AgainstBase():
            return _ratios(stated.title, "the base's on the same text", over_base(bet, stated.ending))
        case declared.Multiples():
            return _ratios(stated.title, stated.of, compared(bet, stated))
        case declared.Matrix():
            return _heat(bet, stated)
        case declared.Sizes():
            draw: Callable[[Run, str], Markup] = partial(_sizes, stated)
        case declared.Bars():
            draw = partial(_bars, stated)
        case declared.Lines():
            draw = partial(_lines, stated)
        case declared.Trace():
            draw = partial(_trace, stated)
    return Chart(stated.title, stated.caption, _charts(bet, stated.title, draw))


def _ratios(title: str, of: str, rows: Sequence[RatioRow]) -> Ratios | None:
    if not rows:
        return None
    caption = (
        f"Perplexity as a multiple of {of}, with its {CONFIDENCE:.0%} interval; left of 1 is better."
        " A hollow dot: the interval holds 1."
    )
    if any(row.document is not None for row in rows):
        caption += " The hollow diamond is the documents' value, which they give without an interval."
    return Ratios(title, caption, rows, RatioAxis.of(rows))


def _sizes(stated: declared.Sizes, run: Run, title: str) -> Markup:
    sizes = {method: run.number(f"adapter_bytes/{method}").value for method, _ in stated.methods}
    placed = {method: size for method, size in sizes.items() if math.isfinite(size) and size > 0}

    def points(user: str) -> list[Point]:
        named = {method: stated.reader.format(method=method, user=user) for method in placed}
        text = stated.text.format(user=user)
        return [Point(size, run.ratio(text, named[method])) for method, size in placed.items()]

    return charts.scatter(
        title,
        {label: points(user) for user, label in labels(run.users, _LABEL_CHARACTERS).items()},
        across="bytes of an adapter",
        up="perplexity / base's",
        marks={name: placed[method] for method, name in stated.methods if method in placed},
    )


def _bars(stated: declared.Bars, run: Run, title: str) -> Markup:
    groups = {
        label: {name: run.number(stated.measurement.format(user=user, form=form)) for form, name in stated.forms}
        for user, label in labels(run.users, _LABEL_CHARACTERS).items()
    }
    return charts.bars(title, groups, up=stated.up)


def _lines(stated: declared.Lines, run: Run, title: str) -> Markup:
    series = {
        label: [run.number(stated.measurement.format(user=user, place=place)) for place, _ in stated.places]
        for user, label in labels(run.users, _LABEL_CHARACTERS).items()
    }
    places = [name for _, name in stated.places]
    return charts.lines(title, series, places=places, across=stated.across, up=stated.up, form="{:+.0%}")


def _trace(stated: declared.Trace, run: Run, title: str) -> Markup:
    found = run.notes.get(stated.note, {})
    saved = {
        name: [_or_nan(b) - _or_nan(a) for a, b in zip(found["base"], found[name], strict=True)]
        for name in stated.readers
        if "base" in found and name in found
    }
    sums = {name: list(accumulate(differences)) for name, differences in saved.items()}
    return charts.trace(title, saved.get(stated.readers[0], []), sums)


def _heat(bet: BetResults, stated: declared.Matrix) -> Heat:
    users = list(dict.fromkeys(user for run in bet.runs.values() for user in run.users))
    controls = [author for author, _ in stated.controls]
    rows = {
        protocol: {user: _shades(run, user, [*users, *controls]) for user in run.users}
        for protocol, run in bet.runs.items()
    }
    return Heat(stated.title, stated.caption, [*users, *(name for _, name in stated.controls)], rows)


def _charts(bet: BetResults, title: str, draw: Callable[[Run, str], Markup]) -> dict[str, Markup]:
    found = {}
    for protocol, run in bet.runs.items():
        named = f"{title}, {protocol} protocol"
        found[protocol] = charts.nothing(named) if run.state == NOT_RUN else draw(run, named)
    return found


def _shades(run: Run, user: str, authors: Sequence[str]) -> list[Shade]:
    base = run.number(f"ppl/{user}/base").value
    found = [Shade(base, None, False, LIGHT.shade(0), DARK.shade(0))]
    for author in authors:
        perplexity = run.number(f"ppl/{user}/{author}").value
        change = 1 - perplexity / base
        # The same colour is the same change in every matrix of the page.
        strength = change / HEAT_LIMIT if math.isfinite(change) else 0.0
        found.append(Shade(perplexity, change, author == user, LIGHT.shade(strength), DARK.shade(strength)))
    return found


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
