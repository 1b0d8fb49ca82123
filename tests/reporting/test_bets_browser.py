"""The catalogue's page in a real browser; skipped where there is none."""

import html
import re
import subprocess

import pytest

from sharedllm.reporting.bets import read_bets
from sharedllm.reporting.bets_page import write_bets_page

from .bet_results import USERS, write_results
from .test_bets import RECORDED
from .test_browser import CHROMIUM, FLAGS, FRAME, WIDTHS

# Details are measured open, and every chart's own text must lie inside of it.
MEASURE = """
<script>
addEventListener("load", () => {
  document.title = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, edge = page.documentElement.clientWidth;
    page.querySelectorAll("details").forEach(each => each.open = true);
    const outside = [...page.querySelectorAll("body *")].filter(
      each => !each.closest(".scroll, .hidden, svg") && each.getBoundingClientRect().right > edge + 1);
    const cut = [...page.querySelectorAll(".chart text")].filter(each => {
      const text = each.getBoundingClientRect(), chart = each.closest("svg").getBoundingClientRect();
      return text.left < chart.left - 1 || text.right > chart.right + 1
        || text.top < chart.top - 2 || text.bottom > chart.bottom + 2;
    });
    const figures = [...page.querySelectorAll("figure, .chart")].filter(
      each => each.getBoundingClientRect().height > 40 && each.getBoundingClientRect().width > 200);
    return [edge, page.documentElement.scrollWidth, outside.length, cut.length, figures.length].join(" ");
  }).join(",");
});
</script>
"""
LONG = ("a-person-with-quite-a-long-name-for-a-user", *USERS[1:])


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(
    "options",
    [{}, {"numbers": {"53", "55"}}, {"broken": {"49", "53", "55", "61", "63"}}, {"users": LONG}],
    ids=["complete", "partly", "broken", "long"],
)
def test_every_figure_is_there_and_nothing_overflows(options, tmp_path):
    written = write_bets_page(read_bets(write_results(tmp_path, **options), RECORDED), tmp_path / "bets.html")
    source = written.read_text(encoding="utf-8")
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
        assert figures == drawn >= 14
