"""Perplexities as multiples of one another, on an axis where half and double are as far from one."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from experiments.report.results import Bet
from sharedllm.reporting.charts import Number

# Beyond these a model is broken or the comparison is, and on its scale nothing else could be told apart.
_LOWEST, _HIGHEST = 1 / 20, 20.0
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Row:
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
class Scale:
    """A logarithmic axis around 1.

    Attributes:
        low: its left end.
        high: its right end.
    """

    low: float
    high: float

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Scale":
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


def over_base(bet: Bet, readers: Callable[[str], bool] = lambda reader: True) -> list[Row]:
    """Every reader of every text against the base on it."""
    pairs = {
        (text, reader): None
        for run in bet.runs.values()
        for text, read in run.losses.items()
        if "base" in read
        for reader in read
        if reader != "base" and readers(reader)
    }
    return [_row(bet, f"{text}: {reader.replace(':', ' of ')}", text, reader) for text, reader in pairs]


def against_documents(bet: Bet) -> list[Row]:
    """What the documents measured and we did too, free of the two bases' different perplexities."""
    find = {"49": _shootout, "53": _int8, "55": _ensemble, "61": _margins}.get(bet.number)
    return find(bet) if find else []


def replications(bet: Bet) -> list[Row]:
    """Norm-only over the full copy, for each user and seed of bet 46."""
    names = {name: None for run in bet.runs.values() for name in run.numbers if name.startswith("norm_over_full/")}
    return [
        Row(
            name.removeprefix("norm_over_full/").replace("/", ", seed "),
            {protocol: run.number(name).rest for protocol, run in bet.runs.items()},
        )
        for name in names
    ]


def _shootout(bet: Bet) -> list[Row]:
    rows = []
    for user in _users(bet):
        for rival, name in (("lora_r4", "LoRA-r4"), ("full", "full")):
            theirs = [bet.documents.get(f"personal_ppl/{user}/{method}") for method in ("norm", rival)]
            rows.append(_row(bet, f"{user}: norm-only over {name}", user, "norm", rival, _quotient(*theirs)))
    for user in _users(bet):
        for rival, name in (("lora_r4", "LoRA-r4"), ("full", "full")):
            theirs = [bet.documents.get(f"general_ppl/{user}/{method}") for method in ("norm", rival)]
            label = f"general text: {user}'s norm-only over {name}"
            rows.append(_row(bet, label, "general", f"norm:{user}", f"{rival}:{user}", _quotient(*theirs)))
    return rows


def _int8(bet: Bet) -> list[Row]:
    rows = []
    for user in _users(bet):
        theirs = [bet.documents.get(f"ppl/{user}/{form}") for form in ("int8", "raw")]
        rows.append(_row(bet, f"{user}: int8 over raw", user, "int8", "raw", _quotient(*theirs)))
    return rows


def _ensemble(bet: Bet) -> list[Row]:
    theirs = [bet.documents.get(f"unknown_user/{name}") for name in ("ensemble", "base")]
    return [_row(bet, "unknown user: ensemble over base", "journalist", "ensemble", "base", _quotient(*theirs))]


def _margins(bet: Bet) -> list[Row]:
    rows = []
    for user in _users(bet):
        for name, words in (("mean_of_others", "the others' mean"), ("best_other", "the best other")):
            margin = f"margin_vs_{name}/{user}"
            document = 1 - bet.documents[margin] if margin in bet.documents else None
            cells = {protocol: run.number(margin).rest for protocol, run in bet.runs.items()}
            rows.append(Row(f"{user}: own over {words}", cells, document))
    return rows


def _row(bet: Bet, label: str, text: str, reader: str, over: str = "base", document: float | None = None) -> Row:
    return Row(label, {protocol: run.ratio(text, reader, over) for protocol, run in bet.runs.items()}, document)


def _quotient(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _users(bet: Bet) -> list[str]:
    return list(dict.fromkeys(user for run in bet.runs.values() for user in run.users))
