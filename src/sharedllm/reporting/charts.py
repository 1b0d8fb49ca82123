"""Charts of the reports as inline SVG: drawn at a phone's width, so that they only ever grow.

Colours are classes, which the page's style gives for both themes; whatever a colour tells, a shape or a dash tells too.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from sharedllm.reporting.findings import NO_DATA
from sharedllm.reporting.palette import PICTURE

WIDTH = 340
_STYLE = Path(__file__).with_name("charts.css")
LEFT, RIGHT, _TOP = 54, 12, 10
_LETTER = 6.5
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
SERIES = len(_DASHES)


@dataclass(frozen=True)
class Number:
    """A measurement and its interval; NaN where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is a number at all."""
        return math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval, too."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def rest(self) -> "Number":
        """What is left of 1: an improvement ``1 - a / b`` as the ratio ``a / b``."""
        return Number(1 - self.value, 1 - self.high, 1 - self.low)


@dataclass(frozen=True)
class Axis:
    """One axis: a range of values over a range of pixels.

    Attributes:
        low: value at the beginning.
        high: value at the end.
        begin: pixel of the beginning.
        end: pixel of the end.
        logarithmic: whether equal steps are equal factors.
    """

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; what lies beyond an end is put there."""
        inside = min(max(value, self.low), self.high)
        if self.logarithmic:
            part = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            part = (inside - self.low) / (self.high - self.low)
        return self.begin + part * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """A few round values; powers of ten on a long logarithmic axis."""
        if self.logarithmic and self.high / self.low > 100:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**power for power in powers][:: 1 + len(powers) // 7]
        span = self.high - self.low
        size = 10.0 ** math.floor(math.log10(span / 4))
        step = next(size * times for times in (1, 2, 5, 10) if span / (size * times) <= 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * count for count in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Point:
    """A measurement at a place on the horizontal axis."""

    x: float
    y: Number


def picture(title: str, description: str, height: float, parts: Iterable[Markup]) -> Markup:
    """A chart that names and describes itself."""
    head = Markup('<svg class="chart" role="img" viewBox="0 0 {} {:.0f}"><title>{}</title><desc>{}</desc>')
    return head.format(WIDTH, height, title, description) + Markup("").join(parts) + Markup("</svg>")


def alone(drawn: Markup) -> str:
    """A chart as a file of its own, in colours that read on white and on black."""
    style = f"svg {{ {PICTURE.css} font-family: system-ui, sans-serif; }}\n{_STYLE.read_text(encoding='utf-8')}"
    head, _, rest = str(drawn).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>\n{style}</style>{rest}\n'


def nothing(title: str) -> Markup:
    """A chart that has no data says so in its place."""
    box = Markup('<rect class="empty" x="0.5" y="0.5" width="{}" height="79" rx="4"/>').format(WIDTH - 1)
    return picture(f"{title}: {NO_DATA}", f"There is {NO_DATA}.", 80, [box, words(WIDTH / 2, 44, NO_DATA)])


def scatter(
    title: str, series: Mapping[str, Sequence[Point]], *, across: str, up: str, marks: Mapping[str, float]
) -> Markup:
    """Points with intervals on two logarithmic axes, one shape a series; ``marks`` names places below."""
    known = [point for points in series.values() for point in points if point.y.known]
    if not known:
        return nothing(title)
    top = legend_height(series)
    height = top + 210
    x = Axis(*padded([point.x for point in known], 2.5, logarithmic=True), LEFT, WIDTH - RIGHT, True)
    y = Axis(*padded(_ends(known, 1.0), 1.03, logarithmic=True), height - 46, top + 6, True)
    parts = [*legend(series), *up_axis(y, up, "{:.3g}×"), rule(y.at(1), "zero")]
    for name, place in marks.items():
        parts.append(words(x.at(place), height - 30, name))
        parts.append(words(x.at(place), height - 17, f"{place:,.0f}" if place < 1e6 else f"{place / 1e6:,.1f} M"))
    parts.append(words((LEFT + WIDTH) / 2, height - 3, across))
    for index, points in enumerate(series.values()):
        # Points of one place are set apart, or their intervals would hide one another.
        aside = 11 * (index - (len(series) - 1) / 2)
        for point in points:
            parts.append(_dot(index, x.at(point.x) + aside, y, point.y))
    return picture(title, _told(series, "{:.3f} times"), height, parts)


def lines(
    title: str, series: Mapping[str, Sequence[Number]], *, places: Sequence[str], across: str, up: str, form: str
) -> Markup:
    """A line with intervals for each series over named places."""
    points = {name: [Point(place, each) for place, each in enumerate(each_of)] for name, each_of in series.items()}
    known = [point for each_of in points.values() for point in each_of if point.y.known]
    if not known:
        return nothing(title)
    top = legend_height(series)
    height = top + 190
    x = Axis(-0.3, len(places) - 0.7, LEFT, WIDTH - RIGHT)
    y = Axis(*padded(_ends(known, 0.0), 0.06), height - 34, top + 6)
    parts = [*legend(series), *up_axis(y, up, form), rule(y.at(0), "zero")]
    parts += [words(x.at(place), height - 20, name) for place, name in enumerate(places)]
    parts.append(words((LEFT + WIDTH) / 2, height - 4, across))
    for index, each_of in enumerate(points.values()):
        aside = 5 * (index - (len(points) - 1) / 2)
        found = [point for point in each_of if point.y.known]
        parts.append(path(index, [(x.at(point.x) + aside, y.at(point.y.value)) for point in found]))
        parts += [_dot(index, x.at(point.x) + aside, y, point.y) for point in found]
    return picture(title, _told(points, form), height, parts)


def bars(title: str, groups: Mapping[str, Mapping[str, Number]], *, up: str) -> Markup:
    """A bar from zero with its interval for each member of each group; a missing one says so."""
    known = [Point(0, each) for group in groups.values() for each in group.values() if each.known]
    if not known:
        return nothing(title)
    members = list(next(iter(groups.values())))
    top = legend_height(members)
    height = top + 180
    y = Axis(0, max(_ends(known, 0.0)) * 1.12, height - 22, top + 6)
    slot = (WIDTH - LEFT - RIGHT) / len(groups)
    wide = slot * 0.8 / len(members)
    parts = [*legend(members, filled=True), *up_axis(y, up, "{:,.4g}")]
    for place, (name, group) in enumerate(groups.items()):
        begin = LEFT + slot * (place + 0.1)
        parts.append(words(begin + slot * 0.4, height - 7, name))
        for index, each in enumerate(group.values()):
            left = begin + index * wide
            middle = left + wide / 2
            if not each.known:
                turned = Markup('<text class="gap" transform="translate({:.1f} {:.1f}) rotate(-90)">{}</text>')
                parts.append(turned.format(middle + 4, y.begin - 4, NO_DATA))
                continue
            high = y.at(each.value)
            shape = '<rect class="fill b{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            parts.append(Markup(shape).format(index % SERIES, left + 1, high, wide - 2, y.begin - high))
            if each.bounded:
                parts.append(line("whisker", middle, y.at(each.low), middle, y.at(each.high)))
    told = {name: [Point(0, each) for each in group.values()] for name, group in groups.items()}
    return picture(title, f"In each, {', '.join(members)}. {_told(told, '{:,.4g}')}", height, parts)


def trace(title: str, differences: Sequence[float], sums: Mapping[str, Sequence[float]]) -> Markup:
    """Token by token: bars of nats saved (up) or lost (down), and below them running sums."""
    if not differences or not any(map(math.isfinite, differences)):
        return nothing(title)
    count = len(differences)
    x = Axis(0, count, LEFT, WIDTH - RIGHT)
    finite = [value for value in differences if math.isfinite(value)]
    upper = Axis(*padded([*finite, 0.0], 0.05), 112, 12)
    running = [value for each in sums.values() for value in each if math.isfinite(value)]
    begin = 132 + legend_height(sums)
    lower = Axis(*padded([*running, 0.0], 0.05), begin + 100, begin)
    parts = [*up_axis(upper, "nats a token", "{:+g}"), *legend(sums, 128), *up_axis(lower, "nats, summed", "{:+g}")]
    wide = (x.end - x.begin) / count
    for place, value in enumerate(differences):
        if math.isfinite(value):
            ends = sorted((upper.at(0), upper.at(value)))
            kind = "up" if value > 0 else "down"
            shape = '<rect class="nats {}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>'
            parts.append(Markup(shape).format(kind, x.at(place), ends[0], wide * 0.85, ends[1] - ends[0]))
    parts += [rule(upper.at(0), "zero"), rule(lower.at(0), "zero")]
    for index, each in enumerate(sums.values()):
        parts.append(path(index, [(x.at(i + 1), lower.at(value)) for i, value in enumerate(each)]))
    parts += [words(x.at(tick), begin + 114, f"{tick:.0f}") for tick in x.ticks()]
    parts.append(words((LEFT + WIDTH) / 2, begin + 129, "token"))
    lost = sum(value < 0 for value in finite)
    ends_at = "; ".join(f"{name} ends at {each[-1]:+.2f} nats" for name, each in sums.items())
    return picture(title, f"Worse on {lost} of {len(finite)} tokens. Summed, {ends_at}.", begin + 134, parts)


def words(x: float, y: float, text: str, kind: str = "") -> Markup:
    """A line of text, centred."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, text)


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line."""
    shape = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return Markup(shape).format(kind, x1, y1, x2, y2)


def path(index: int, points: Sequence[tuple[float, float]]) -> Markup:
    """A series' line, in its colour and dash."""
    through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points if math.isfinite(y))
    shape = '<polyline class="line s{}" stroke-dasharray="{}" points="{}"/>'
    return Markup(shape).format(index % SERIES, _DASHES[index % SERIES], through)


def _dot(index: int, x: float, y: Axis, number: Number) -> Markup:
    if not number.known:
        return Markup("")
    middle = y.at(number.value)
    whisker = Markup("")
    if number.bounded:
        whisker = line(f"interval s{index % SERIES}", x, y.at(number.low), x, y.at(number.high))
    return whisker + mark(index, x, middle)


def mark(index: int, x: float, y: float) -> Markup:
    """The shape of a series, in its colour."""
    outline = (
        "M-4.5,0a4.5,4.5 0 1 0 9,0a4.5,4.5 0 1 0 -9,0",
        "M-4,-4h8v8h-8z",
        "M0,-5.2L5,3.8H-5z",
        "M0,-5.5L5.5,0L0,5.5L-5.5,0z",
    )[index % SERIES]
    shape = '<path class="mark s{}" transform="translate({:.1f} {:.1f})" d="{}"/>'
    return Markup(shape).format(index % SERIES, x, y, outline)


def rule(y: float, kind: str) -> Markup:
    """A line across the chart."""
    return line(kind, LEFT, y, WIDTH - RIGHT, y)


def up_axis(axis: Axis, name: str, form: str) -> list[Markup]:
    """The vertical axis: its ticks with their lines, and its name."""
    parts = []
    for tick in axis.ticks():
        parts.append(rule(axis.at(tick), "grid"))
        label = form.format(tick).replace("-", "−") if abs(tick) > 1e-12 else "0"
        parts.append(words(LEFT - 5, axis.at(tick) + 4, label, "end"))
    turned = Markup('<text transform="translate(10 {:.1f}) rotate(-90)">{}</text>')
    return [*parts, turned.format((axis.begin + axis.end) / 2, name)]


def legend(names: Iterable[str], top: float = 0, *, filled: bool = False) -> list[Markup]:
    """Each name beside the shape of its series, or beside a filled square."""
    parts: list[Markup] = []
    for index, (name, x, row) in enumerate(_placed(names)):
        y = top + 12 + 15 * row
        if filled:
            swatch = '<rect class="fill b{}" x="{:.1f}" y="{:.1f}" width="9" height="9"/>'
            parts.append(Markup(swatch).format(index % SERIES, x, y - 8))
        else:
            parts += [path(index, [(x - 5, y - 4), (x + 15, y - 4)]), mark(index, x + 5, y - 4)]
        parts.append(words(x + 19, y, name, "start"))
    return parts


def legend_height(names: Iterable[str]) -> float:
    """Pixels that a legend of these names takes."""
    return _TOP + 15 * (1 + max((row for _, _, row in _placed(names)), default=0))


def _placed(names: Iterable[str]) -> list[tuple[str, float, int]]:
    """Each name with the place of its mark, in as many rows as they need."""
    placed, x, row = [], float(LEFT), 0
    for name in names:
        needed = 34 + _LETTER * len(name)
        if x > LEFT and x + needed > WIDTH:
            x, row = float(LEFT), row + 1
        placed.append((name, x, row))
        x += needed
    return placed


def _ends(points: Iterable[Point], also: float) -> list[float]:
    ends = [end for point in points for end in (point.y.value, point.y.low, point.y.high)]
    return [also, *(end for end in ends if math.isfinite(end))]


def padded(values: Iterable[float], room: float, *, logarithmic: bool = False) -> tuple[float, float]:
    """The least and the greatest value with some room around them."""
    found = list(values)
    low, high = min(found), max(found)
    if logarithmic:
        return low / room, high * room
    span = (high - low) or 1.0
    return low - room * span, high + room * span


def _told(series: Mapping[str, Sequence[Point]], form: str) -> str:
    """The numbers of a chart in words, for who cannot see it."""
    return ". ".join(
        f"{name}: " + ", ".join(form.format(each.y.value) if each.y.known else NO_DATA for each in points)
        for name, points in series.items()
    )
