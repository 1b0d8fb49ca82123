"""A report as one HTML page that needs nothing else: no network, no scripts, no other files."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sharedllm.evaluation.confusion import BASE
from sharedllm.evaluation.intervals import CONFIDENCE, RESAMPLES
from sharedllm.printable import printable
from sharedllm.reporting import findings as story
from sharedllm.reporting.html import templates, write_html
from sharedllm.reporting.palette import DARK, LIGHT
from sharedllm.reporting.report_data import Report
from sharedllm.text.repeats import flattering, given_away_in_words

_LABEL_CHARACTERS = 32


@dataclass(frozen=True)
class Cell:
    """One perplexity of the heat map.

    Attributes:
        perplexity: of the reader on the text.
        change: how much lower it is than the base's, as a fraction; None for the base itself.
        own: whether a user's own adapter reads.
        light: background in the light theme.
        dark: background in the dark theme.
    """

    perplexity: float
    change: float | None
    own: bool
    light: str
    dark: str


def write_page(report: Report, path: Path) -> Path:
    """Write a report to ``path``, whole or not at all, and return the path.

    Raises:
        InvalidInput: the report has no measurements, or the path cannot be written.
    """
    return write_html(_render(report), path)


def _render(report: Report) -> str:
    found = story.findings(report)
    names = story.labels(dict.fromkeys(_users(report)), _LABEL_CHARACTERS)
    limit = _colour_limit(report)
    environment = templates()
    environment.filters.update(
        bound=lambda value: f"{value:+.0%}".replace("-", "−") if value else "0%",
        continuation=story.continuation,
        verdict=story.gate_verdict,
        reason=story.gate_reason,
        given_away=given_away_in_words,
    )
    environment.tests["flattering"] = flattering
    return environment.get_template("page.html.j2").render(
        report=report,
        headline=story.headline(report),
        findings=found,
        rows={user: _row(report, user, limit) for user in report.confusion.texts},
        readers=report.confusion.readers[1:],
        held_back=[user for user, gate in report.gates.items() if not gate.passed],
        names=names,
        shortened=[user for user, name in names.items() if name != printable(user)],
        limit=limit,
        scale=story.IntervalAxis.of(each for finding in found for each in (finding.gain, finding.general)),
        windows=story.windows(report),
        general_windows=sorted({each.windows for each in report.general.values()}),
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
    )


def _users(report: Report) -> Iterator[str]:
    yield from report.confusion.texts
    yield from (reader for reader in report.confusion.readers if reader is not None)
    yield from report.gates
    yield from (voice.user for voice in report.voices)


def _colour_limit(report: Report) -> float:
    # Never so small that noise takes the strongest colour, nor so large that one broken adapter fades all the others.
    table = report.confusion
    changes = (abs(story.change(table, text, reader)) for text in table.texts for reader in table.readers)
    return min(max(0.05, *(each for each in changes if math.isfinite(each)), 0.05), 0.30)


def _row(report: Report, text: str, limit: float) -> list[Cell]:
    return [_cell(report, text, reader, limit) for reader in report.confusion.readers]


def _cell(report: Report, text: str, reader: str | None, limit: float) -> Cell:
    change = story.change(report.confusion, text, reader)
    strength = change / limit if math.isfinite(change) else 0.0
    return Cell(
        perplexity=report.confusion.perplexity(text, reader),
        change=None if reader is BASE else change,
        own=reader == text,
        light=LIGHT.shade(strength),
        dark=DARK.shade(strength),
    )
