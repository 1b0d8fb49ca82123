"""A report as one HTML page that needs nothing else: no network, no scripts, no other files."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sharedllm.errors import InvalidInput
from sharedllm.evaluation.confusion import BASE
from sharedllm.evaluation.gate import flattering, given_away_in_words
from sharedllm.evaluation.intervals import CONFIDENCE, RESAMPLES
from sharedllm.files import make_private
from sharedllm.printable import printable
from sharedllm.reporting import findings as story
from sharedllm.reporting.report import Report

_LABEL_CHARACTERS = 32

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """A theme's heat map: blue for better and orange for worse, which every kind of colour vision tells apart.

    Attributes:
        text: what is written on it, with a contrast of 4.5 or more on all three.
        same: a cell that reads as the base does.
        better: the strongest blue.
        worse: the strongest orange.
    """

    text: Colour
    same: Colour
    better: Colour
    worse: Colour

    def shade(self, strength: float) -> str:
        """The colour, in hex, of a strength from -1 (worse) to 1 (better)."""
        end = self.better if strength > 0 else self.worse
        return _hex(
            *(round(a + (b - a) * min(abs(strength), 1.0)) for a, b in zip(self.same, end, strict=True)),
        )

    @property
    def hex_text(self) -> str:
        """The text's colour in hex."""
        return _hex(*self.text)


LIGHT = Palette(text=(22, 26, 31), same=(243, 243, 240), better=(116, 176, 226), worse=(242, 164, 92))
DARK = Palette(text=(242, 244, 246), same=(42, 46, 52), better=(30, 96, 154), worse=(140, 76, 18))


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
    return write_whole(_render(report), path)


def write_whole(page: str, path: Path) -> Path:
    """Write a page to ``path``, whole or not at all, and return the path.

    Raises:
        InvalidInput: the path cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            make_private(partial, anew=True)
            partial.write_text(page, encoding="utf-8", newline="\n")
            return partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"The report cannot be written to {path}: {error.strerror}",
            remedy="Make room there, or choose another path.",
        ) from error


def templates() -> Environment:
    """The templates of this folder: nothing that they are given becomes markup by itself."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda value: story.percent(value).replace("-", "−"),
        "perplexity": story.perplexity_text,
        "printable": printable,
    }
    return environment


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
        light=LIGHT,
        dark=DARK,
        scale=story.Scale.of(each for finding in found for each in (finding.gain, finding.general)),
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


def _hex(*channels: Any) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in channels)
