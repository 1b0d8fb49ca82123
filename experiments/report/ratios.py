"""Perplexities as multiples of one another, on an axis where half and double are as far from one."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiments.catalogue.figures import Complement, Multiple, Multiples
from experiments.report.bet_results import BetResults
from sharedllm.reporting.charts import Number

# Beyond these a model is broken or the comparison is, and on its scale nothing else could be told apart.
_LOWEST, _HIGHEST = 1 / 20, 20.0
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class RatioRow:
    """One comparison.

    Attributes:
        label: what is compared.
        cells: by protocol; a `Number` without data where there is none.
        document: the source documents' value, None where they give none.
    """

    label: str
    cells: Mapping[str, Number]
    document: float | None = None


@dataclass(frozen=True)
class RatioAxis:
    """A logarithmic axis around 1.

    Attributes:
        low: its left end.
        high: its right end.
    """

    low: float
    high: float

    @classmethod
    def of(cls, rows: Iterable[RatioRow]) -> "RatioAxis":
        """Wide enough for every interval, every document's value and 1, between limits."""
        values = [1 / 1.02, 1.02]
        for row in rows:
            values += [end for cell in row.cells.values() for end in (cell.value, cell.low, cell.high)]
            values += [row.document] if row.document else []
        found = [min(max(value, _LOWEST), _HIGHEST) for value in values if math.isfinite(value)]
        room = (max(found) / min(found)) ** 0.1
        return cls(min(found) / room, max(found) * room)

    def at(self, value: float) -> float:
        """Where a value lies between the ends, from 0 to 1; what lies beyond an end is put there."""
        inside = min(max(value, self.low), self.high)
        return math.log(inside / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """At most five values, 1 among them: round ones on a short axis, a constant factor apart on a long one."""
        if self.high / self.low > 4:
            factor = 2.0 if self.high / self.low < 30 else 5.0
            first, last = (math.log(end) / math.log(factor) for end in (self.low, self.high))
            return [factor**power for power in range(math.ceil(first), math.floor(last) + 1)]
        step = next(each for each in _STEPS if (self.high - self.low) / each <= 4)
        first, last = (self.low - 1) / step, (self.high - 1) / step
        return [1 + step * count for count in range(math.ceil(first), math.floor(last) + 1)]


def over_base(bet: BetResults, ending: str = "") -> list[RatioRow]:
    """Every reader of every text against the base on it, or those whose names end so."""
    pairs = {
        (text, reader): None
        for run in bet.runs.values()
        for text, read in run.losses.items()
        if "base" in read
        for reader in read
        if reader != "base" and reader.endswith(ending)
    }
    return [
        RatioRow(
            f"{text}: {reader.replace(':', ' of ')}", {name: run.ratio(text, reader) for name, run in bet.runs.items()}
        )
        for text, reader in pairs
    ]


def compared(bet: BetResults, multiples: Multiples) -> list[RatioRow]:
    """What a bet compares, for each user of its runs in turn."""
    users = dict.fromkeys(user for run in bet.runs.values() for user in run.users)
    found: dict[str, RatioRow] = {}
    for user in users:
        for stated in multiples.rows:
            row = _row(bet, stated, user)
            # A row that is about no user is there once.
            found[row.label] = row
    return list(found.values())


def _row(bet: BetResults, stated: Multiple | Complement, user: str) -> RatioRow:
    label = stated.label.format(user=user)
    if isinstance(stated, Complement):
        name = stated.measurement.format(user=user)
        document = 1 - bet.documents[name] if name in bet.documents else None
        return RatioRow(label, {protocol: run.number(name).rest for protocol, run in bet.runs.items()}, document)
    text, reader, over = (each.format(user=user) for each in (stated.text, stated.reader, stated.over))
    cells = {protocol: run.ratio(text, reader, over) for protocol, run in bet.runs.items()}
    if stated.document is None:
        return RatioRow(label, cells)
    part, whole = (bet.documents.get(name.format(user=user)) for name in stated.document)
    return RatioRow(label, cells, part / whole if part is not None and whole else None)
