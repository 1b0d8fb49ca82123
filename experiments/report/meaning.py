"""What a bet's flags mean for a deployment: the rule is `lenient and not catastrophic`."""

from collections.abc import Iterable
from dataclasses import dataclass

from experiments.report.results import MEASURED, NOT_RUN, STALE, Bet, Run

# What follows where the rule is met, and where it is not.
_DECISIONS = {
    "04": (
        "specialists that have to answer together are mixed, not multiplied",
        "specialists are not mixed on the strength of this bet",
    ),
    "13": ("the base may be stored in ternary form", "the base stays in full precision"),
    "18": ("per-token attributions may be shown as an account", "per-token attributions are not shown as an account"),
    "31": ("two fine-tuned models may be merged into one", "fine-tuned models are not merged"),
    "46": (
        "norm-only instead of a full copy is no matter of a lucky seed",
        "norm-only instead of a full copy has to be argued by size, not by quality",
    ),
    "49": (
        "norm-only may be the default format",
        "norm-only is a choice of size, not of quality, and whoever can afford larger adapters should compare",
    ),
    "52": ("a ternary base may serve users who have an adapter on it", "adapters do not make up for a ternary base"),
    "53": (
        "int8 may be the default, still measured user by user",
        "int8 stays opt-in: for each user it is measured first",
    ),
    "54": (
        "an average of two users harms neither; serving gives each their own all the same, which keeps more of the "
        "gain and is one person's",
        "users' adapters are not averaged",
    ),
    "55": (
        "a mixture of known users is no worse than the base for an unknown one; serving gives them the base all the "
        "same, which takes one pass and shows a stranger nothing of anybody",
        "an unknown user is answered by the base, not by a mixture of known users",
    ),
    "58": ("a steering vector may be offered where bytes count", "a steering vector is not offered in place of norms"),
    "60": (
        "what an adapter gains comes from text, not from being trained at all",
        "part of what adapters gain may come from any training at all",
    ),
    "61": (
        "each user is served their own adapter",
        "a user's own adapter is served only after it has beaten the alternatives",
    ),
    "63": (
        "an adapter may be stored at lower precision than float16 as far as this noise goes",
        "adapters are stored at float16 or better",
    ),
}
_WHY = {
    MEASURED: "a measurement that the criteria need is missing or not finite, so nothing is decided",
    STALE: "judged by other criteria than today's, so its flags do not count; its numbers are of then",
    NOT_RUN: "not run yet",
}
_ANY = ("the claim may be built on", "nothing is built on the claim")


@dataclass(frozen=True)
class Meaning:
    """What one protocol's flags mean.

    Attributes:
        protocol: whose flags.
        sentence: what follows for a deployment.
    """

    protocol: str
    sentence: str


def meanings(bet: Bet) -> list[Meaning]:
    """One sentence for each protocol."""
    return [_meaning(bet, run) for run in bet.runs.values()]


def allowed(run: Run) -> bool | None:
    """Whether the lenient flag is set and the catastrophic one is not; None where either has no data."""
    lenient, catastrophic = run.flags["lenient"].holds, run.flags["catastrophic"].holds
    if lenient is None or catastrophic is None:
        return None
    return lenient and not catastrophic


def headline(bets: Iterable[Bet]) -> str:
    """All bets in one sentence, under the last measured of each one's protocols: the tuned one, where there is one."""
    last = [allowed(_last_measured(bet)) for bet in bets]
    total, met, unknown = len(last), last.count(True), last.count(None)
    sentence = f"{met} of {total} claims may be built on: lenient, and not catastrophic"
    without = f"{unknown} {'has' if unknown == 1 else 'have'} no data"
    if unknown == total:
        return f"None of {total} claims has been measured."
    return f"{sentence}; {without}." if unknown else f"{sentence}."


def _last_measured(bet: Bet) -> Run:
    runs = list(bet.runs.values())
    return next((run for run in reversed(runs) if run.state == MEASURED), runs[-1])


def _meaning(bet: Bet, run: Run) -> Meaning:
    met, unmet = _DECISIONS.get(bet.number, _ANY)
    rule = allowed(run)
    if rule is None:
        return Meaning(run.protocol, f"No data: {_WHY[run.state]}.")
    if rule:
        return Meaning(run.protocol, f"Lenient and not catastrophic: {met}.")
    flags = "Catastrophic" if run.flags["catastrophic"].holds else "Not even lenient"
    if run.flags["lenient"].holds:
        flags = "Lenient, but catastrophic too"
    return Meaning(run.protocol, f"{flags}: {unmet}.")
