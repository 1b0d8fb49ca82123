"""The fleet's page in a real browser; skipped where there is none."""

import pytest

from sharedllm.reporting.fleet.page import write_fleet_page

from .browser import CHARTS, measured, needs_chromium
from .fleets import make_report

pytestmark = pytest.mark.slow

LONG = "مرحبا بالعالم/{kind}-" + "x" * 300 + "{number}"


@needs_chromium
@pytest.mark.parametrize(
    "report",
    [
        make_report(102, missing={"chat/zed": "there is nothing of theirs"}),
        make_report(2, kinds=("person",)),
        make_report(20, broken=True),
        make_report(12, kinds=("k" * 60, "chat"), name=LONG, missing={"y" * 400: "x" * 400}),
    ],
    ids=["hundred", "two", "broken", "long"],
)
def test_every_figure_is_there_and_nothing_overflows(report, tmp_path):
    source = write_fleet_page(report, tmp_path / "fleet.html").read_text(encoding="utf-8")
    drawn = source.count("<figure") + source.count('<svg class="chart"')
    for width, edge, needed, outside, cut, figures in measured(source, CHARTS, tmp_path):
        assert needed <= edge <= width
        assert (outside, cut) == (0, 0)
        assert figures == drawn == 9
