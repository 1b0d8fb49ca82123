import json
import math
import random
import re
from dataclasses import replace

import pytest
from experiments.catalogue.bet import BETS, all_bets
from experiments.catalogue.running import run_bet
from experiments.catalogue.verdict import TIERS
from experiments.report.bet_results import NOT_RUN, STALE, SUMMARY, UNSTATED, BetResults, Flag, Run, read_bets
from experiments.report.drawings import figures
from experiments.report.meaning import headline, meanings
from experiments.report.page import number_text, ratio_text, share_text, write_bets_page
from experiments.report.ratios import RatioAxis, RatioRow, compared, over_base
from tests.experiments.bet_results import USERS, result, rollup, write_result, write_results
from tests.reporting.test_page import HOSTILE, Outline

from sharedllm.errors import InvalidInput
from sharedllm.reporting import charts
from sharedllm.reporting.charts import Number

REGISTERED = ("70", "71")
"""Registered and not run, so that nothing tells what their measurements look like."""

RECORDED = BETS.parent.parent / "tests" / "experiments" / "recorded.json"


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """Results of every bet, written once."""
    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def bets(complete):
    return {bet.number: bet for bet in read_bets(complete, RECORDED)}


def page(bets, folder):
    return write_bets_page(bets, folder / "bets.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_the_catalogue_writes_is_read_as_it_was_measured(base_of, tmp_path):
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefgh", k=5)) for _ in range(40)]
    text = "\n".join(" ".join(chance.choices(words, k=10)) for _ in range(60))
    bet = all_bets()["54"]
    found = run_bet(bet, base_of(), "tuned", quick=True, out=tmp_path / "out", read_text=lambda name: text + name)
    write_result(tmp_path, bet, {"tuned": found})
    rollup.write(tmp_path)
    (read,) = [each for each in read_bets(tmp_path) if each.number == "54"]
    run = read.runs["tuned"]
    assert {tier: flag.holds for tier, flag in run.flags.items()} == {
        tier: flag["holds"] for tier, flag in found["verdict"].items()
    }
    for name, measured in found["measurements"].items():
        assert run.number(name).value == pytest.approx(measured["value"], nan_ok=True) or measured["value"] is None
    recorded = found["improvements_over_base"]["novelist"]["own"]["estimate"]
    assert run.ratio("novelist", "own").value == pytest.approx(1 - recorded)
    assert run.ratio("novelist", "base", "own").value == pytest.approx(1 / (1 - recorded))
    assert read.runs["documented"].state == NOT_RUN


@pytest.mark.slow
def test_every_bet_and_every_flag_is_on_the_page(bets, tmp_path):
    outline = Outline(page(list(bets.values()), tmp_path))
    for bet in all_bets().values():
        assert bet.claim in outline.words
        assert all(criterion.statement in outline.words for criterion in bet.criteria)
        for run in bets[bet.number].runs.values():
            for flag in run.flags.values():
                assert flag.score is None or number_text(flag.score) in outline.words
    assert outline.words.count("in 100% of resamples") + outline.words.count("in 0% of resamples") > 28


@pytest.mark.slow
def test_each_bet_that_has_figures_has_them_for_every_protocol(bets):
    titles = {
        "49": "Size against perplexity on the own text",
        "53": "Perplexity without an adapter, with it, and with its int8 forms",
        "55": "Where the ensemble loses, token by token",
        "61": "Whose adapter reads whose text",
        "63": "Margin over the best other adapter, by noise on the own adapter",
    }
    for number, title in titles.items():
        found = {figure.title: figure for figure in figures(bets[number])}
        shown = getattr(found[title], "drawn", None) or found[title].rows
        assert list(shown) == ["documented", "tuned"]
    assert all(figures(bet) for number, bet in bets.items() if number not in ("18", *REGISTERED))


@pytest.mark.slow
def test_every_chart_names_and_describes_itself(bets, tmp_path):
    source = page(list(bets.values()), tmp_path)
    found = re.findall(r'<svg class="chart".*?</svg>', source, flags=re.DOTALL)
    assert len(found) == 2 * 7
    for chart in found:
        assert re.search(r'role="img".*<title>.+</title><desc>.+</desc>', chart)
        assert "nan" not in re.sub(r"<title>.*</desc>", "", chart)


@pytest.mark.slow
def test_the_page_needs_nothing_but_itself(bets, tmp_path):
    source = page(list(bets.values()), tmp_path)
    outline = Outline(source)
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    assert "url(" not in source
    assert "@import" not in source
    assert all(value.startswith("#") for name, value in outline.attributes if name in ("src", "href"))


def test_a_bet_that_was_not_run_is_shown_as_no_data(tmp_path):
    write_results(tmp_path, {"54"}, protocols=("tuned",))
    bets = read_bets(tmp_path, RECORDED)
    words = Outline(page(bets, tmp_path)).words
    missing = [run for bet in bets for run in bet.runs.values() if run.state == NOT_RUN]
    assert len(missing) == sum(len(bet.protocols) for bet in all_bets().values()) - 1
    assert words.count("No data: not run yet.") >= len(missing)
    assert all(bet.claim in words for bet in all_bets().values())


def test_without_any_result_every_bet_is_still_there(tmp_path):
    write_results(tmp_path, set())
    words = Outline(page(read_bets(tmp_path), tmp_path)).words
    assert f"None of {len(all_bets())} claims has been measured." in words
    assert all(bet.claim in words for bet in all_bets().values())


@pytest.mark.slow
def test_readings_that_are_no_numbers_are_no_data_and_break_no_figure(tmp_path):
    numbers = set(all_bets())
    write_results(tmp_path, broken=numbers)
    source = page(read_bets(tmp_path, RECORDED), tmp_path)
    assert ">nan" not in source
    assert 'points="nan' not in source
    assert "no data" in source


def test_a_flag_without_data_says_what_is_missing(tmp_path):
    write_results(tmp_path, {"49"}, broken={"49"})
    words = Outline(page(read_bets(tmp_path), tmp_path)).words
    assert "missing: personal_ppl/programmer/norm" in words
    assert "a measurement that the criteria need is missing" in words


def test_a_result_of_other_criteria_has_numbers_and_no_flags(tmp_path):
    bet = all_bets()["53"]
    write_result(tmp_path, bet, {"tuned": result(bet, "tuned") | {"criteria_sha256": "0" * 64}})
    rollup.write(tmp_path)
    (read,) = [each for each in read_bets(tmp_path) if each.number == "53"]
    assert read.runs["tuned"].state == STALE
    assert {flag.holds for flag in read.runs["tuned"].flags.values()} == {None}
    assert read.runs["tuned"].number("ppl/novelist/raw").known
    assert "judged by other criteria" in Outline(page([read], tmp_path)).words


@pytest.mark.slow
def test_nothing_in_a_result_becomes_markup(tmp_path):
    users = (f'"><img src=x>{HOSTILE}', *USERS[1:])
    write_results(tmp_path, {"49", "53", "61", "63"}, users=users)
    outline = Outline(page(read_bets(tmp_path), tmp_path))
    assert not {"script", "img"} & set(outline.tags)
    assert HOSTILE in outline.words


def test_without_a_summary_it_says_how_to_make_it(tmp_path):
    with pytest.raises(InvalidInput, match=r"experiments\.bets\.00_rollup"):
        read_bets(tmp_path)


def test_a_summary_that_does_not_know_a_result_is_refused(tmp_path):
    write_results(tmp_path, set())
    bet = all_bets()["53"]
    write_result(tmp_path, bet, {"tuned": result(bet, "tuned")})
    with pytest.raises(InvalidInput, match="Make it again"):
        read_bets(tmp_path)


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "protocols": {"tuned": {}}}']
)
def test_a_damaged_result_is_named_and_no_traceback(tmp_path, damage):
    write_results(tmp_path, {"53"})
    (tmp_path / "53_adapter_compress.json").write_text(damage)
    with pytest.raises(InvalidInput):
        read_bets(tmp_path)


def test_the_documents_numbers_lie_beside_ours_free_of_their_base(bets):
    rows = {
        row.label: row
        for number in ("49", "53", "55", "61")
        for stated in all_bets()[number].figures
        if stated.title == "Against the documents"
        for row in compared(bets[number], stated)
    }
    assert rows["novelist: norm-only over LoRA-r4"].document == pytest.approx(113 / 198)
    assert rows["scientist: int8 over raw"].document == pytest.approx(218 / 130)
    assert rows["unknown user: ensemble over base"].document == pytest.approx(1917 / 1824)
    assert rows["programmer: own over the others' mean"].document == pytest.approx(1 - 0.2893)
    for row in rows.values():
        assert set(row.cells) == {"documented", "tuned"}
        assert all(cell.low <= cell.value <= cell.high for cell in row.cells.values())
    assert bets["61"].documents["ppl/scientist/programmer"] == 126


def test_a_gain_of_the_base_has_an_interval_paired_with_it(bets):
    rows = {row.label: row for row in over_base(bets["54"])}
    own = rows["novelist: own"].cells["tuned"]
    assert own.low < own.value < own.high
    assert own.value == pytest.approx(0.86, abs=0.02)


@pytest.mark.parametrize(
    ("lenient", "catastrophic", "said"),
    [
        (True, False, "Lenient and not catastrophic: int8 may be"),
        (True, True, "Lenient, but catastrophic too: int8 stays opt-in"),
        (False, False, "Not even lenient: int8 stays opt-in"),
        (False, True, "Catastrophic: int8 stays opt-in"),
        (None, False, "No data: a measurement"),
        (True, None, "No data: a measurement"),
    ],
)
def test_what_a_deployment_may_do_follows_from_two_flags(lenient, catastrophic, said):
    flags = {"strict": Flag(True), "lenient": Flag(lenient), "catastrophic": Flag(catastrophic)}
    runs = {"tuned": Run("tuned", "measured", flags=flags)}
    bet = BetResults("53_x", "a claim", dict.fromkeys(TIERS, ""), runs, all_bets()["53"].decision)
    (meaning,) = meanings(bet)
    assert meaning.sentence.startswith(said)
    assert ("1 of 1" in headline([bet])) == (lenient is True and catastrophic is False)


def test_every_bet_of_the_catalogue_has_a_meaning_of_its_own(bets):
    run = {number: bet for number, bet in bets.items() if number not in REGISTERED}
    said = {number: meanings(bet)[-1].sentence.partition(": ")[2] for number, bet in run.items()}
    assert len(set(said.values())) == len(said)
    unknown = replace(bets["53"], name="99_new_bet", decision=UNSTATED)
    assert "the claim" in meanings(unknown)[-1].sentence


def test_a_bet_that_states_something_else_than_its_summary_is_refused(bets):
    for other in (replace(bets["53"], criteria_sha256="0" * 64), replace(bets["53"], name="99_new_bet")):
        with pytest.raises(InvalidInput, match="Make it again"):
            figures(other)


def test_a_summary_from_before_decisions_were_stated_can_be_read(tmp_path):
    write_results(tmp_path, {"54"})
    rows = json.loads((tmp_path / SUMMARY).read_text())
    for row in rows:
        del row["decision"], row["criteria_sha256"]
    (tmp_path / SUMMARY).write_text(json.dumps(rows))
    (read,) = [each for each in read_bets(tmp_path) if each.number == "54"]
    assert read.decision == UNSTATED
    assert read.runs["tuned"].state == "measured"


def test_what_was_fixed_before_a_run_and_what_after_it_is_said(bets, tmp_path):
    source = page([bets["53"]], tmp_path)
    assert f"Criteria, decision and figures {all_bets()['53'].criteria_sha256[:12]}, fixed before the run." in source
    after = replace(bets["53"].runs["tuned"], run_under="0123456789abcdef", widened="2026-11-26")
    source = page([replace(bets["53"], runs={"tuned": after})], tmp_path)
    assert "Criteria 0123456789ab, fixed before the run; decision and figures are under the hash since 2026" in source


def test_a_missing_number_is_never_a_zero():
    assert number_text(math.nan) == ratio_text(math.nan) == "no data"
    assert number_text(None) == "no data"
    assert (ratio_text(0.0003), ratio_text(0.857), ratio_text(14.2)) == ("0.0003×", "0.857×", "14×")
    assert (share_text(0.999), share_text(1.0), share_text(0.001), share_text(0.5)) == (
        "over 99%",
        "100%",
        "under 1%",
        "50%",
    )


@pytest.mark.parametrize("values", [(0.99, 1.01), (0.8, 1.1), (0.3, 3.0), (1.0, 14.0), (0.0, 1e9)])
def test_one_is_on_every_axis_of_multiples(values):
    scale = RatioAxis.of([RatioRow("x", {"tuned": Number(value)}) for value in values])
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 6
    assert any(tick == pytest.approx(1) for tick in ticks)
    assert all(0 <= scale.at(tick) <= 1 for tick in ticks)


def test_a_chart_of_nothing_says_so():
    empty = {"a": [charts.Point(1.0, Number())]}
    drawn = [
        charts.scatter("t", empty, across="x", up="y", marks={}),
        charts.lines("t", {"a": [Number()]}, places=["1"], across="x", up="y", form="{}"),
        charts.bars("t", {"a": {"none": Number()}}, up="y"),
        charts.trace("t", [], {}),
    ]
    assert all("no data" in each for each in drawn)


def test_a_missing_bar_is_named_in_its_place():
    drawn = charts.bars("t", {"ann": {"raw": Number(2.0, 1.0, 3.0), "int8": Number()}}, up="y")
    assert drawn.count('class="gap"') == 1
    assert "ann: 2, no data" in drawn


@pytest.mark.slow
def test_a_page_is_the_same_for_the_same_results(complete, tmp_path):
    first, second = (page(read_bets(complete, RECORDED), tmp_path) for _ in range(2))
    assert first == second
    assert json.loads((complete / "SUMMARY.json").read_text())
