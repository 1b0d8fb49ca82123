"""The fleet's page in a real browser; skipped where there is none."""

import html
import re
import subprocess

import pytest

from sharedllm.reporting.fleet_page import write_fleet_page

from .fleets import make_report
from .test_bets_browser import MEASURE
from .test_browser import CHROMIUM, FLAGS, FRAME, WIDTHS

LONG = "مرحبا بالعالم/{kind}-" + "x" * 300 + "{number}"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
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
    page = html.escape(source)
    frames = "".join(FRAME.format(page=page, width=width) for width in WIDTHS)
    harness = tmp_path / "harness.html"
    harness.write_text(f"<!DOCTYPE html><meta charset=utf-8><title></title>{frames}{MEASURE}", encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", harness.as_uri()]
    outcome = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    found = re.search(r"<title>([^<]+ [^<]+)</title>", outcome.stdout)
    assert found, outcome.stdout[:500]
    drawn = source.count("<figure") + source.count('<svg class="chart"')
    for width, measured in zip(WIDTHS, found[1].split(","), strict=True):
        edge, needed, outside, cut, figures = map(int, measured.split())
        assert needed <= edge <= width
        assert (outside, cut) == (0, 0)
        assert figures == drawn == 9
