"""`sharedllm bets` in a made-up checkout: results of the catalogue's own writers, and bets that say what they got."""

import os
import signal
import subprocess
import sys
import time
from shutil import copy

import pytest
from experiments.catalogue.bet import all_bets
from tests.experiments.bet_results import write_results

from experiments import cli as command

BET = """
import sys, time
print("arguments:", *sys.argv[1:])
print("said on the side", file=sys.stderr)
if "--seeds=13" in sys.argv:
    sys.exit(3)
if "--seeds=99" in sys.argv:
    try:
        print("waiting", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.6)
        print("abandoned")
        sys.exit(1)
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with a catalogue's files, as the current one."""
    bets = tmp_path / "checkout" / "experiments" / "bets"
    bets.mkdir(parents=True)
    for folder in (bets, bets.parent):
        (folder / "__init__.py").touch()
    for name in ("04_mixture_combiner", "53_adapter_compress", "54_adapter_averaging"):
        (bets / f"{name}.py").write_text(BET)
    (bets / "00_rollup.py").write_text('print("rolled up")')
    copy(command.__file__, bets.parent)
    monkeypatch.chdir(tmp_path / "checkout")
    return tmp_path / "checkout"


@pytest.fixture
def measured(checkout):
    write_results(checkout / "experiments" / "bets" / "results", {"53"}, protocols=("tuned",))
    return checkout


def start(checkout, *arguments, **options):
    """The command as a process of its own: what it starts writes to this terminal, not through Python."""
    command = [sys.executable, "-m", "sharedllm", "bets", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": checkout, **options}
    return subprocess.Popen(command, **options)


def test_list_shows_every_bet_run_or_not(run, measured):
    shown = run("bets", "list")
    assert shown.code == 0
    lines = {line.split()[0]: line for line in shown.out.splitlines() if " documented " not in line}
    assert "measured" in lines["53_adapter_compress"]
    assert "yes (100%)" in lines["53_adapter_compress"]
    assert lines["61_personalization_vs_regularization"].count("no data") == 3
    assert len(shown.out.splitlines()) == 1 + sum(len(bet.protocols) for bet in all_bets().values())


def test_list_as_json(run, measured):
    rows = run("bets", "list", "--json").json
    (row,) = [row for row in rows if row["state"] == "measured"]
    assert (row["bet"], row["protocol"]) == ("53_adapter_compress", "tuned")
    assert row["flags"]["lenient"]["holds"] is True
    assert {flag["holds"] for row in rows if row["state"] == "not run" for flag in row["flags"].values()} == {None}


@pytest.mark.parametrize("number", ["53", "53_adapter_compress"])
def test_show_tells_claim_criteria_verdict_and_measurements(run, measured, number):
    shown = run("bets", "show", number)
    assert shown.code == 0
    for said in (
        "int8 of the adapter keeps",
        "int8 within 1.5x of raw",
        "ppl/novelist/int8",
        "documented protocol: not",
    ):
        assert said in shown.out
    assert "Lenient and not catastrophic" in shown.out


def test_show_as_json_has_what_was_measured(run, measured):
    shown = run("bets", "show", "53", "--json").json
    runs = {each["protocol"]: each for each in shown["runs"]}
    found = runs["tuned"]["measurements"]["int8_over_raw/novelist"]
    assert found["interval"][0] <= found["value"] <= found["interval"][1]
    assert runs["documented"]["measurements"] == {}


def test_report_writes_the_page(run, measured, tmp_path):
    shown = run("bets", "report", "--out", tmp_path / "page.html")
    assert (shown.code, shown.err) == (0, "")
    assert "page.html" in shown.out
    assert "No data: not run yet." in (tmp_path / "page.html").read_text()


def test_a_folder_inside_of_a_checkout_will_do(run, measured, monkeypatch):
    (measured / "docs" / "deep").mkdir(parents=True)
    monkeypatch.chdir(measured / "docs" / "deep")
    assert run("bets", "list").code == 0


@pytest.mark.parametrize("arguments", [["list"], ["show", "53"], ["run", "53"], ["report"]])
def test_outside_of_a_checkout_it_says_where_to_go(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    ran = run("bets", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Change into a checkout" in ran.err


def test_where_there_are_no_experiments_it_is_one_sentence_and_what_to_do(tmp_path):
    for arguments in (["list"], ["--help"]):
        out, err = start(tmp_path, *arguments).communicate(timeout=60)
        assert (out, err.count("\n")) == ("", 1)
        assert "experiments are no part of the package" in err
        assert "Change into a checkout" in err


@pytest.mark.parametrize("arguments", [["list"], ["show", "53"], ["report"]])
def test_without_a_summary_it_says_how_to_make_one(run, checkout, arguments):
    ran = run("bets", *arguments)
    assert ran.code == 2
    assert "python -m experiments.bets.00_rollup" in ran.err


@pytest.mark.parametrize("number", ["99", "00", "", "x/../y", "5"])
def test_a_number_that_is_no_bet_is_refused_with_those_there_are(run, checkout, number):
    for verb in ("show", "run"):
        ran = run("bets", verb, number)
        assert ran.code == 2
        assert "04, 53, 54" in ran.err


def test_run_passes_on_options_and_output_and_rolls_up(checkout):
    process = start(checkout, "run", "4", "--users", "ann,bob", "--protocol", "tuned", "--base", "-odd")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.splitlines() == ["arguments: --base=-odd --users=ann,bob --protocol=tuned", "rolled up"]
    assert "said on the side" in err


def test_a_quick_run_is_not_rolled_up_and_a_relative_base_stays_what_it_was(checkout):
    (checkout / "deep" / "base").mkdir(parents=True)
    process = start(checkout / "deep", "run", "53", "--base", "base", "--quick")
    out, _ = process.communicate(timeout=60)
    assert out.splitlines() == [f"arguments: --base={checkout / 'deep' / 'base'} --quick"]


def test_the_bets_exit_status_is_the_commands(checkout):
    process = start(checkout, "run", "53", "--seeds", "13")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "rolled up" not in out


@pytest.mark.slow
def test_an_interrupt_lets_the_bet_write_down_that_it_was_abandoned(checkout):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = start(checkout, "run", "53", "--seeds", "99", start_new_session=True, env=environment)
    while "waiting" not in process.stdout.readline():
        time.sleep(0.01)
    # As a terminal does: to everybody in the foreground.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "abandoned" in out
    assert "interrupted" in err
    assert process.returncode == 130
