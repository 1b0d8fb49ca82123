import pytest

from sharedllm.reporting.findings import percent
from sharedllm.reporting.fleet.page import headline, write_fleet_page

from .fleets import make_report
from .test_page import HOSTILE, Outline


def written(report, folder):
    return write_fleet_page(report, folder / "out" / "fleet.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_question_is_answered(tmp_path):
    report = make_report(24, missing={"chat/zed": "there is nothing of theirs"})
    source = written(report, tmp_path)
    outline = Outline(source)
    numbers = [report.everyone.median, report.everyone.p10, report.everyone.p90, report.everyone.worst]
    numbers += [end for each in report.people for end in (each.gain.estimate, each.gain.low, each.gain.high)]
    numbers += [each.over_other.estimate for each in report.people]
    for number in numbers:
        assert percent(number).replace("-", "−") in outline.words
    for fact in (
        "22 of 24 adapters clearly help",
        "2 of them would have been harmed",
        "smollm2-135m",
        "60 s",
        "chat/zed",
    ):
        assert fact in outline.words
    assert outline.tags.count("caption") == 4
    # Everybody is a mark on each of the five charts.
    assert source.count('<svg class="chart"') == 5
    assert source.count('<g class="person') == 5 * len(report.people)
    assert source.count('<g class="person hollow') == 5 * report.everyone.held_back
    assert source.count("interval thin") == len(report.people)
    assert ("lang", "en") in outline.attributes


@pytest.mark.slow
def test_the_page_needs_nothing_but_itself(tmp_path):
    source = written(make_report(), tmp_path)
    outline = Outline(source)
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    assert "url(" not in source
    assert "@import" not in source
    assert not [value for name, value in outline.attributes if name in ("src", "href")]


@pytest.mark.slow
def test_nothing_untrusted_becomes_markup(tmp_path):
    attack = f'"><img src=x onerror=alert(1)>{HOSTILE}\x1b[31m\u202e'
    report = make_report(12, kinds=(attack, "chat"), name="{kind}-{number}", missing={attack: attack})
    source = written(report, tmp_path)
    outline = Outline(source)
    assert not {"script", "img"} & set(outline.tags)
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    assert "\x1b" not in source
    assert "\u202e" not in source


@pytest.mark.slow
def test_a_fleet_of_one_kind_has_one_row_a_table(tmp_path):
    one, several = (written(make_report(9, kinds=kinds), tmp_path).count("<tr") for kinds in (("person",), ("a", "b")))
    # Each of three tables has a row for everybody and one for each kind.
    assert several - one == 3 * 2


@pytest.mark.slow
def test_a_broken_adapter_does_not_hide_the_others(tmp_path):
    source = written(make_report(18, broken=True), tmp_path)
    assert "−400.0%" in source
    # The axes end where a perplexity half as high again would be.
    assert "−100%" not in source


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_the_headline_is_as_true_for_a_failure(broken):
    said = headline(make_report(18, broken=broken))
    assert said.startswith("16 of 18 adapters clearly help on held-out text, at the median by ")
    assert ("brings no data of the gain" in said) == broken
