"""Intervals for the difference between two models on the same windows."""

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput
from sharedllm.evaluation.perplexity import Losses

RESAMPLES = 10_000
CONFIDENCE = 0.95
_DRAWN_AT_ONCE = 250_000
"""Counts that are in memory together: 10,000 resamples of 100,000 people have a billion."""

_TELLING_NATS = 1.0
"""An interval that reaches farther than this to either side, by a factor of e, tells nothing."""


@dataclass(frozen=True)
class Interval:
    """A relative change of perplexity with its bootstrap interval.

    Attributes:
        estimate: ``1 - perplexity(model) / perplexity(reference)``: 0.1 is 10 % lower, negative is worse.
        low: lower end.
        high: upper end.
        confidence: of the interval, e.g. 0.95.
        windows: how many windows were resampled.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    windows: int

    def as_dict(self) -> dict[str, float]:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.estimate:+.1%} [{self.low:+.1%}, {self.high:+.1%}]"


def improvement(reference: Losses, model: Losses, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """How much lower the model's perplexity is than the reference's, paired per window.

    A bootstrap over windows: each resample draws windows with replacement and takes both models' losses on the same
    draw over the tokens that are predicted in it, so what makes a window hard cancels. The ends are expanded
    percentiles (Hesterberg 2015, section 4.3), since plain ones are too narrow for few windows: four of them pass the
    gate only if every single one improves.
    Neighbouring windows of one text are not independent, which no resampling of windows can see, and the interval says
    nothing about other texts.

    Raises:
        InvalidInput: the two were not measured on the same number of windows and tokens, a loss is not finite, or there
            are fewer than two windows: one has no spread, and its interval would claim certainty.
    """
    if reference.nats.shape != model.nats.shape or not np.array_equal(reference.tokens, model.tokens):
        raise InvalidInput(
            f"{len(reference.nats)} windows cannot be paired with {len(model.nats)}",
            remedy="Measure both models on the same windows.",
        )
    if len(reference.nats) < 2 or np.min(reference.tokens) < 1:
        raise InvalidInput(
            f"{len(reference.nats)} windows of {np.min(reference.tokens)} predicted tokens are too few to compare"
            " models on",
            remedy="Give more text to measure on.",
        )
    if not np.isfinite(reference.nats).all() or not np.isfinite(model.nats).all():
        raise InvalidInput(
            "A loss is missing or not finite, so the two models cannot be compared",
            remedy="Measure again; if it persists, the adapter is broken and must not be served.",
        )
    weights = _weights(model)
    difference = (model.nats - reference.nats) / np.mean(model.tokens)
    means = _resampled_ratios(difference, weights, resamples, seed)
    tail = _expanded_tail(len(difference))
    high, low = 1 - np.exp(np.quantile(means, [tail, 1 - tail]))
    estimate = 1 - np.exp(difference.sum() / weights.sum())
    return Interval(float(estimate), float(low), float(high), CONFIDENCE, len(difference))


@dataclass(frozen=True)
class Estimate:
    """What was measured over windows, or the difference between two such, with its bootstrap interval.

    Attributes:
        estimate: over all of them, e.g. 0.3 of all words.
        low: lower end; None of fewer than two windows, as `high`.
        high: upper end.
        confidence: of the interval, e.g. 0.95.
        windows: how many windows were resampled.
    """

    estimate: float
    low: float | None
    high: float | None
    confidence: float
    windows: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def ratio(
    parts: npt.ArrayLike,
    wholes: npt.ArrayLike,
    reference: npt.ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """``sum(parts) / sum(wholes)`` over windows, or by how much that exceeds what a reference has of the same wholes.

    The bootstrap of a ratio (Efron and Tibshirani 1993, section 8): windows are drawn with replacement, and the sums
    taken anew, of both on the same draw. The ends are expanded as those of `improvement` are.

    Args:
        parts: ``[windows]``, such as words that were foretold.
        wholes: ``[windows]``, such as words.
        reference: ``[windows]``, another model's parts.
        resamples: draws.
        seed: of them.

    Returns:
        None where there is nothing that it could be a ratio of.
    """
    kept = np.flatnonzero(np.asarray(wholes))
    whole = np.asarray(wholes, np.float64)[kept]
    part = np.asarray(parts, np.float64)[kept]
    if reference is not None:
        part = part - np.asarray(reference, np.float64)[kept]
    count = len(kept)
    if not count:
        return None
    estimate = float(part.sum() / whole.sum())
    if count < 2:
        return Estimate(estimate, None, None, CONFIDENCE, count)
    drawn = _resampled_ratios(part, whole, resamples, seed)
    return resampled(estimate, drawn, count)


def resampled_sums(*values: npt.NDArray[Any], resamples: int = RESAMPLES, seed: int = 0) -> list[npt.NDArray[Any]]:
    """The sums of values over bootstrap resamples of their first axis, the same resamples for all.

    Args:
        values: each ``[count, ...]`` of one or two axes, of windows or of people.
        resamples: how many.
        seed: of the draw.

    Returns:
        Of each, ``[resamples, ...]``.
    """
    count, random = len(values[0]), np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // count)
    sums: list[list[npt.NDArray[Any]]] = [[] for _ in values]
    for begin in range(0, resamples, at_once):
        # Resampling n values with replacement is a multinomial draw of how often each occurs: one matrix product.
        drawn = random.multinomial(count, np.full(count, 1 / count), size=min(at_once, resamples - begin))
        for each, found in zip(values, sums, strict=True):
            found.append(drawn @ each)
    return [np.concatenate(found) for found in sums]


def resampled(estimate: float, drawn: npt.NDArray[np.float64], windows: int) -> Estimate:
    """An estimate and its interval by what it is in each resample, float64 ``[resamples]``, of so many windows."""
    tail = _expanded_tail(windows)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(estimate, float(low), float(high), CONFIDENCE, windows)


def foretold(before: Losses, start: Losses, model: Losses, gain: float) -> Interval | None:
    """How much lower perplexity gets on text that nobody can read any more, of which its gain is known.

    The change from one model to the next is regressed on what the first had gained over the base, window by window of
    the text at hand, each with the weight of its tokens, and read off where the first had gained as much as it did on
    the text that is gone: the regression estimator of two-phase sampling (Cochran 1977, section 12.6), with the
    interval of a mean response (Draper and Smith 1998, section 3.1). It widens with the distance from the windows at
    hand, as for text of another kind. It takes for granted that windows on which as much was gained change alike,
    whichever text they are from.

    Args:
        before: of the base, on the text at hand.
        start: of the model that comes first, on the same windows.
        model: of the one that comes next, on the same windows.
        gain: of the first over the base on the text that is gone, in nats per token.

    Returns:
        as `improvement` gives it; None where nothing can be told: of fewer than four windows, or if they are too
            unlike the text that is gone.
    """
    weights = _weights(model)
    gained = (before.nats - start.nats) / start.tokens
    change = (model.nats - start.nats) / model.tokens
    count = len(gained)
    mean_gain, mean_change = (float((weights * each).sum()) / count for each in (gained, change))
    away = gain - mean_gain
    spread = float((weights * (gained - mean_gain) ** 2).sum())
    if count < 4 or (spread == 0 and away != 0):
        return None
    slope = float((weights * (gained - mean_gain) * change).sum()) / spread if spread else 0.0
    left = change - mean_change - slope * (gained - mean_gain)
    deviation = math.sqrt(float((weights * left**2).sum()) / (count - 2))
    reach = _student(count - 2) * deviation * math.sqrt(1 / count + (away**2 / spread if spread else 0.0))
    estimate = mean_change + slope * away
    if not reach < _TELLING_NATS:
        return None
    at, low, high = (1 - math.exp(each) for each in (estimate, estimate + reach, estimate - reach))
    return Interval(at, low, high, CONFIDENCE, count)


def _expanded_tail(count: int) -> float:
    """The tail to cut so that a percentile interval of few values is as wide as Student's t would make it."""
    freedom = count - 1
    return NormalDist().cdf(-_student(freedom) * math.sqrt(count / freedom))


def _student(freedom: int) -> float:
    """The quantile of Student's t that an interval takes.

    It is the expansion of Abramowitz and Stegun 26.7.5, within 1 % from three degrees of freedom on.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    t = z
    t += (z**3 + z) / (4 * freedom)
    t += (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return t


def _weights(losses: Losses) -> npt.NDArray[np.float64]:
    """What each window counts for, float64 ``[windows]``: its predicted tokens, 1 on average."""
    return np.broadcast_to(losses.tokens / np.mean(losses.tokens), losses.nats.shape)


def _resampled_ratios(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Of every resample the sum of its values over the sum of their weights."""
    summed, weighed = resampled_sums(values, weights, resamples=resamples, seed=seed)
    ratios: npt.NDArray[np.float64] = summed / weighed
    return ratios
