"""The catalogue's page in a real browser; skipped where there is none."""

import pytest
from experiments.report.bet_results import read_bets
from experiments.report.page import write_bets_page
from tests.experiments.bet_results import USERS, write_results
from tests.experiments.test_report import RECORDED
from tests.reporting.browser import CHARTS, measured, needs_chromium

pytestmark = pytest.mark.slow

LONG = ("a-person-with-quite-a-long-name-for-a-user", *USERS[1:])


@needs_chromium
@pytest.mark.parametrize(
    "options",
    [{}, {"numbers": {"53", "55"}}, {"broken": {"49", "53", "55", "61", "63"}}, {"users": LONG}],
    ids=["complete", "partly", "broken", "long"],
)
def test_every_figure_is_there_and_nothing_overflows(options, tmp_path):
    written = write_bets_page(read_bets(write_results(tmp_path, **options), RECORDED), tmp_path / "bets.html")
    source = written.read_text(encoding="utf-8")
    drawn = source.count("<figure") + source.count('<svg class="chart"')
    for width, edge, needed, outside, cut, figures in measured(source, CHARTS, tmp_path):
        assert needed <= edge <= width
        assert (outside, cut) == (0, 0)
        assert figures == drawn >= 14
