"""The page in a real browser; skipped where there is none."""

from pathlib import Path

import pytest

from sharedllm.reporting.page import write_page
from sharedllm.reporting.report_data import Report

from .browser import measured, needs_chromium
from .reports import make_report

pytestmark = pytest.mark.slow

MEASURE = """
<script>
addEventListener("load", () => {
  document.title = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, edge = page.documentElement.clientWidth;
    const outside = [...page.querySelectorAll("body *")].filter(
      each => !each.closest(".scroll, .hidden") && each.getBoundingClientRect().right > edge + 1);
    return [edge, page.documentElement.scrollWidth, outside.length, page.querySelectorAll("td").length].join(" ");
  }).join(",");
});
</script>
"""


@needs_chromium
@pytest.mark.parametrize(
    "report_",
    [
        make_report(),
        make_report(["alice"]),
        make_report([f"user-{i}" for i in range(12)], held_back=["user-3"]),
        make_report(["x" * 1000, "مرحبا بالعالم" * 70, "👩‍👩‍👧‍👦" * 100, "<b>"], own=2.0),
    ],
    ids=["three", "one", "twelve", "long"],
)
def test_nothing_overflows_on_a_phone_or_a_desktop(report_: Report, tmp_path: Path) -> None:
    page = write_page(report_, tmp_path / "report.html").read_text(encoding="utf-8")
    for width, edge, needed, outside, cells in measured(page, MEASURE, tmp_path):
        assert needed <= edge <= width
        assert outside == 0
        assert cells >= len(report_.confusion.texts) * len(report_.confusion.readers)
