"""What an operator asks of a fleet, answered in numbers from how its people's texts were read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.intervals import CONFIDENCE, Interval, improvement, resampled_sums
from sharedllm.evaluation.perplexity import Losses
from sharedllm.reporting.charts import Number
from sharedllm.reporting.fleet.members import Fleet
from sharedllm.text.repeats import Repeats

BREAK_SECONDS = 3600.0
"""Between two releases; a longer time is somebody's break. People of a batch are released together, and one of eight
takes a quarter of an hour on one core."""

_Z = 1.959964
"""Of the normal distribution, for `CONFIDENCE`."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reading:
    """One person's held-out windows, read by the base, their adapter, another person's and everybody's."""

    base: Losses
    own: Losses
    other: Losses
    everyone: Losses


@dataclass(frozen=True)
class MeasuredPerson:
    """One person of the fleet. Improvements are of perplexity on their held-out text, paired per window.

    Attributes:
        user: the id.
        kind: what their id begins with.
        text_bytes: of their text in UTF-8.
        base: perplexity of the base.
        own: perplexity of the base with their adapter.
        gain: of their adapter over the base.
        by_other: of another person's adapter over the base.
        by_everyone: of one adapter trained on everybody's text over the base.
        over_other: of their adapter over the other person's, or over the base where that is the better one.
        over_everyone: of their adapter over the one trained on everybody's, or over the base likewise.
        other: whose adapter that other one is.
        gate: the gate's outcome.
        general: change on general text, as the gate measured it; None where it did not.
        repeats: what their training text gives away of the text they are tested on.
        nearest: whose row is the nearest to theirs.
        place: theirs on the map.
    """

    user: str
    kind: str
    text_bytes: int
    base: float
    own: float
    gain: Interval
    by_other: Interval
    by_everyone: Interval
    over_other: Interval
    over_everyone: Interval
    other: str
    gate: GateOutcome
    general: Interval | None
    repeats: Repeats
    nearest: str
    place: tuple[float, float]

    @property
    def improved(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.gain.low > 0

    @property
    def harmed(self) -> bool:
        """Whether the perplexity is higher than the base's, by estimate."""
        return self.gain.estimate < 0


@dataclass(frozen=True)
class Group:
    """Some people together: the fleet, or those of one kind.

    Attributes:
        people: how many there are.
        improved: whose interval is clear of zero.
        worse: whose perplexity is higher than the base's, gate or no gate.
        general_worse: whose adapter makes general text clearly worse, as the gate measured it.
        held_back: by the gate.
        median, p10, p90, worst: of their improvements, where 0.1 is 10 % lower perplexity.
        over_other: the share of the gain that a random other person's adapter does not bring; where that one does harm
            it brings nothing, as the base would do better.
        over_everyone: the share that one adapter for all does not bring, likewise.
        growth: rank correlation of the improvement with the amount of text.
        median_bytes: of the people's texts.
    """

    people: int
    improved: int
    worse: int
    general_worse: int
    held_back: int
    median: float
    p10: float
    p90: float
    worst: float
    over_other: Number
    over_everyone: Number
    growth: Number
    median_bytes: float


@dataclass(frozen=True)
class Gated:
    """What the gate did, judged on held-out text that it never saw. Harm is a perplexity above the base's.

    Attributes:
        spared: held back, and would have been harmed.
        let_through: served, and harmed all the same.
        over_cautious: held back, though the whole interval of the improvement is above zero.
    """

    spared: int
    let_through: int
    over_cautious: int


@dataclass(frozen=True, eq=False)
class FleetReport:
    """Everything on the page.

    Attributes:
        base, fingerprint, recipe: what everybody was trained on, and how.
        window: tokens in a window.
        people: in the order of their improvement, greatest first.
        missing: by user, why somebody of the manifest is not among them.
        everyone: all of them.
        kinds: those of each kind.
        gated: what the gate did.
        agreement: how often the nearest row belongs to somebody of the same kind.
        chance: how often it would if rows were handed out at random.
        variance: shares of the rows' variance along the map's two directions.
        bytes_per_user: of an adapter as stored.
        seconds_per_user: between two releases, breaks left out; None if there are no two close to each other.
        made_at: ISO time.
        version: of sharedllm.
    """

    base: str
    fingerprint: str
    recipe: str
    window: int
    people: Sequence[MeasuredPerson]
    missing: Mapping[str, str]
    everyone: Group
    kinds: Mapping[str, Group]
    gated: Gated
    agreement: Number
    chance: float
    variance: tuple[float, float]
    bytes_per_user: int
    seconds_per_user: float | None
    made_at: str
    version: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not known is None."""
        found: dict[str, Any] = _finite(asdict(self))
        return found


def report_on(fleet: Fleet, readings: Mapping[str, Reading], *, base: str, made_at: str, version: str) -> FleetReport:
    """Put the numbers of a fleet together. Who cannot be compared, as when a loss is not finite, is missing from it.

    Args:
        fleet: who is in it.
        readings: by user, how their held-out text was read.
        base: its name.
        made_at: ISO time.
        version: of sharedllm.

    Raises:
        InvalidInput: nobody can be compared.
    """
    members = fleet.members
    drawn = draw_map(np.stack([member.release.adapter.values for member in members]))
    kinds = [member.kind for member in members]
    people: list[MeasuredPerson] = []
    missing = dict(fleet.missing)
    for number, member in enumerate(members):
        nearest = members[int(drawn.nearest[number])].user
        try:
            people.append(_person(fleet, number, readings[member.user], nearest, drawn.places[number]))
        except InvalidInput as error:
            missing[member.user] = error.message
    if not people:
        raise InvalidInput("Nobody of the fleet can be compared with the base", remedy="Train them again.")
    agree = np.array([kinds[int(near)] == kind for kind, near in zip(kinds, drawn.nearest, strict=True)])
    people.sort(key=lambda person: -person.gain.estimate)
    of_kind = {kind: [each for each in people if each.kind == kind] for kind in dict.fromkeys(kinds)}
    return FleetReport(
        base=base,
        fingerprint=fleet.fingerprint,
        recipe=fleet.recipe.name,
        window=fleet.recipe.window,
        people=people,
        missing=missing,
        everyone=_group(people),
        kinds={kind: _group(found) for kind, found in of_kind.items() if found},
        gated=Gated(
            spared=sum(each.harmed and not each.gate.passed for each in people),
            let_through=sum(each.harmed and each.gate.passed for each in people),
            over_cautious=sum(each.improved and not each.gate.passed for each in people),
        ),
        agreement=share_of(agree),
        chance=chance_of_agreement(kinds),
        variance=drawn.shares,
        bytes_per_user=2 * len(members[0].release.adapter.values),
        seconds_per_user=_seconds_per_user([member.release.created_at for member in members]),
        made_at=made_at,
        version=version,
    )


@dataclass(frozen=True, eq=False)
class Map:
    """A fleet in the plane.

    Attributes:
        places: float64 ``[people, 2]``, along the two directions in which the rows differ most.
        shares: of the rows' variance, along each of the two.
        nearest: int64 ``[people]``: whose row points most nearly the same way from the fleet's mean.
    """

    places: npt.NDArray[np.float64]
    shares: tuple[float, float]
    nearest: npt.NDArray[np.int64]


def draw_map(rows: npt.NDArray[np.float32]) -> Map:
    """Principal components of rows float32 ``[people, P]`` without their mean, and everybody's nearest by cosine.

    Only products between people are needed, ``[people, people]``, whatever the length of a row. There must be two
    people or more. A row that is the mean itself points nowhere, and its nearest says nothing.
    """
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    products = centred @ centred.T
    variances, directions = np.linalg.eigh(products)
    first = np.argsort(variances)[::-1][:2]
    sizes = np.sqrt(np.maximum(variances[first], 0))
    places = directions[:, first] * sizes
    # A direction's sign is arbitrary: the same rows should give the same map on every machine.
    places *= np.where(places[np.abs(places).argmax(axis=0), [0, 1]] < 0, -1, 1)
    total = float(np.trace(products)) or 1.0
    lengths = np.sqrt(np.diag(products))
    cosines = products / np.maximum(np.outer(lengths, lengths), np.finfo(np.float64).tiny)
    np.fill_diagonal(cosines, -np.inf)
    return Map(places, (float(sizes[0] ** 2 / total), float(sizes[1] ** 2 / total)), cosines.argmax(axis=1))


def chance_of_agreement(kinds: Sequence[str]) -> float:
    """How often somebody drawn at random from the others is of one's own kind, averaged over everybody."""
    counts = np.unique(np.asarray(kinds), return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(kinds) * (len(kinds) - 1)))


def share_kept(own: Values, control: Values, *, seed: int = 0) -> Number:
    """The share of people's total gain that a control does not bring them: ``1 - sum(control) / sum(own)``.

    Above 1 the control does harm; NaN where there is no gain to share. The interval is a bootstrap over people.

    Args:
        own: nats per token that each person gains, float64 ``[people]``.
        control: what the control gains them, likewise.
        seed: of the resamples.
    """
    total, kept_by_control = resampled_sums(own, control, seed=seed)
    if own.sum() <= 0 or (total <= 0).any():
        # Some draw of these people has no gain at all, so that no interval would mean anything.
        return Number(1 - control.sum() / own.sum()) if own.sum() > 0 else Number()
    return _between(float(1 - control.sum() / own.sum()), 1 - kept_by_control / total)


def share_of(flags: npt.NDArray[np.bool_], *, seed: int = 0) -> Number:
    """How many of the people have a property, with a bootstrap interval over people."""
    return _between(float(flags.mean()), resampled_sums(flags, seed=seed)[0] / len(flags))


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


def _between(value: float, resampled: Values) -> Number:
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Number(value, float(low), float(high))


def _person(fleet: Fleet, number: int, read: Reading, nearest: str, place: Any) -> MeasuredPerson:
    member = fleet.members[number]
    return MeasuredPerson(
        user=member.user,
        kind=member.kind,
        text_bytes=member.text_bytes,
        base=read.base.perplexity,
        own=read.own.perplexity,
        gain=improvement(read.base, read.own),
        by_other=improvement(read.base, read.other),
        by_everyone=improvement(read.base, read.everyone),
        over_other=improvement(_better(read.other, read.base), read.own),
        over_everyone=improvement(_better(read.everyone, read.base), read.own),
        other=fleet.other(number).user,
        gate=member.release.gate,
        general=_general(member.release.gate),
        repeats=member.repeats,
        nearest=nearest,
        place=(float(place[0]), float(place[1])),
    )


def _better(control: Losses, base: Losses) -> Losses:
    """Whichever reads better: it would be easier to be ahead of a control that does harm than to help at all."""
    return min(control, base, key=lambda losses: losses.nats_per_token)


def _general(gate: GateOutcome) -> Interval | None:
    measured = gate.figures.get("general")
    return None if measured is None else Interval(**measured["change"])


def _group(people: Sequence[MeasuredPerson]) -> Group:
    gains = np.array([each.gain.estimate for each in people])
    nats, by_other, by_everyone = (
        np.array([-math.log1p(-getattr(each, name).estimate) for each in people])
        for name in ("gain", "by_other", "by_everyone")
    )
    p10, median, p90 = (float(value) for value in np.quantile(gains, [0.1, 0.5, 0.9]))
    sizes = np.array([float(each.text_bytes) for each in people])
    return Group(
        people=len(people),
        improved=sum(each.improved for each in people),
        worse=sum(each.harmed for each in people),
        general_worse=sum(each.general is not None and each.general.high < 0 for each in people),
        held_back=sum(not each.gate.passed for each in people),
        median=median,
        p10=p10,
        p90=p90,
        worst=float(gains.min()),
        over_other=share_kept(nats, np.maximum(by_other, 0)),
        over_everyone=share_kept(nats, np.maximum(by_everyone, 0)),
        growth=rank_correlation(sizes, gains),
        median_bytes=float(np.median(sizes)),
    )


def _seconds_per_user(stored: Sequence[datetime]) -> float | None:
    gaps = [(after - before).total_seconds() for before, after in pairwise(sorted(stored))]
    worked = [gap for gap in gaps if gap <= BREAK_SECONDS]
    return sum(worked) / len(worked) if worked else None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
