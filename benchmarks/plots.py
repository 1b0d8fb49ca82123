"""A benchmark's curve as a picture of its own, drawn by the charts of the reports."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from sharedllm.reporting.bets import Number
from sharedllm.reporting.bets_charts import lines

# A picture in a README has no page around it to give it colours; these read on white and on black.
_STYLE = """<style>
text { font: 10px system-ui, sans-serif; fill: #777; text-anchor: middle; } .end { text-anchor: end; }
.start { text-anchor: start; } .s0 { --mark: #3b86c6; } .s1 { --mark: #d0701c; } .s2 { --mark: #777; }
.grid { stroke: #7775; } .zero { stroke: #777; } .line { fill: none; stroke: var(--mark); stroke-width: 1.75; }
.mark { fill: var(--mark); } .interval { stroke: var(--mark); stroke-width: 1.75; }
</style>"""


def write_curve(
    path: Path,
    title: str,
    series: Mapping[str, Sequence[Sequence[float]]],
    *,
    places: Sequence[str],
    across: str,
    up: str,
) -> None:
    """Write an SVG: for each series a line through the medians of its repeats, with their range.

    Args:
        path: of the picture.
        title: what it shows.
        series: by name, the repeats at every place.
        places: names along the horizontal axis.
        across: what they are.
        up: what is measured.
    """
    numbers = {
        name: [Number(statistics.median(each), min(each), max(each)) for each in repeats]
        for name, repeats in series.items()
    }
    drawn = str(lines(title, numbers, places=places, across=across, up=up, form="{:,.0f}"))
    head, _, rest = drawn.partition(">")
    path.write_text(f'{head} xmlns="http://www.w3.org/2000/svg">{_STYLE}{rest}\n')
