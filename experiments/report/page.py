"""The catalogue's report: every bet with its flags, figures and meaning on one HTML page that needs nothing else."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.catalogue.verdict import TIERS, flag_in_words
from experiments.report.bet_results import BetResults, Run
from experiments.report.drawings import HEAT_LIMIT, Drawing, figures
from experiments.report.meaning import Meaning, headline, meanings
from sharedllm.evaluation.intervals import CONFIDENCE
from sharedllm.reporting import findings as story
from sharedllm.reporting.html import templates, write_html


@dataclass(frozen=True)
class Section:
    """What the page says of one bet.

    Attributes:
        bet: the bet.
        meanings: one for each protocol.
        figures: where figures help.
        compared: names of measurements that the documents give, too.
        names: of all measurements.
    """

    bet: BetResults
    meanings: Sequence[Meaning]
    figures: Sequence[Drawing]
    compared: Sequence[str]
    names: Sequence[str]


def write_bets_page(bets: Sequence[BetResults], path: Path) -> Path:
    """Write the page to ``path``, whole or not at all, and return the path.

    Raises:
        InvalidInput: the path cannot be written.
    """
    environment = templates(Path(__file__).parent)
    environment.filters |= {
        "number": number_text,
        "ratio": ratio_text,
        "fixed": fixed_text,
        "flag": flag_in_words,
        "share": share_text,
    }
    page = environment.get_template("page.html.j2").render(
        sections=[_section(bet) for bet in bets],
        headline=headline(bets),
        tiers=TIERS,
        bases=sorted(_bases(bets)),
        newest=max(_dates(bets), default=story.NO_DATA),
        limit=HEAT_LIMIT,
        confidence=CONFIDENCE,
    )
    return write_html(page, path)


def number_text(value: float | None) -> str:
    """A measurement with the digits that matter."""
    if value is None or not math.isfinite(value):
        return story.NO_DATA
    digits = ",.0f" if 1_000 <= abs(value) < 1e12 else ".4g"
    return f"{value:{digits}}".replace("-", "−")


def ratio_text(value: float) -> str:
    """A multiple, such as 0.86×."""
    if not math.isfinite(value):
        return story.NO_DATA
    if value < 0.1 or value >= 1e4:
        return f"{value:.2g}×"
    return f"{value:,.{3 if value < 2 else 2 if value < 10 else 0}f}×"


def share_text(share: float) -> str:
    """The share of resamples, never rounded to certainty."""
    if 0 < share < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < share < 1 else f"{share:.0%}"


def fixed_text(run: Run) -> str:
    """What was fixed before a run, and what only came under the hash after it."""
    if run.widened is None:
        return f"Criteria, decision and figures {run.run_under[:12]}, fixed before the run."
    after = f"decision and figures are under the hash since {run.widened}, after it"
    return f"Criteria {run.run_under[:12]}, fixed before the run; {after}."


def _section(bet: BetResults) -> Section:
    names = dict.fromkeys(name for run in bet.runs.values() for name in run.numbers)
    return Section(
        bet=bet,
        meanings=meanings(bet),
        figures=figures(bet),
        compared=[name for name in bet.documents if not names or name in names],
        names=list(names),
    )


def _bases(bets: Iterable[BetResults]) -> set[str]:
    return {run.world["base"]["name"] for bet in bets for run in bet.runs.values() if run.world}


def _dates(bets: Iterable[BetResults]) -> list[str]:
    return [run.world["date"] for bet in bets for run in bet.runs.values() if run.world]
