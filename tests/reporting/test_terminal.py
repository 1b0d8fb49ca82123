import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from sharedllm.reporting.findings import headline, percent, perplexity_text
from sharedllm.reporting.report_data import Report, Voice
from sharedllm.reporting.terminal import render
from sharedllm.text.repeats import Repeats

from .reports import make_report


def shown(report: Report, *, width: int = 80, colour: bool = False) -> str:
    stream = io.StringIO()
    render(
        report, Console(file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None)
    )
    return stream.getvalue()


def test_every_figure_is_shown() -> None:
    report = make_report()
    output = shown(report)
    table = report.confusion
    assert headline(report) in " ".join(output.split())
    for text in table.texts:
        for reader in table.readers:
            assert perplexity_text(table.perplexity(text, reader)) in output
        assert f"{perplexity_text(table.perplexity(text, text))}*" in output
        margins = table.margins(text)
        assert margins is not None
        gain, general = table.improvement(text, text), report.general[text]
        for figure in (gain.estimate, gain.low, gain.high, general.low, margins.mean, margins.best, margins.worst):
            assert percent(figure) in output
    assert "Holmes was standing" in output
    assert "9f2c41d07ab3" in output


def test_what_flatters_a_figure_stands_below_it() -> None:
    report = make_report(["alice", "bob"])
    repeats = {"alice": Repeats(24, 0.3, (), 0.4, 0.2), "bob": Repeats(1, 0.01, (), 0.01, 0.0)}
    output = " ".join(shown(Report(**{**vars(report), "repeats": repeats})).split())
    assert "alice: 40% of the validation text and 20% of the held-out text also occur in the training text" in output
    assert "bob: " not in output.partition("Is the gain personal?")[0]


def test_output_that_is_no_terminal_has_no_control_codes() -> None:
    assert "\x1b" not in shown(make_report())


def test_a_terminal_gets_colour() -> None:
    assert "\x1b[1m" in shown(make_report(), colour=True)


def test_untrusted_text_is_neither_markup_nor_control_codes() -> None:
    attack = "[bold]a[/] \x1b]0;owned\x07 \u202eb :smile:"
    output = shown(make_report([attack, "bob"], voices=[Voice("bob", attack, attack, attack)], base=attack))
    assert "[bold]a[/]" in output
    assert ":smile:" in output
    assert "\\x1b]0;owned\\x07" in output
    assert not set(output) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "users",
    [["alice"], [f"user-{i}" for i in range(12)], ["👩‍👩‍👧‍👦", "محمد العربي", "漢" * 1000, "x" * 1000]],
    ids=["one", "twelve", "scripts"],
)
def test_lines_fit_and_no_digit_is_lost(users: list[str], width: int) -> None:
    report = make_report(users)
    output = shown(report, width=width)
    assert max(cell_len(line) for line in output.splitlines()) <= width
    for text in users:
        for reader in (None, *users):
            assert perplexity_text(report.confusion.perplexity(text, reader)) in output


def test_an_adapter_held_back_is_shown_as_such_everywhere() -> None:
    # In the headline, above its column, in the gate's table and beside its voice.
    assert " ".join(shown(make_report(held_back=["novelist"])).split()).count("held back") == 4


def test_without_gates_and_voices_their_sections_are_left_out() -> None:
    output = shown(Report(**{**vars(make_report(["alice"], voices=[])), "gates": {}, "general": {}}))
    assert "The gate" not in output
    assert "In their voice" not in output
    assert "no data" in output
