"""A page in a real browser, at the widths of a phone and of a desktop."""

import html
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
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

# Details are measured open, and every chart's own text must lie inside of it.
CHARTS = """
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


def measured(source, script, folder):
    """Each width with what a script finds in its frame: it writes numbers into the title, a comma after each frame."""
    frames = "".join(FRAME.format(page=html.escape(source), width=width) for width in WIDTHS)
    harness = folder / "harness.html"
    harness.write_text(f"<!DOCTYPE html><meta charset=utf-8><title></title>{frames}{script}", encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", harness.as_uri()]
    outcome = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    found = re.search(r"<title>([^<]+ [^<]+)</title>", outcome.stdout)
    assert found, outcome.stdout[:500]
    return [(width, *map(int, numbers.split())) for width, numbers in zip(WIDTHS, found[1].split(","), strict=True)]
