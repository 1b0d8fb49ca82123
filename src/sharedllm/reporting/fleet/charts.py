"""Charts of a fleet's report: everybody a mark, in the colour and the shape of their kind, hollow if held back.

Each takes the people, and a short name for every kind.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sharedllm.evaluation.intervals import Interval
from sharedllm.printable import printable
from sharedllm.reporting.charts import (
    LEFT,
    RIGHT,
    WIDTH,
    Axis,
    legend,
    legend_height,
    line,
    mark,
    padded,
    picture,
    rule,
    up_axis,
    words,
)
from sharedllm.reporting.findings import percent
from sharedllm.reporting.fleet.findings import MeasuredPerson

_LOWEST = -0.5
"""On a broken adapter's scale nobody else could be seen; whatever is lower is drawn here."""

_TALL = 210
_LETTER = 6.5
_PERCENT = "{:+.0%}"


@dataclass(frozen=True)
class _Spot:
    person: MeasuredPerson
    x: float
    y: float
    interval: Interval | None = None


def ranked(people: Sequence[MeasuredPerson], kinds: Mapping[str, str]) -> Markup:
    """Everybody's improvement with its interval, from the greatest to the least."""
    spots = [_Spot(each, place, each.gain.estimate, each.gain) for place, each in enumerate(people)]
    ends = [end for each in people for end in (each.gain.low, each.gain.high)]
    told = ", ".join(percent(each.gain.estimate) for each in people)
    return _Cloud(
        title="Everybody's improvement on held-out text",
        told=f"From the greatest to the least: {told}.",
        kinds=kinds,
        across="people, by their improvement",
        x=(-1.0, float(len(people))),
        up="lower perplexity",
        y=_gains(ends),
    ).draw(spots)


def growth(people: Sequence[MeasuredPerson], kinds: Mapping[str, str]) -> Markup:
    """Everybody's improvement over the size of their text."""
    spots = [_Spot(each, each.text_bytes, each.gain.estimate) for each in people]
    told = ", ".join(f"{size_text(each.text_bytes)}: {percent(each.gain.estimate)}" for each in people)
    return _Cloud(
        title="Improvement over the amount of text",
        told=f"{told}.",
        kinds=kinds,
        across="text, on a logarithmic scale",
        x=padded([each.text_bytes for each in people], 1.15, logarithmic=True),
        up="lower perplexity",
        y=_gains([each.gain.estimate for each in people]),
        sizes=True,
    ).draw(spots)


def control(
    title: str, people: Sequence[MeasuredPerson], kinds: Mapping[str, str], by: Callable[[MeasuredPerson], Interval]
) -> Markup:
    """What a control's adapter brings everybody over what their own does; on the line it is the same."""
    spots = [_Spot(each, each.gain.estimate, by(each).estimate) for each in people]
    ends = _gains([end for spot in spots for end in (spot.x, spot.y)])
    told = ", ".join(f"own {percent(spot.x)}, this one {percent(spot.y)}" for spot in spots)
    return _Cloud(
        title=title,
        told=f"{told}.",
        kinds=kinds,
        across="with one's own adapter",
        x=ends,
        up="with this one",
        y=ends,
        form=_PERCENT,
        diagonal=True,
    ).draw(spots)


def plane(people: Sequence[MeasuredPerson], kinds: Mapping[str, str], variance: tuple[float, float]) -> Markup:
    """The map of the fleet, with the same scale in both directions."""
    spots = [_Spot(each, *each.place) for each in people]
    reach = max([1e-9, *(abs(value) for each in people for value in each.place)]) * 1.08
    near = ", ".join(f"{printable(each.user)} is nearest to {printable(each.nearest)}" for each in people)
    return _Cloud(
        title="A map of the fleet",
        told=f"{near}.",
        kinds=kinds,
        across=f"{variance[0]:.0%} of the variance across, {variance[1]:.0%} up",
        x=(-reach, reach),
        up="",
        y=(-reach, reach),
        square=True,
    ).draw(spots)


def size_text(size: float) -> str:
    """A number of bytes as a person reads it."""
    if size < 1e3:
        return f"{size:.0f} bytes"
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} KB"


@dataclass(frozen=True)
class _Cloud:
    """One chart of people: what it says, its two axes, and how those are marked."""

    title: str
    told: str
    kinds: Mapping[str, str]
    across: str
    x: tuple[float, float]
    up: str
    y: tuple[float, float]
    form: str = ""
    sizes: bool = False
    diagonal: bool = False
    square: bool = False

    def draw(self, spots: Sequence[_Spot]) -> Markup:
        top = legend_height(self.kinds.values())
        series = {kind: number for number, kind in enumerate(self.kinds)}
        # A map without names on its vertical axis needs no room for them.
        left = 2 * RIGHT if self.square else LEFT
        tall = WIDTH - RIGHT - left if self.square else _TALL
        height = top + 6 + tall + (34 if self.sizes or self.form else 18)
        x = Axis(*self.x, left, WIDTH - RIGHT, self.sizes)
        y = Axis(*self.y, top + 6 + tall, top + 6)
        parts = [*legend(self.kinds.values()), *self._frame(x, y)]
        parts.append(words((x.begin + x.end) / 2, height - 4, self.across))
        for spot in spots:
            if spot.interval is not None:
                kind = f"interval thin s{series[spot.person.kind]}"
                parts.append(line(kind, x.at(spot.x), y.at(spot.interval.low), x.at(spot.x), y.at(spot.interval.high)))
        parts += [_person(spot, series[spot.person.kind], x, y) for spot in spots]
        return picture(self.title, self.told, height, parts)

    def _frame(self, x: Axis, y: Axis) -> Iterable[Markup]:
        if self.square:
            yield line("grid", x.at(0), y.begin, x.at(0), y.end)
            yield line("grid", x.begin, y.at(0), x.end, y.at(0))
            return
        yield from up_axis(y, self.up, _PERCENT)
        yield rule(y.at(0), "zero")
        ticks = _sizes(x) if self.sizes else x.ticks() if self.form else []
        for tick in ticks:
            yield line("grid", x.at(tick), y.begin, x.at(tick), y.end)
            text = size_text(tick) if self.sizes else self.form.format(tick).replace("-", "−") if tick else "0"
            # A mark at the right end must not reach out of the chart with its name.
            yield words(min(x.at(tick), WIDTH - _LETTER * len(text) / 2), y.begin + 14, text)
        if self.diagonal:
            yield line("diagonal", x.begin, y.begin, x.end, y.end)


def _person(spot: _Spot, series: int, x: Axis, y: Axis) -> Markup:
    kind = "person" if spot.person.gate.passed else "person hollow"
    said = f"{printable(spot.person.user)}: {percent(spot.person.gain.estimate)}"
    shape = '<g class="{}" transform="translate({:.1f} {:.1f}) scale(0.62)"><title>{}</title>{}</g>'
    return Markup(shape).format(kind, x.at(spot.x), y.at(spot.y), said, mark(series, 0, 0))


def _gains(values: Iterable[float]) -> tuple[float, float]:
    """Wide enough for every improvement and for zero."""
    low, high = padded([0.0, 0.02, *values], 0.05)
    return max(low, _LOWEST), high


def _sizes(axis: Axis) -> list[float]:
    """Round sizes on a logarithmic axis, as many as there is room for."""
    steps = [10.0**power * times for power in range(int(math.log10(axis.low)), 12) for times in (1, 2, 5)]
    inside = [step for step in steps if axis.low <= step <= axis.high]
    return inside[:: 1 + len(inside) // 7]
