import json

import pytest

from sharedllm.reporting.page import write_page
from sharedllm.reporting.report_data import Report

from .reports import make_report

REPORTS = {
    "three users": make_report(),
    "one user": make_report(["alice"]),
    "held back": make_report(held_back=["novelist"]),
    "no voices": make_report(voices=[]),
    "ids of any kind": make_report(["base", "שלום", "a/../b", "👩‍👩‍👧"]),
}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_report_survives_json(report, tmp_path):
    again = Report.from_dict(json.loads(json.dumps(report.as_dict())))
    assert again.as_dict() == report.as_dict()
    assert (again.gates, again.general, again.voices) == (report.gates, report.general, list(report.voices))
    assert again.confusion.perplexity(report.confusion.texts[0], None) == report.confusion.perplexity(
        report.confusion.texts[0], None
    )
    first, second = (write_page(each, tmp_path / f"{number}.html") for number, each in enumerate((report, again)))
    assert first.read_bytes() == second.read_bytes()
