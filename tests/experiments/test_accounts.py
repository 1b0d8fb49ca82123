"""The accounts of the bets: every bet has one, people write the prose, and the numbers are the result files'."""

import importlib
import math
import re
from dataclasses import replace
from shutil import copy

import pytest
from experiments.catalogue.bet import all_bets
from experiments.catalogue.results import RESULTS
from experiments.report.accounts import ACCOUNTS, PROSE, accounts, with_numbers, write_accounts
from experiments.report.bet_results import MEASURED, NOT_RUN, STALE, BetResults, Flag, Run

from sharedllm.errors import InvalidInput
from sharedllm.reporting.charts import Number

rollup = importlib.import_module("experiments.bets.00_rollup")
NUMBERS = list(all_bets())
MARKS = (
    "<!-- claim: python -m experiments.bets.00_rollup -->\n",
    "<!-- end of claim -->\n",
    "<!-- result: python -m experiments.bets.00_rollup -->\n",
    "<!-- end of result -->\n",
)


@pytest.fixture(scope="module")
def up_to_date(tmp_path_factory):
    """What every account says if it is made of the committed results, whatever the committed summary is of."""
    folder = tmp_path_factory.mktemp("results")
    for path in RESULTS.glob("[0-9]*.json"):
        copy(path, folder)
    rollup.write(folder)
    return accounts(folder)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_account_says_what_the_results_say(number, up_to_date):
    assert (ACCOUNTS / f"{number}.md").read_text() == up_to_date[number]


def test_beside_a_margin_over_the_best_other_stands_that_over_the_base_where_the_base_is_better(up_to_date):
    lines = up_to_date["61"].splitlines()
    told = [at for at, line in enumerate(lines) if line.startswith("| – over the better of base and best other")]
    assert told
    for at in told:
        assert "margin_vs_best_other" in lines[at - 1]
        over_other, over_better = ([float(cell.split()[0]) for cell in lines[n].split("|")[2:-1]] for n in (at - 1, at))
        assert all(better <= other for better, other in zip(over_better, over_other, strict=True))
        assert over_better != over_other


def test_there_is_an_account_for_each_bet_and_for_nothing_else():
    assert sorted(path.stem for path in ACCOUNTS.glob("[0-9]*.md")) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_people_have_written_every_section_that_is_not_generated(number):
    account = (ACCOUNTS / f"{number}.md").read_text()
    prose = re.sub(r"<!-- (\w+): .*?<!-- end of \1 -->", "", account, flags=re.DOTALL)
    sections = dict(section.split("\n", 1) for section in prose.split("\n## ")[1:])
    assert tuple(sections) == PROSE
    assert all(len(section.split()) > 20 for section in sections.values())
    assert "<!--" not in prose and "|---" not in prose


def measured(**changes):
    """Bet 54 as measured under one protocol, with invented numbers."""
    flags = {
        "strict": Flag(False, 0.25, 0.5, ">=", 2 / 3),
        "lenient": Flag(True, 0.999, 1.0, ">=", 1.0),
        "catastrophic": Flag(None, missing=("both_harmed/ann+bob",)),
    }
    numbers = {
        "ppl/ann/own": Number(8.25, 7.5, 9.125),
        "ppl/bob/own": Number(31.0, 28.0, 34.0),
        "both_helped/ann+bob": Number(1.0, 1.0, 1.0),
        "ppl/ann+bob/bob": Number(30.5, 28.0, 33.0),
        "bytes/raw": Number(70_272.0, 70_272.0, 70_272.0),
        "seed_0/ppl/ann/own": Number(8.875, 7.0, 9.0),
        "seed_0/both_helped/ann+bob": Number(0.0, 0.0, 1.0),
    }
    world = {
        "date": "2025-01-31T12:34:56+00:00",
        "cpu": "A processor",
        "commit": "0123456789abcdef0",
        "uncommitted_changes": False,
        "code_sha256": "fedcba9876543210",
        "base": {"name": "smollm2-135m"},
        "seeds": [0, 1],
        "window": 256,
        "windows": 32,
        "seconds": 600.0,
    }
    run = Run(
        "documented",
        MEASURED,
        users=("ann", "bob"),
        flags=flags,
        numbers=numbers,
        losses={"ann": {}, "bob": {}},
        improvements={
            "ann": {"own": Number(0.041, 0.03, 0.052), "noisy 0.1/0": Number(0.01, 0.0, 0.02)},
            "general": {"norm:ann": Number(-0.02, -0.03, -0.01)},
        },
        world=world,
    )
    return replace(run, **changes)


def account_of(run, **changes):
    criteria = {"strict": "all of it", "lenient": "some of it", "catastrophic": "none of it"}
    reported = BetResults("54_adapter_averaging", "averages help", criteria, {run.protocol: run})
    text = f"{MARKS[0]}{MARKS[1]}\nprose before\n\n{MARKS[2]}old\n{MARKS[3]}\nprose after\n"
    return with_numbers(text, replace(reported, **changes), all_bets()["54"])


def test_a_flag_stands_with_its_score_its_distance_and_the_share_of_resamples():
    account = account_of(measured())
    assert "| strict | no | 0.5 | >= 0.6667 | −0.1667 | 25% |" in account
    assert "| lenient | yes | 1 | >= 1 | 0 | over 99% |" in account
    assert "| catastrophic | no data | no data: both_harmed/ann+bob |" in account


def test_numbers_that_come_from_no_windows_have_no_share_of_resamples():
    assert "| lenient | yes | 1 | >= 1 | 0 | nothing to resample |" in account_of(measured(losses={}))


def test_a_result_names_its_commit_its_date_and_its_duration():
    account = account_of(measured())
    assert "2025-01-31, commit `0123456789ab`, code `fedcba987654`, smollm2-135m on A processor, 10 min;" in account
    dirty = measured(world={**measured().world, "uncommitted_changes": True})
    assert "`0123456789ab` with uncommitted changes" in account_of(dirty)


def test_measurements_have_a_column_for_each_text_and_for_each_pair():
    account = account_of(measured())
    assert "|  | ann | bob |\n|---|---|---|\n| `ppl/…/own` | 8.25 (7.5 to 9.125) | 31 (28 to 34) |" in account
    assert "| `ppl/ann+bob/…` |  | 30.5 (28 to 33) |" in account
    assert "|  | ann+bob |\n|---|---|\n| `both_helped/…` | 1 |" in account
    assert "| `bytes/raw` | 70,272 |" in account


def test_repetitions_are_shown_only_of_what_a_criterion_needs():
    account = account_of(measured())
    assert "seed_0/both_helped" in account
    assert "seed_0/ppl" not in account
    assert "noisy" not in account


def test_improvements_over_the_base_have_a_column_for_each_user():
    account = account_of(measured())
    assert "| own | 4.1% (3.0% to 5.2%) |" in account
    assert "| norm on general text | −2.0% (−3.0% to −1.0%) |" in account


def test_the_documents_number_stands_beside_ours():
    account = account_of(
        measured(), documents={"ppl/bob/own": 113.0, "elsewhere": 5.0}, documents_say={"strict": True, "lenient": True}
    )
    assert "| – the document |  | 113 |" in account
    assert "| strict | no | 0.5 | >= 0.6667 | −0.1667 | 25% | yes |" in account
    assert "elsewhere" not in account


def test_what_was_not_run_or_is_stale_says_so():
    account = account_of(Run("tuned", NOT_RUN))
    assert "### Tuned protocol\n\nNot run yet.\n" in account
    assert "- tuned: No data: not run yet." in account
    stale = account_of(measured(state=STALE))
    assert "judged by other criteria" in stale
    assert "| strict |" not in stale


def test_prose_stays_as_it_is_and_writing_twice_changes_nothing():
    account = account_of(measured())
    assert "old" not in account
    assert "\nprose before\n\n" in account
    assert account.endswith("\nprose after\n")
    reported = BetResults(
        "54_adapter_averaging", "averages help", dict.fromkeys(("strict", "lenient", "catastrophic"), "x"), {}
    )
    once = with_numbers(account, reported, all_bets()["54"])
    assert with_numbers(once, reported, all_bets()["54"]) == once


def test_a_number_that_is_not_finite_is_no_data():
    broken = measured(numbers={"ppl/ann/own": Number(math.nan, math.nan, math.nan)})
    assert "| `ppl/…/own` | no data |" in account_of(broken)


def test_an_account_without_its_marks_or_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no marks around its claim"):
        with_numbers(
            "prose\n", BetResults("54_x", "", dict.fromkeys(("strict", "lenient", "catastrophic"), ""), {}), None
        )
    rollup.write(tmp_path)
    with pytest.raises(InvalidInput, match=r"04\.md"):
        write_accounts(tmp_path, tmp_path)
