"""How far long work is: a bar on a terminal, lines in a log."""

import pytest

from sharedllm.cli import progress


@pytest.fixture
def clock(monkeypatch):
    """The clock that lines are told by; it stands still until it is set."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_a_minute_with_the_time_left_at_the_last_minutes_pace(clock, capsys):
    with progress.described_bar("reading", 1200) as advance:
        # Done in an earlier run.
        advance(600, "reading")
        for minute in range(1, 4):
            clock[0] = 1000 + 60 * minute - 1
            advance(1, "reading")
            clock[0] += 1
            advance(1.5 if minute == 2 else 1, f"reading {minute}")
    assert capsys.readouterr().err.splitlines() == [
        "reading 1 · 602 of 1,200",
        "reading 2 · 604.5 of 1,200 · 4.0 h left",
        "reading 3 · 606.5 of 1,200 · 4.9 h left",
    ]


def test_a_pace_of_nothing_says_no_time_and_programs_can_do_without_lines(clock, capsys):
    with progress.described_bar("reading", 10) as advance:
        clock[0] += 60
        advance(0, "reading")
    with progress.described_bar("reading", 10, lines=False) as quiet:
        clock[0] += 60
        quiet(5, "reading")
    assert capsys.readouterr().err == "reading · 0 of 10\n"


def test_short_work_says_nothing_in_a_log(capsys):
    with progress.progress_bar("measuring", 3) as advance:
        advance(3)
    assert capsys.readouterr().err == ""
