"""A benchmark's curve as a picture of its own, drawn by the charts of the reports."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from sharedllm.reporting.charts import Number, alone, lines


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
    path.write_text(alone(lines(title, numbers, places=places, across=across, up=up, form="{:,.0f}")))
