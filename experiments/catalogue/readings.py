"""What a run reads: losses of readers on texts, window by window, and what else it finds."""

import base64
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.catalogue.verdict import Criterion, Measured
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.intervals import CONFIDENCE, improvement
from sharedllm.evaluation.perplexity import Losses, known_counts, plain_counts

RESAMPLES = 1_000
BASE = "base"


@dataclass(eq=False)
class Readings:
    """Everything a bet's measurements are made of.

    Attributes:
        users: whose adapters the run is about.
        losses: by text, then by reader; all readers of one text read the same windows.
        facts: numbers that do not come from losses: sizes, residuals.
        notes: anything else worth keeping, as JSON values: chosen rates, traces.
    """

    users: tuple[str, ...]
    losses: dict[str, dict[str, Losses]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(self, text: str, reader: str, losses: Losses) -> None:
        """Keep what one reader read, in float32: the precision in which it is stored and can be recomputed from.

        Raises:
            InvalidInput: an earlier reader read other windows of this text.
        """
        readers = self.losses.setdefault(text, {})
        first = next(iter(readers.values()), losses)
        if first.nats.shape != losses.nats.shape or not np.array_equal(first.tokens, losses.tokens):
            raise InvalidInput(
                f"{reader} read {len(losses.nats)} windows of {text}, and others {len(first.nats)}",
                remedy="Read the same windows with every reader.",
            )
        with np.errstate(over="ignore"):
            readers[reader] = Losses(losses.nats.astype(np.float32).astype(np.float64), losses.tokens)

    def perplexity(self, text: str, *readers: str) -> float:
        """Of a reader on a text; of several, the geometric mean of theirs. NaN where one has not read it."""
        return float(np.exp(self.nats_per_token(text, *readers)))

    def nats_per_token(self, text: str, *readers: str) -> float:
        """The logarithm of `perplexity`."""
        found = [self.losses.get(text, {}).get(reader) for reader in readers]
        if not found or any(losses is None for losses in found):
            return float("nan")
        return float(np.mean([losses.nats_per_token for losses in found if losses is not None]))

    def gain(self, text: str, *readers: str) -> float:
        """How many nats per token a reader (or the mean of several) saves on a text against the base."""
        return self.nats_per_token(text, BASE) - self.nats_per_token(text, *readers)

    def readers(self, text: str, beginning: str) -> list[str]:
        """The readers of a text whose names begin so, e.g. all seeds of one method."""
        return [reader for reader in self.losses.get(text, {}) if reader.startswith(beginning)]

    def improvements(self) -> dict[str, dict[str, dict[str, float]]]:
        """Of every reader over the base on the same text, paired per window, where the base read it."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for text, readers in self.losses.items():
            if BASE not in readers:
                continue
            for reader, losses in readers.items():
                if reader != BASE and np.isfinite(losses.nats).all() and len(losses.nats) > 1:
                    found.setdefault(text, {})[reader] = improvement(readers[BASE], losses).as_dict()
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; losses as base64 of deflated little-endian float32."""
        return {
            "users": list(self.users),
            "facts": {name: value if math.isfinite(value) else None for name, value in self.facts.items()},
            "notes": self.notes,
            "tokens_per_window": {
                text: plain_counts(next(iter(read.values())).tokens) for text, read in self.losses.items()
            },
            "window_nats": {
                text: {reader: _pack(losses) for reader, losses in read.items()} for text, read in self.losses.items()
            },
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> "Readings":
        """Read back what `as_dict` gave."""
        facts = {name: math.nan if value is None else value for name, value in stored["facts"].items()}
        readings = Readings(tuple(stored["users"]), facts=facts, notes=dict(stored["notes"]))
        for text, read in stored["window_nats"].items():
            for reader, packed in read.items():
                nats = np.frombuffer(zlib.decompress(base64.b64decode(packed)), "<f4").astype(np.float64)
                readings.add(text, reader, Losses(nats, known_counts(stored["tokens_per_window"][text])))
        return readings


def flag(holds: bool, *of: float) -> float:
    """1 or 0; NaN, and so no data, where a number it was decided from is not finite."""
    return float(holds) if all(map(math.isfinite, of)) else float("nan")


def share_of_gain(part: float, whole: float) -> float:
    """``part / whole`` of two gains; NaN, and so no data, where there is no gain to have a share of."""
    return part / whole if whole > 0 else float("nan")


@dataclass(frozen=True)
class Doubt:
    """What resampling the windows does to a verdict.

    Attributes:
        intervals: (low, high) of every measurement, percentiles of `CONFIDENCE`.
        holds: by tier, the share of resamples in which the criterion holds; None where one had no data.
    """

    intervals: dict[str, tuple[float, float]]
    holds: dict[str, float | None]


def doubt(
    readings: Readings,
    measure: Callable[[Readings], Mapping[str, float]],
    criteria: tuple[Criterion, ...],
    *,
    resamples: int = RESAMPLES,
) -> Doubt:
    """Measure and judge again on windows drawn with replacement: a bootstrap, paired over all readers of a text.

    It knows nothing of other texts, and neighbouring windows are not independent: the intervals are too narrow for
    both.
    """
    random = np.random.default_rng(0)
    values: dict[str, list[float]] = {}
    outcomes: dict[str, list[bool | None]] = {}
    for _ in range(resamples):
        drawn = _redrawn(readings, random)
        measured = Measured(readings.users, measure(drawn))
        for name, value in measured.values.items():
            values.setdefault(name, []).append(value)
        for criterion in criteria:
            outcomes.setdefault(criterion.tier, []).append(criterion.judge(measured).holds)
    tail = (1 - CONFIDENCE) / 2
    intervals = {}
    for name, found in values.items():
        low, high = np.quantile(found, [tail, 1 - tail])
        intervals[name] = (float(low), float(high))
    return Doubt(intervals, {tier: _share(found) for tier, found in outcomes.items()})


def _redrawn(readings: Readings, random: np.random.Generator) -> Readings:
    drawn = Readings(readings.users, facts=readings.facts, notes=readings.notes)
    for text, read in readings.losses.items():
        count = len(next(iter(read.values())).nats)
        chosen = random.integers(count, size=count)
        drawn.losses[text] = {reader: losses.at(chosen) for reader, losses in read.items()}
    return drawn


def _share(outcomes: list[bool | None]) -> float | None:
    known = [outcome for outcome in outcomes if outcome is not None]
    return sum(known) / len(known) if len(known) == len(outcomes) else None


def _pack(losses: Losses) -> str:
    return base64.b64encode(zlib.compress(losses.nats.astype("<f4").tobytes())).decode()
