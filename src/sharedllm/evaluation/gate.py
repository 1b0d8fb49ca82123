"""The test an adapter must pass to be served."""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter, GateOutcome, check_fits
from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.intervals import Interval, improvement
from sharedllm.evaluation.perplexity import Losses, Windows, base_losses, row_losses, spread
from sharedllm.text.repeats import Repeats

TENTHS = 10
"""A row that harms general text alone is tried at as many tenths of itself as it takes."""

MAX_WINDOWS = 32
"""Windows read of each text: 32 of 256 tokens are eight times the 1,000 tokens of the source documents."""

REPEATS_TOLD = 0.25
"""Share of a block given away by training text from which on people are told. The sample users have 3 % to 20 %; of a
hundred real people, half of the 25 authors of libraries have more, and 3 of the other 74."""

REPEATS_HELD_BACK = 0.5
"""Share of the validation block given away above which the gate holds back: most of what it reads was then trained on,
and an adapter that only remembers would pass. Of the hundred people one has more, who wrote by a template."""


@dataclass(frozen=True)
class Gate:
    """What an adapter must show. A gate measures a base on a general text once, however many adapters it judges.

    Attributes:
        general_tolerance: the largest relative rise of perplexity on general text that is allowed, as a fraction.
        max_windows: windows read of each text, evenly spaced.
    """

    general_tolerance: float = 0.10
    max_windows: int = MAX_WINDOWS
    _measured: dict[tuple[Base, str], Losses] = field(default_factory=dict, init=False, repr=False, compare=False)

    def judge(
        self,
        base: Base,
        injection: Injection,
        adapter: Adapter,
        validation: Windows,
        general: Windows,
        start: Adapter | None = None,
    ) -> GateOutcome:
        """Compare an adapter with what answers without it, on its user's validation text and on general text.

        It passes only if the lower end of the improvement's interval is above zero on the user's text, and the upper
        end of the degradation's interval is within the tolerance on general text: doubt counts against the adapter.
        What answers without it is the base, or what the adapter grew from. General text is always compared with the
        base, so that nobody drifts away from it week by week.

        Args:
            base: the base model.
            injection: of the adapter's layout, attached to it.
            adapter: the candidate.
            validation: int64 ``[windows, tokens]`` of the user's own text, none of which it was trained on.
            general: int64 ``[windows, tokens]`` of general text.
            start: what the adapter grew from, which answers until now; None for the base.

        Raises:
            WrongBase: an adapter was not made for this base and format.
        """
        for each in (adapter, start):
            if each is not None:
                check_fits(each, injection.layout)
        own = row_losses(base, injection, _beside(adapter, start), spread(validation, self.max_windows))
        text = spread(general, self.max_windows)
        (other,) = row_losses(base, injection, adapter.values[None], text)
        return self.decide(own[:2], [self._base_on(base, text), other], *own[2:])

    def gentler(
        self,
        base: Base,
        injection: Injection,
        adapter: Adapter,
        validation: Windows,
        general: Windows,
        refused: GateOutcome,
        start: Adapter | None = None,
    ) -> tuple[Adapter, GateOutcome]:
        """Scale an adapter that `harms_general_alone` down until it does not, and judge that.

        What is scaled is how far it is from the base, or from what it grew from. The scale is the largest tenth at
        which the degradation of general text is within the tolerance, upper end and all, found by bisection: what a
        row does to general text grows with the row. The user's own text has no part in the choice and is read once at
        that scale, so that it judges what it did not choose; that the row helped in full was asked before, which can
        only refuse more. What is held out is read by nobody here.

        Args:
            base, injection, adapter, validation, general, start: as `judge` was given them.
            refused: what it found.

        Returns:
            The smaller adapter, whose provenance says its ``scale``, and its outcome, if that passes; else the adapter
            as it was, held back for what it was.
        """
        text = spread(general, self.max_windows)
        of_base = found = self._base_on(base, text)
        fits, too_much = 0, TENTHS
        while too_much - fits > 1:
            middle = (fits + too_much) // 2
            (read,) = row_losses(base, injection, _scaled(adapter, middle, start).values[None], text)
            if -improvement(of_base, read).low <= self.general_tolerance:
                fits, found = middle, read
            else:
                too_much = middle
        if fits:
            smaller = _scaled(adapter, fits, start)
            own = row_losses(base, injection, _beside(smaller, start), spread(validation, self.max_windows))
            outcome = self.decide(own[:2], [of_base, found], *own[2:])
            if outcome.passed:
                in_full = {text: refused.figures[text] for text in ("own", "general")}
                scale = smaller.provenance["scale"]
                reason = (
                    f"passed: scaled to {scale:g} so that general text stays within {self.general_tolerance:.0%};"
                    f" {outcome.finding}"
                )
                figures = {**outcome.figures, "scale": scale, "in_full": in_full}
                return smaller, replace(outcome, reason=reason, figures=figures)
        return adapter, replace(refused, reason=f"{refused.reason}; scaled down it does not pass either")

    def _base_on(self, base: Base, general: Windows) -> Losses:
        key = base, hashlib.sha256(repr(general.shape).encode() + general.tobytes()).hexdigest()
        if key not in self._measured:
            self._measured[key] = base_losses(base, general)
        return self._measured[key]

    def decide(self, own: list[Losses], general: list[Losses], start: Losses | None = None) -> GateOutcome:
        """The decision alone, from losses of (base, adapter) on the user's text and on general text.

        Args:
            own: on the user's text.
            general: on general text.
            start: on the user's text, of what the adapter grew from.
        """
        try:
            gain, over = improvement(*own), "the base's"
            grown = None if start is None else improvement(start, own[1])
            drift = improvement(*general)
        except InvalidInput as error:
            return GateOutcome(False, f"held back: {error.message}", {})
        figures = {
            "own": {"base": own[0].perplexity, "adapter": own[1].perplexity, "improvement": gain.as_dict()},
            "general": {"base": general[0].perplexity, "adapter": general[1].perplexity, "change": drift.as_dict()},
            "general_tolerance": self.general_tolerance,
        }
        if start is not None and grown is not None:
            figures["grown"] = {"before": start.perplexity, "improvement": grown.as_dict()}
            gain, over = grown, "that of the release it grew from"
        if gain.low <= 0:
            reason = f"held back: it does not clearly help; {_in_words(gain, over)}"
            return GateOutcome(False, reason, figures)
        if -drift.low > self.general_tolerance:
            change = f"{abs(drift.estimate):.1%} {'worse' if drift.estimate < 0 else 'better'}"
            reason = (
                f"held back: general text may get {change} ({drift.confidence:.0%} interval of the change:"
                f" {-drift.high:+.1%} to {-drift.low:+.1%}), and {-drift.low:.1%} worse is more than the"
                f" {self.general_tolerance:.0%} allowed; {_in_words(gain, over)}"
            )
            return GateOutcome(False, reason, figures)
        cost = f"; {cost_in_words(drift)}" if drift.high < 0 else ""
        return GateOutcome(True, f"passed: {_in_words(gain, over)}{cost}", figures)


def harms_general_alone(outcome: GateOutcome) -> bool:
    """Whether an adapter was held back for general text and for nothing else, so that it may be tried gentler."""
    helped = outcome.figures.get("grown") or outcome.figures.get("own")
    return not outcome.passed and helped is not None and helped["improvement"]["low"] > 0


def _beside(adapter: Adapter, start: Adapter | None) -> npt.NDArray[np.float32]:
    """The base, the adapter, and what it grew from if it did: float32 ``[2 or 3, P]``."""
    rows = [np.zeros_like(adapter.values), adapter.values]
    return np.stack(rows if start is None else [*rows, start.values])


def _scaled(adapter: Adapter, tenths: int, start: Adapter | None) -> Adapter:
    scale = tenths / TENTHS
    origin = np.zeros_like(adapter.values) if start is None else start.values
    values = origin + (adapter.values - origin) * np.float32(scale)
    return replace(adapter, values=values, provenance={**adapter.provenance, "scale": scale})


def mind_repeats(outcome: GateOutcome, repeats: Repeats) -> GateOutcome:
    """An outcome with what training text gives away of the text kept for testing: told, and held back if it is most.

    Args:
        outcome: of an adapter that was trained on the text's training block.
        repeats: of that text.
    """
    if not repeats.share:
        return outcome
    shares = {"validation": repeats.validation, "heldout": repeats.heldout}
    told = replace(outcome, figures={**outcome.figures, "given_away": shares})
    if outcome.passed and repeats.validation > REPEATS_HELD_BACK:
        reason = (
            f"held back: {repeats.validation:.0%} of the validation text also occurs in the training text, so that it"
            f" shows what was remembered, not how new text is read; {outcome.reason.removeprefix('passed: ')}"
        )
        return replace(told, passed=False, reason=reason)
    if flattering(repeats):
        return replace(told, reason=f"{outcome.reason}; {given_away_in_words(repeats)}")
    return told


def flattering(repeats: Repeats) -> bool:
    """Whether training text gives away so much of either block that people are to be told."""
    return max(repeats.validation, repeats.heldout) >= REPEATS_TOLD


def given_away_in_words(repeats: Repeats) -> str:
    """What is to be told of them."""
    return (
        f"{repeats.validation:.0%} of the validation text and {repeats.heldout:.0%} of the held-out text also occur in"
        " the training text, which flatters the figures"
    )


def cost_in_words(general: Interval) -> str:
    """What is to be told of a change of general text whose whole interval is below zero."""
    return f"general text gets clearly worse, by {-general.estimate:.1%}"


def _in_words(gain: Interval, over: str) -> str:
    change = f"{abs(gain.estimate):.1%} {'lower' if gain.estimate > 0 else 'higher'}"
    return (
        f"on validation text perplexity is {change} than {over} ({gain.confidence:.0%} interval of the improvement:"
        f" {gain.low:+.1%} to {gain.high:+.1%})"
    )
