"""The page in a real browser; skipped where there is none."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sharedllm.reporting.page import write_page
from sharedllm.reporting.report import Report

from .reports import make_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
WIDTHS = (360, 1440)

# A frame sets the width exactly, where a window has a least width; what a page's own policy forbids, its parent may do.
FRAME = '<iframe srcdoc="{page}" style="width:{width}px;height:900px;border:0"></iframe>'
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


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
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
    page = html.escape(write_page(report_, tmp_path / "report.html").read_text(encoding="utf-8"))
    harness = tmp_path / "harness.html"
    frames = "".join(FRAME.format(page=page, width=width) for width in WIDTHS)
    harness.write_text(f"<!DOCTYPE html><meta charset=utf-8><title></title>{frames}{MEASURE}", encoding="utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", harness.as_uri()]
    outcome = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    found = re.search(r"<title>(.+?)</title>", outcome.stdout)
    assert found, outcome.stdout[:500]
    for width, measured in zip(WIDTHS, found[1].split(","), strict=True):
        edge, needed, outside, cells = map(int, measured.split())
        assert needed <= edge <= width
        assert outside == 0
        assert cells >= len(report_.confusion.texts) * len(report_.confusion.readers)
