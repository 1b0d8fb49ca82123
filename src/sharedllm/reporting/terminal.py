"""A report on a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sharedllm.evaluation.confusion import BASE
from sharedllm.evaluation.intervals import CONFIDENCE, Interval
from sharedllm.printable import printable
from sharedllm.reporting import findings as story
from sharedllm.reporting.report_data import Report
from sharedllm.text.repeats import flattering, given_away_in_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_LABEL_CHARACTERS = 20
_NAME_CELLS = 14
_READER_CELLS = 10
_PLOT_CELLS = 26
_BETTER, _WORSE = "cyan", "yellow"


def render(report: Report, console: "Console | None" = None) -> None:
    """Print a report to a terminal, a file or a pipe; nothing in it is taken for markup or for a control code.

    Args:
        report: what to show.
        console: where; standard output by default.

    Raises:
        InvalidInput: the report has no measurements.
    """
    from rich.console import Console

    console = console or Console()
    for part in _parts(report, console.width):
        # No highlighting: it would colour digits within user ids and texts.
        console.print(part, highlight=False)


def _parts(report: Report, width: int) -> "Iterator[RenderableType]":
    from rich.text import Text

    found = story.findings(report)
    users = [*report.confusion.texts, *filter(None, report.confusion.readers), *report.gates]
    users += [voice.user for voice in report.voices]
    names = story.labels(dict.fromkeys(users), _LABEL_CHARACTERS)

    yield Text(story.headline(report), "bold")
    yield _heading("Whose adapter reads whose text")
    yield from _matrices(report, names, width)
    yield Text(
        f"Perplexity on held-out text in {story.windows(report)} windows of {report.window} tokens (lower is better),\n"
        "and the improvement over the base. * a user's own adapter on their own text",
        "dim",
    )
    yield _heading("Does an adapter help its own user?")
    yield _gains(found, names)
    yield Text(f"Improvement over the base and its {CONFIDENCE:.0%} interval. │ is zero, right of it better.", "dim")
    for each in found:
        if each.repeats and flattering(each.repeats):
            yield Text(f"{names[each.user]}: {given_away_in_words(each.repeats)}.", "dim")
    if len(report.confusion.readers) > 2:
        yield _heading("Is the gain personal?")
        yield _margins(found, names)
        yield Text(
            "How much better a user's own adapter reads their text than other adapters do,\n"
            "and than the best of them and the base, whichever is better.",
            "dim",
        )
    if report.gates:
        yield _heading("The gate")
        yield _gates(report, names)
    if report.voices:
        yield _heading("In their voice")
        for voice in report.voices:
            yield from _voice(report, voice.user, names, (voice.prompt, voice.base, voice.own))
    yield Text(
        printable(
            f"Base {report.base} ({report.fingerprint}), recipe {report.recipe}, sharedllm {report.version},"
            f" {report.made_at}"
        ),
        "dim",
    )


def _matrices(report: Report, names: Mapping[str, str], width: int) -> "Iterator[Table]":
    from rich.text import Text

    # A table squeezed below its digits is unreadable, so many readers take several tables.
    readers = report.confusion.readers[1:]
    fitting = max(1, (width - _NAME_CELLS - _READER_CELLS - 4) // (_READER_CELLS + 2))
    for begin in range(0, max(len(readers), 1), fitting):
        shown = [BASE, *readers[begin : begin + fitting]]
        table = _table("text of")
        for reader in shown:
            header = Text(story.BASE_LABEL) if reader is None else _name(report, reader, names)
            table.add_column(header, justify="right", min_width=_READER_CELLS, max_width=_READER_CELLS, overflow="fold")
        for text in report.confusion.texts:
            table.add_row(Text(names[text]), *(_cell(report, text, reader) for reader in shown))
        yield table


def _name(report: Report, user: str, names: Mapping[str, str]) -> "Text":
    from rich.text import Text

    gate = report.gates.get(user)
    name = Text(names[user])
    return name if gate is None or gate.passed else name.append(f"\n{story.gate_verdict(gate)}", _WORSE)


def _cell(report: Report, text: str, reader: str | None) -> "Text":
    from rich.text import Text

    own = reader == text
    cell = Text(story.perplexity_text(report.confusion.perplexity(text, reader)), "bold" if own else "")
    # The other cells end in a space, so that digits stay under digits.
    cell.append("*" if own else " ")
    if reader is not BASE:
        value = story.change(report.confusion, text, reader)
        cell.append(f"\n{story.percent(value)} ", _BETTER if value > 0 else _WORSE if value < 0 else "")
    return cell


def _gains(found: Sequence[story.Finding], names: Mapping[str, str]) -> "Table":
    from rich.text import Text

    scale = story.IntervalAxis.of(each for finding in found for each in (finding.gain, finding.general))
    table = _table("adapter of")
    table.add_column(Text("own held-out text"), width=_PLOT_CELLS)
    table.add_column(Text("general text"), width=_PLOT_CELLS)
    for each in found:
        table.add_row(Text(names[each.user]), _interval(each.gain, scale), _interval(each.general, scale))
    return table


def _interval(interval: Interval | None, scale: story.IntervalAxis) -> "Text":
    from rich.text import Text

    if interval is None:
        return Text(story.NO_DATA)
    style = _BETTER if interval.low > 0 else _WORSE if interval.high < 0 else ""
    low, middle, high, zero = (
        round(scale.at(value) * (_PLOT_CELLS - 1)) for value in (interval.low, interval.estimate, interval.high, 0.0)
    )
    plot = ["─" if low <= cell <= high else " " for cell in range(_PLOT_CELLS)]
    plot[zero] = "┼" if low <= zero <= high else "│"
    beyond = interval.estimate < scale.low
    plot[middle] = "◂" if beyond else "○" if interval.low <= 0 <= interval.high else "●"
    return Text.assemble(
        (f"{story.percent(interval.estimate)} ", "bold"), _bounds(interval), "\n", ("".join(plot), style)
    )


def _bounds(interval: Interval) -> str:
    return f"[{story.percent(interval.low)}, {story.percent(interval.high)}]"


def _margins(found: Sequence[story.Finding], names: Mapping[str, str]) -> "Table":
    from rich.text import Text

    table = _table("adapter of")
    table.add_column(Text("mean of others"), max_width=14)
    table.add_column(Text("best of others and base"), max_width=26, overflow="fold")
    table.add_column(Text("worst other"), max_width=14, overflow="fold")
    for each in found:
        if each.margins is None or each.worst_other is None:
            table.add_row(Text(names[each.user]), *[Text(story.NO_DATA)] * 3)
            continue
        table.add_row(
            Text(names[each.user]),
            Text(story.percent(each.margins.mean)),
            Text.assemble(
                (story.percent(each.margins.best), "bold"),
                f" {_bounds(each.lead)}" if each.lead else "",
                f"\n{story.BASE_LABEL if each.rival is BASE else names[each.rival]}",
            ),
            Text(f"{story.percent(each.margins.worst)}\n{names[each.worst_other]}"),
        )
    return table


def _gates(report: Report, names: Mapping[str, str]) -> "Table":
    from rich.text import Text

    table = _table("adapter of")
    table.add_column(Text("verdict"), no_wrap=True)
    table.add_column(Text("reason"), overflow="fold")
    for user, gate in report.gates.items():
        verdict = Text(story.gate_verdict(gate), _BETTER if gate.passed else _WORSE)
        table.add_row(Text(names[user]), verdict, Text(story.gate_reason(gate)))
    return table


def _voice(
    report: Report, user: str, names: Mapping[str, str], passages: tuple[str, str, str]
) -> "Iterator[RenderableType]":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    prompt, base, own = (Text(story.continuation(passage)) for passage in passages)
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    held = user in report.gates and not report.gates[user].passed
    table.add_column(Text(story.BASE_LABEL), ratio=1, overflow="fold")
    table.add_column(Text("own adapter, held back" if held else "own adapter"), ratio=1, overflow="fold")
    table.add_row(base, own)
    yield Text.assemble((names[user], "bold"), ": ", prompt)
    yield table


def _table(first: str) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(first), min_width=_NAME_CELLS, max_width=_NAME_CELLS, overflow="fold")
    return table


def _heading(words: str) -> "Text":
    from rich.text import Text

    return Text(f"\n{words}", "bold")
