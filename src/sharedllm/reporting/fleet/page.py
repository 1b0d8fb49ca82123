"""A fleet's report as one HTML page that needs nothing else."""

from pathlib import Path

from sharedllm.evaluation.intervals import CONFIDENCE, RESAMPLES
from sharedllm.reporting.caveats import caveats
from sharedllm.reporting.charts import Number
from sharedllm.reporting.findings import NO_DATA, gate_reason, labels, percent
from sharedllm.reporting.fleet import charts
from sharedllm.reporting.fleet.findings import FleetReport, Group
from sharedllm.reporting.fleet.members import EVERYONE_STEPS, NO_KIND, WINDOWS
from sharedllm.reporting.html import templates, write_html

_LABEL_CHARACTERS = 32
_KIND_CHARACTERS = 14


def write_fleet_page(report: FleetReport, path: Path) -> Path:
    """Write the page to ``path``, whole or not at all, and return the path.

    Raises:
        InvalidInput: the path cannot be written.
    """
    kinds = labels(report.kinds, _KIND_CHARACTERS)
    environment = templates(Path(__file__).parent)
    environment.filters |= {
        "share": share_text,
        "correlation": correlation_text,
        "bytes": charts.size_text,
        "duration": duration_text,
        "reason": gate_reason,
    }
    users = dict.fromkeys([*(each.user for each in report.people), *report.missing])
    page = environment.get_template("page.html.j2").render(
        report=report,
        headline=headline(report),
        groups=groups(report),
        held_back=[each for each in report.people if not each.gate.passed],
        names=labels(users, _LABEL_CHARACTERS),
        ranked=charts.ranked(report.people, kinds),
        growth=charts.growth(report.people, kinds),
        another=charts.control("With another person's adapter", report.people, kinds, lambda each: each.by_other),
        everyone=charts.control("With one adapter for all", report.people, kinds, lambda each: each.by_everyone),
        plane=charts.plane(report.people, kinds, report.variance),
        windows=WINDOWS,
        everyone_steps=EVERYONE_STEPS,
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
    )
    return write_html(page, path)


def headline(report: FleetReport) -> str:
    """The finding in one sentence, as true for a failure as for a success."""
    fleet = report.everyone
    another, for_all = (share_text(each.rest, bounds=False) for each in (fleet.over_other, fleet.over_everyone))
    median = percent(fleet.median).lstrip("+").replace("-", "−")
    gains = f"{fleet.improved} of {fleet.people} adapters clearly help on held-out text, at the median by {median}"
    return (
        "; ".join([gains, *caveats(report.people)])
        + f". Another person's adapter brings {another} of the gain, and one for all {for_all}."
    )


def groups(report: FleetReport) -> dict[str, Group]:
    """Everybody, and each kind where there are several."""
    several = {} if list(report.kinds) == [NO_KIND] else report.kinds
    return {
        "everybody": report.everyone,
        **{name: several[kind] for kind, name in labels(several, _LABEL_CHARACTERS).items()},
    }


def share_text(share: Number, *, bounds: bool = True) -> str:
    """A share with its interval."""
    return _number_text(share, "{:.0%}", bounds)


def correlation_text(correlation: Number) -> str:
    """A correlation with its interval."""
    return _number_text(correlation, "{:+.2f}", True)


def duration_text(seconds: float | None) -> str:
    """A time as a person reads it."""
    if seconds is None:
        return NO_DATA
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _number_text(number: Number, form: str, bounds: bool) -> str:
    if not number.known:
        return NO_DATA
    text = form.format(number.value)
    if bounds and number.bounded:
        text += f" [{form.format(number.low)}, {form.format(number.high)}]"
    return text.replace("-", "−")
