"""The test an adapter must pass to be served."""

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter, GateOutcome, check_fits
from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.cross_validation import CrossValidated
from sharedllm.evaluation.intervals import Interval, foretold, improvement
from sharedllm.evaluation.perplexity import Losses, Windows, base_losses, row_losses, spread
from sharedllm.text.passages import Learn
from sharedllm.text.repeats import REPEATS_HELD_BACK, Repeats, flattering, given_away_in_words
from sharedllm.text.windows import round_up

TENTHS = tuple(tenths / 10 for tenths in range(1, 10))
"""Of itself, which a row is scaled to that harms general text alone."""

_MOST_TIMES = 10

MAX_WINDOWS = 32
"""Windows read of each text: 32 of 256 tokens are eight times the 1,000 tokens of the source documents."""


@dataclass(frozen=True, eq=False)
class Start:
    """What an adapter grew from, and what is left of the text that was made from.

    Attributes:
        adapter: the one that answers until now.
        gain: of it over the base on held-out windows of that text, in nats per token; None where that is not known.
    """

    adapter: Adapter
    gain: float | None


@dataclass(frozen=True)
class Gate:
    """What an adapter must show. A gate measures a base on a general text once, however many adapters it judges.

    Attributes:
        general_tolerance: the largest relative rise of perplexity on general text that is allowed, as a fraction.
        max_windows: windows read of each text, evenly spaced.
        old_tolerance: the largest relative rise of perplexity that is allowed, as a fraction, on the text that an
            adapter's start was made from.
    """

    general_tolerance: float = 0.10
    max_windows: int = MAX_WINDOWS
    old_tolerance: float = 0.10
    _measured: dict[tuple[Base, str], Losses] = field(default_factory=dict, init=False, repr=False, compare=False)

    def judge(
        self,
        base: Base,
        injection: Injection,
        adapter: Adapter,
        validation: Windows | CrossValidated,
        general: Windows,
        start: Start | None = None,
    ) -> GateOutcome:
        """Compare an adapter with what answers without it, on its user's validation text and on general text.

        It passes only if the lower end of the improvement's interval is above zero on the user's text, and the upper
        end of the degradation's interval is within the tolerance on general text: doubt counts against the adapter.
        What answers without it is the base, or what the adapter grew from. General text is always compared with the
        base, so that nobody drifts away from it week by week. Of the text before, which is gone, it is known what the
        start had gained there: how the adapter changes windows of the new text on which as much was gained tells what
        becomes of it (`intervals.foretold`), and the upper end of a rise must be within a tolerance there, too. So text
        of another kind, of which no window is like that, is held back.

        Args:
            base: the base model.
            injection: of the adapter's layout, attached to it.
            adapter: the candidate.
            validation: int64 ``[windows, tokens]`` of the user's own text, none of which it was trained on; or what was
                measured while it was trained on all of that.
            general: int64 ``[windows, tokens]`` of general text.
            start: what the adapter grew from; None for the base.

        Raises:
            WrongBase: an adapter was not made for this base and format.
        """
        check_fits(adapter, injection.layout)
        if start is not None:
            check_fits(start.adapter, injection.layout)
        own = self._own(base, injection, adapter, validation, start)
        text = spread(general, self.max_windows)
        (other,) = row_losses(base, injection, adapter.values[None], text)
        return self.decide(own, [self._base_on(base, text), other], *_about(validation, start))

    def gentler(
        self,
        base: Base,
        injection: Injection,
        adapter: Adapter,
        validation: Windows | CrossValidated,
        general: Windows,
        refused: GateOutcome,
        start: Start | None = None,
    ) -> tuple[Adapter, GateOutcome]:
        """Scale an adapter that `harms_general_alone` down until it does not, and judge that.

        What is scaled is how far it is from the base, or from what it grew from. The scale is the largest tenth (of
        cross-validated text, the largest scale at which it was read) at which the degradation of general text is within
        the tolerance, upper end and all, found by bisection: what a row does to general text grows with the row. The
        user's own text has no part in the choice and is read once at that scale, so that it judges what it did not
        choose; that the row helped in full was asked before, which can only refuse more. What is held out is read by
        nobody here.

        Args:
            base, injection, adapter, validation, general, start: as `judge` was given them.
            refused: what it found.

        Returns:
            The smaller adapter, whose provenance says its ``scale``, and its outcome, if that passes; else the adapter
            as it was, held back for what it was.
        """
        text = spread(general, self.max_windows)
        of_base = found = self._base_on(base, text)
        scales = validation.smaller if isinstance(validation, CrossValidated) else TENTHS
        fits, too_much = -1, len(scales)
        while too_much - fits > 1:
            middle = (fits + too_much) // 2
            (read,) = row_losses(base, injection, _scaled(adapter, scales[middle], start).values[None], text)
            if -improvement(of_base, read).low <= self.general_tolerance:
                fits, found = middle, read
            else:
                too_much = middle
        if fits >= 0:
            scale = scales[fits]
            smaller = _scaled(adapter, scale, start)
            own = self._own(base, injection, smaller, validation, start, scale)
            outcome = self.decide(own, [of_base, found], *_about(validation, start))
            if outcome.passed:
                in_full = {text: refused.figures[text] for text in ("own", "general")}
                reason = (
                    f"passed: scaled to {scale:g} so that general text stays within {self.general_tolerance:.0%};"
                    f" {outcome.finding}"
                )
                figures = {**outcome.figures, "scale": scale, "in_full": in_full}
                return smaller, replace(outcome, reason=reason, figures=figures)
        return adapter, replace(refused, reason=f"{refused.reason}; scaled down it does not pass either")

    def _own(
        self,
        base: Base,
        injection: Injection,
        adapter: Adapter,
        validation: Windows | CrossValidated,
        start: Start | None,
        fraction: float = 1.0,
    ) -> list[Losses]:
        if isinstance(validation, CrossValidated):
            return validation.losses(fraction)
        return row_losses(base, injection, _beside(adapter, start), spread(validation, self.max_windows))

    def _base_on(self, base: Base, general: Windows) -> Losses:
        key = base, hashlib.sha256(repr(general.shape).encode() + general.tobytes()).hexdigest()
        if key not in self._measured:
            self._measured[key] = base_losses(base, general)
        return self._measured[key]

    def decide(
        self,
        own: list[Losses],
        general: list[Losses],
        old_gain: float | None = None,
        cross_validated: CrossValidated | None = None,
    ) -> GateOutcome:
        """The decision alone.

        Args:
            own: of (base, adapter) on the user's text, and of what the adapter grew from, if it did.
            general: of (base, adapter) on general text.
            old_gain: of what it grew from over the base on the text before, in nats per token; None if not known.
            cross_validated: what ``own`` is of, where it is not of validation text. If that does not clearly help, the
                answer is "not yet", with how much text the interval would probably have been narrow enough.
        """
        where = "on validation text"
        if cross_validated is not None:
            where = f"cross-validated over {cross_validated.as_dict()['blocks']} blocks,"
        try:
            gain, over = improvement(*own[:2]), "the base's"
            drift = improvement(*general)
            grown = improvement(own[2], own[1]) if len(own) > 2 else None
        except InvalidInput as error:
            return GateOutcome(False, f"held back: {error.message}", {})
        figures: dict[str, Any] = {
            "own": {"base": own[0].perplexity, "adapter": own[1].perplexity, "improvement": gain.as_dict()},
            "general": {"base": general[0].perplexity, "adapter": general[1].perplexity, "change": drift.as_dict()},
            "general_tolerance": self.general_tolerance,
        }
        old = None
        if grown is not None:
            old = None if old_gain is None else foretold(own[0], own[2], own[1], old_gain)
            figures["grown"] = {
                "before": own[2].perplexity,
                "improvement": grown.as_dict(),
                "old_gain": old_gain,
                "old_change": old and old.as_dict(),
            }
            figures["old_tolerance"] = self.old_tolerance
            gain, over = grown, "that of the release it grew from"
        if cross_validated is not None:
            figures["cross_validated"] = cross_validated.as_dict()
        if gain.low <= 0 and cross_validated is not None:
            characters = cross_validated.characters
            wanted = characters_wanted(gain, characters)
            reason = (
                f"held back: not yet: {_in_words(gain, over, where)}; it read {characters:,} characters, and some"
                f" {wanted:,} would probably tell"
            )
            return GateOutcome(False, reason, {**figures, "not_yet": {"characters": wanted}})
        if gain.low <= 0:
            reason = f"held back: it does not clearly help; {_in_words(gain, over, where)}"
            return GateOutcome(False, reason, figures)
        if old_gain is not None and grown is not None and (old is None or -old.low > self.old_tolerance):
            return GateOutcome(
                False, f"held back: {_unlearnt(old, self.old_tolerance)}; {_in_words(gain, over, where)}", figures
            )
        if -drift.low > self.general_tolerance:
            change = f"{abs(drift.estimate):.1%} {'worse' if drift.estimate < 0 else 'better'}"
            reason = (
                f"held back: general text may get {change} ({drift.confidence:.0%} interval of the change:"
                f" {-drift.high:+.1%} to {-drift.low:+.1%}), and {-drift.low:.1%} worse is more than the"
                f" {self.general_tolerance:.0%} allowed; {_in_words(gain, over, where)}"
            )
            return GateOutcome(False, reason, figures)
        cost = f"; {cost_in_words(drift)}" if drift.high < 0 else ""
        return GateOutcome(True, f"passed: {_in_words(gain, over, where)}{cost}", figures)


def characters_wanted(gain: Interval, characters: int) -> int:
    """How much text would probably decide what so many characters do not, rounded up to two digits.

    An interval's width falls with the root of how much was read, so that it would just exclude zero with
    ``(width below / estimate)**2`` times as much, if the gain stayed as it is. It is never less than half as much
    again; and twice as much where nothing helps so far or more than ten times as much would be asked for: by then
    another estimate is due.
    """
    times = ((gain.estimate - gain.low) / gain.estimate) ** 2 if gain.estimate > 0 else math.inf
    return round_up(characters * (max(1.5, times) if times <= _MOST_TIMES else 2))


def harms_general_alone(outcome: GateOutcome) -> bool:
    """Whether an adapter was held back for general text and for nothing else, so that it may be tried gentler."""
    figures = outcome.figures
    helped = figures.get("grown") or figures.get("own")
    if outcome.passed or helped is None or helped["improvement"]["low"] <= 0:
        return False
    if helped.get("old_gain") is None:
        return True
    old = helped["old_change"]
    return old is not None and -float(old["low"]) <= figures["old_tolerance"]


def _unlearnt(old: Interval | None, tolerance: float) -> str:
    if old is None:
        return "what becomes of the text before cannot be told from this one, which is of another kind"
    change = f"{abs(old.estimate):.1%} {'worse' if old.estimate < 0 else 'better'}"
    return (
        f"the text before may be read {change} ({old.confidence:.0%} interval of the change, as far as this one tells:"
        f" {-old.high:+.1%} to {-old.low:+.1%}), and {-old.low:.1%} worse is more than the {tolerance:.0%} allowed"
    )


def _beside(adapter: Adapter, start: Start | None) -> npt.NDArray[np.float32]:
    """The base, the adapter, and what it grew from if it did: float32 ``[2 or 3, P]``."""
    rows = [np.zeros_like(adapter.values), adapter.values]
    return np.stack(rows if start is None else [*rows, start.adapter.values])


def _about(validation: Windows | CrossValidated, start: Start | None) -> tuple[float | None, CrossValidated | None]:
    gain = None if start is None else start.gain
    return gain, validation if isinstance(validation, CrossValidated) else None


def _scaled(adapter: Adapter, scale: float, start: Start | None) -> Adapter:
    origin = np.zeros_like(adapter.values) if start is None else start.adapter.values
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


def say_what_was_learned(outcome: GateOutcome, learn: Learn, chats: bool) -> GateOutcome:
    """An outcome that says what was trained and judged, where that is not all that was read.

    Args:
        outcome: of an adapter.
        learn: which of two things it was trained for.
        chats: whether what it learned are turns of conversations, or some of it.
    """
    if not chats:
        return outcome
    what = (
        "answers alone were trained and judged" if learn == "answers" else "of chats their own turns alone were learned"
    )
    return replace(outcome, reason=f"{outcome.reason}; {what}", figures={**outcome.figures, "learn": learn})


def cost_in_words(general: Interval) -> str:
    """What is to be told of a change of general text whose whole interval is below zero."""
    return f"general text gets clearly worse, by {-general.estimate:.1%}"


def _in_words(gain: Interval, over: str, where: str) -> str:
    change = f"{abs(gain.estimate):.1%} {'lower' if gain.estimate > 0 else 'higher'} than"
    change = "still" if gain.low == gain.high == 0 else change
    return (
        f"{where} perplexity is {change} {over} ({gain.confidence:.0%} interval of the improvement:"
        f" {gain.low:+.1%} to {gain.high:+.1%})"
    )
