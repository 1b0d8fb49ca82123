"""Numbers of a whole fleet, each with an interval over its people: it says what another draw of people would give."""

import math

import numpy as np
import numpy.typing as npt

from sharedllm.evaluation.intervals import CONFIDENCE, RESAMPLES
from sharedllm.reporting.bets import Number

_Z = 1.959964
"""Of the normal distribution, for `CONFIDENCE`."""

Values = npt.NDArray[np.float64]


def share_kept(own: Values, control: Values, *, seed: int = 0) -> Number:
    """The share of people's total gain that a control does not bring them: ``1 - sum(control) / sum(own)``.

    Above 1 the control does harm; NaN where there is no gain to share. The interval is a bootstrap over people.

    Args:
        own: nats per token that each person gains, float64 ``[people]``.
        control: what the control gains them, likewise.
        seed: of the resamples.
    """
    counts = _draws(len(own), seed)
    total = counts @ own
    if own.sum() <= 0 or (total <= 0).any():
        # Some draw of these people has no gain at all, so that no interval would mean anything.
        return Number(1 - control.sum() / own.sum()) if own.sum() > 0 else Number()
    return _between(float(1 - control.sum() / own.sum()), 1 - (counts @ control) / total)


def share_of(flags: npt.NDArray[np.bool_], *, seed: int = 0) -> Number:
    """How many of the people have a property, with a bootstrap interval over people."""
    return _between(float(flags.mean()), _draws(len(flags), seed) @ flags / len(flags))


def rank_correlation(x: Values, y: Values) -> Number:
    """Spearman's correlation of two values of each person; NaN for fewer than four people, or if one never varies.

    The interval is Fisher's, with the variance of Bonett and Wright (2000); a perfect order has none around it.
    """
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Number()
    value = float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])
    if abs(value) > 1 - 1e-12:
        return Number(value, value, value)
    room = _Z * math.sqrt((1 + value**2 / 2) / (len(x) - 3))
    return Number(value, math.tanh(math.atanh(value) - room), math.tanh(math.atanh(value) + room))


def _ranks(values: Values) -> Values:
    """Ranks from 0; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Values = (ends - (counts + 1) / 2)[place]
    return means


def _draws(people: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=RESAMPLES)


def _between(value: float, resampled: Values) -> Number:
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Number(value, float(low), float(high))
