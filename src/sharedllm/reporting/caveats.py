"""What is to be told beside a gain, in the same words wherever one is told: what it cost, and what flatters it."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.evaluation.gate import cost_in_words
from sharedllm.evaluation.intervals import Interval
from sharedllm.text.repeats import Repeats, flattering, given_away_in_words


class GainAndCost(Protocol):
    """What one person's adapter brought and cost; None where it was not measured."""

    @property
    def gain(self) -> Interval | None:
        """Over the base, on their held-out text."""

    @property
    def general(self) -> Interval | None:
        """Change on general text."""

    @property
    def gate(self) -> GateOutcome | None:
        """The gate's outcome."""

    @property
    def repeats(self) -> Repeats | None:
        """What the training text gives away of the text that they were tested on."""


def caveats(outcomes: Sequence[GainAndCost]) -> list[str]:
    """Clauses, in words, on everything that speaks against the adapters of one or several people."""
    return list(_caveats(outcomes, several=len(outcomes) > 1))


def _caveats(outcomes: Sequence[GainAndCost], *, several: bool) -> Iterator[str]:
    harmed = sum(each.gain is not None and each.gain.high < 0 for each in outcomes)
    unknown = sum(each.gain is None for each in outcomes)
    worse = [each.general for each in outcomes if each.general is not None and each.general.high < 0]
    repeats = [each.repeats for each in outcomes if each.repeats is not None and flattering(each.repeats)]
    held = sum(each.gate is not None and not each.gate.passed for each in outcomes)
    if harmed and several:
        yield f"{harmed} {'do' if harmed > 1 else 'does'} worse than the base"
    if unknown and several:
        yield f"{unknown} could not be measured"
    if worse and several:
        most = max(-each.estimate for each in worse)
        yield f"general text gets clearly worse under {len(worse)}, by up to {most:.1%}"
    elif worse:
        yield cost_in_words(worse[0])
    if repeats and several:
        most = max(max(each.validation, each.heldout) for each in repeats)
        yield (
            f"training text gives away much of the text kept for testing of {len(repeats)}, up to {most:.0%} of it,"
            f" which flatters {'their' if len(repeats) > 1 else 'its'} figures"
        )
    elif repeats:
        yield given_away_in_words(repeats[0])
    if held:
        yield f"{held if several else 'it'} {'are' if held > 1 else 'is'} held back by the gate"
