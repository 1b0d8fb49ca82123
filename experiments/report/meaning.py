"""What a bet's flags mean for a deployment: the rule is `lenient and not catastrophic`."""

from collections.abc import Iterable
from dataclasses import dataclass

from experiments.report.bet_results import MEASURED, NOT_RUN, STALE, BetResults, Run

_WHY = {
    MEASURED: "a measurement that the criteria need is missing or not finite, so nothing is decided",
    STALE: "judged by other criteria than today's, so its flags do not count; its numbers are of then",
    NOT_RUN: "not run yet",
}


@dataclass(frozen=True)
class Meaning:
    """What one protocol's flags mean.

    Attributes:
        protocol: whose flags.
        sentence: what follows for a deployment.
    """

    protocol: str
    sentence: str


def meanings(bet: BetResults) -> list[Meaning]:
    """One sentence for each protocol."""
    return [_meaning(bet, run) for run in bet.runs.values()]


def allowed(run: Run) -> bool | None:
    """Whether the lenient flag is set and the catastrophic one is not; None where either has no data."""
    lenient, catastrophic = run.flags["lenient"].holds, run.flags["catastrophic"].holds
    if lenient is None or catastrophic is None:
        return None
    return lenient and not catastrophic


def headline(bets: Iterable[BetResults]) -> str:
    """All bets in one sentence, under the last measured of each one's protocols: the tuned one, where there is one."""
    last = [allowed(_last_measured(bet)) for bet in bets]
    total, met, unknown = len(last), last.count(True), last.count(None)
    sentence = f"{met} of {total} claims may be built on: lenient, and not catastrophic"
    without = f"{unknown} {'has' if unknown == 1 else 'have'} no data"
    if unknown == total:
        return f"None of {total} claims has been measured."
    return f"{sentence}; {without}." if unknown else f"{sentence}."


def _last_measured(bet: BetResults) -> Run:
    runs = list(bet.runs.values())
    return next((run for run in reversed(runs) if run.state == MEASURED), runs[-1])


def _meaning(bet: BetResults, run: Run) -> Meaning:
    rule = allowed(run)
    if rule is None:
        return Meaning(run.protocol, f"No data: {_WHY[run.state]}.")
    if rule:
        return Meaning(run.protocol, f"Lenient and not catastrophic: {bet.decision.met}.")
    flags = "Catastrophic" if run.flags["catastrophic"].holds else "Not even lenient"
    if run.flags["lenient"].holds:
        flags = "Lenient, but catastrophic too"
    return Meaning(run.protocol, f"{flags}: {bet.decision.unmet}.")
