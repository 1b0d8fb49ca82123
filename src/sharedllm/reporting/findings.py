"""What a report finds, in numbers and words: the one story that both the page and the terminal tell."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.confusion import BASE, Confusion, Margins
from sharedllm.evaluation.intervals import CONFIDENCE, Interval
from sharedllm.printable import printable
from sharedllm.reporting.caveats import caveats
from sharedllm.reporting.report_data import Report
from sharedllm.text.repeats import Repeats

BASE_LABEL = "base"
NO_DATA = "no data"

# A broken adapter can be a hundred times worse than the base; on its scale nobody else's interval could be seen.
_LOWEST_PLOTTED = -0.5


@dataclass(frozen=True)
class Finding:
    """What was found for one user whose own adapter read their own text; None where there is nothing to say.

    Attributes:
        user: their id.
        gain: over the base, on their held-out text.
        lead: over the rival on the same text, paired per window.
        margins: over the other adapters.
        rival: who else reads this text best, another user or the base; None is the base.
        best_other: whose adapter is the best of the others on this text.
        worst_other: whose is the worst.
        general: change on general text.
        gate: the gate's outcome.
        repeats: what the training text gives away of the text that the adapter was tested on.
    """

    user: str
    gain: Interval | None
    lead: Interval | None
    margins: Margins | None
    rival: str | None
    best_other: str | None
    worst_other: str | None
    general: Interval | None
    gate: GateOutcome | None
    repeats: Repeats | None


def findings(report: Report) -> list[Finding]:
    """One finding a user, in the order of the report.

    Raises:
        InvalidInput: the report has no measurements.
    """
    if not report.confusion.losses:
        raise InvalidInput("The report has no measurements", remedy="Measure at least one user's text first.")
    return [
        finding_of(report.confusion, user, report.general.get(user), report.gates.get(user), report.repeats.get(user))
        for user in report.confusion.texts
        if user in report.confusion.readers
    ]


def finding_of(
    table: Confusion, user: str, general: Interval | None, gate: GateOutcome | None, repeats: Repeats | None
) -> Finding:
    """What was found for one user who is both among the texts and among the readers of a table."""
    others = {reader: table.perplexity(user, reader) for reader in table.readers if reader not in (BASE, user)}
    comparable = others and all(map(math.isfinite, [*others.values(), table.perplexity(user, user)]))
    rival = table.rival(user) if comparable else BASE
    return Finding(
        user=user,
        gain=_improvement(table, user, BASE),
        lead=_improvement(table, user, rival) if comparable else None,
        margins=table.margins(user) if comparable else None,
        rival=rival,
        best_other=min(others, key=others.__getitem__) if comparable else None,
        worst_other=max(others, key=others.__getitem__) if comparable else None,
        general=general,
        gate=gate,
        repeats=repeats,
    )


def _improvement(table: Confusion, user: str, over: str | None) -> Interval | None:
    try:
        return table.improvement(user, user, over)
    except InvalidInput:
        return None


def change(table: Confusion, text: str, reader: str | None) -> float:
    """How much lower a reader's perplexity is than the base's on one text, as a fraction; NaN where it is unknown."""
    base, read = table.perplexity(text, BASE), table.perplexity(text, reader)
    return 1 - read / base if math.isfinite(read) and math.isfinite(base) else math.nan


def clear(interval: Interval | None) -> bool:
    """Whether an improvement's whole interval is above zero."""
    return interval is not None and interval.low > 0


def headline(report: Report) -> str:
    """The finding in one sentence, as true for a failure as for a success."""
    return sentence(findings(report))


def sentence(found: Sequence[Finding]) -> str:
    """What was found, what it cost and what flatters it, in one sentence."""
    total = len(found)
    helping = sum(clear(each.gain) for each in found)
    winning = sum(clear(each.lead) for each in found)
    if not total:
        return "No adapter was measured on its own user's text."
    if total == 1:
        gains = _single(found[0])
    else:
        helps = f"{_count(helping, total).capitalize()} adapters {'help' if helping > 1 else 'helps'}"
        wins = f"{_count(winning, total)} {'beat' if winning > 1 else 'beats'} both the base and the best other adapter"
        gains = (
            f"{helps} on held-out text and {wins} on {'their' if winning > 1 else 'its'} own user's text,"
            f" with {CONFIDENCE:.0%} intervals clear of zero"
        )
    return "; ".join([gains, *caveats(found)]) + "."


def _single(finding: Finding) -> str:
    if finding.gain is None:
        return "The adapter could not be measured on its user's held-out text"
    bound = f"with a {CONFIDENCE:.0%} interval clear of zero"
    if clear(finding.gain):
        verdict = f"helps on its user's held-out text, {bound}"
    elif finding.gain.high < 0:
        verdict = f"does worse than the base on its user's held-out text, {bound}"
    else:
        verdict = "does not clearly help on its user's held-out text"
    if finding.lead is None:
        return f"The adapter {verdict}, and there is no other to compare it with"
    wins = "beats" if clear(finding.lead) else "does not clearly beat"
    return f"The adapter {verdict}, and {wins} the better of the base and the best other there"


def _count(part: int, total: int) -> str:
    if part == total:
        return f"all {total}" if total > 2 else "both"
    return f"{part} of {total}" if part else f"none of {total}"


def gate_verdict(outcome: GateOutcome) -> str:
    """The gate's verdict in a word or two."""
    return outcome.verdict


def gate_reason(outcome: GateOutcome) -> str:
    """The gate's reason without the verdict that it begins with."""
    return printable(outcome.finding)


def windows(report: Report) -> str:
    """How many windows of each user's text were read, e.g. ``"32"`` or ``"24 to 32"``."""
    counts = [len(row[BASE].nats) for row in report.confusion.losses.values()]
    return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"


def perplexity_text(value: float) -> str:
    """A perplexity with the digits that matter."""
    if not math.isfinite(value):
        return NO_DATA
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.{2 if value < 100 else 1 if value < 1000 else 0}f}"


def percent(value: float) -> str:
    """A signed fraction as a percentage, positive for better."""
    return f"{value:+z,.1%}" if math.isfinite(value) else NO_DATA


@dataclass(frozen=True)
class IntervalAxis:
    """The one axis on which every interval of a report is drawn.

    Attributes:
        low: its left end, as a fraction.
        high: its right end.
    """

    low: float
    high: float

    @classmethod
    def of(cls, intervals: Iterable[Interval | None]) -> "IntervalAxis":
        """Wide enough for every interval and for zero."""
        ends = [end for each in intervals if each is not None for end in (each.low, each.high)]
        low, high = max(min([0.0, *ends]), _LOWEST_PLOTTED), max([0.02, *ends])
        room = 0.12 * (high - low)
        return cls(low - room, high + room)

    def at(self, value: float) -> float:
        """Where a value lies between the ends, from 0 to 1; what lies beyond an end is put there."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """At most four round values, zero among them."""
        span = self.high - self.low
        step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if span / step <= 3.5 or step == 1.0)
        return [step * count for count in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def continuation(text: str) -> str:
    """A model's text, printable, with its own lines, without the space that joins it to its prompt."""
    return printable(text.removeprefix(" ").rstrip(), keep="\n\t")


def labels(users: Iterable[str], limit: int) -> dict[str, str]:
    """A short printable name for every user, no two alike and none taken for the base.

    Args:
        users: their ids.
        limit: characters a name may have, but for the number that tells two alike apart.
    """
    taken = {BASE_LABEL}
    named: dict[str, str] = {}
    for user in users:
        visible = any(unicodedata.category(character)[0] in "LNPS" for character in user)
        name = printable(user) if visible else ascii(user)
        if len(name) > limit:
            tail = limit // 4
            name = f"{name[: limit - tail - 1]}…{name[-tail:]}"
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name} ({number})"
        taken.add(candidate)
        named[user] = candidate
    return named
