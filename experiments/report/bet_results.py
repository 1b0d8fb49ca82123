"""The bets' results as a reader finds them: every bet, what was measured, and what was not."""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.catalogue.bet import Decision
from experiments.catalogue.readings import Readings
from experiments.catalogue.results import load_result
from experiments.catalogue.verdict import TIERS
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import Losses
from sharedllm.reporting.charts import Number

SUMMARY = "SUMMARY.json"
TO_ROLL_UP = "PYTHONPATH=src python -m experiments.bets.00_rollup"

UNSTATED = Decision("the claim may be built on", "nothing is built on the claim")
"""Of a summary from when decisions were stated elsewhere."""

MEASURED, STALE, NOT_RUN = "measured", "stale", "not run"


@dataclass(frozen=True)
class Flag:
    """What one criterion says.

    Attributes:
        holds: None is no data.
        share: of the resampled windows in which it holds; None where a resample had no data.
        score: the number that was compared, None without data.
        relation: how it was compared.
        bound: with what.
        missing: the measurements for want of which there is no data.
    """

    holds: bool | None = None
    share: float | None = None
    score: float | None = None
    relation: str = ""
    bound: float = math.nan
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Run:
    """A bet under one protocol.

    Attributes:
        protocol: how its adapters were trained.
        state: measured, stale (judged by other criteria than today's) or not run.
        users: whose adapters.
        flags: by tier; without data unless measured.
        numbers: measurements by name.
        improvements: over the base, by text, then by reader, as recorded.
        losses: by text, then by reader, window by window.
        notes: whatever else the bet kept.
        world: what it was measured on and with.
        run_under: the hash of what was fixed before the run.
        widened: the date on which the decision and the figures came under it, if it was after the run.
    """

    protocol: str
    state: str
    users: tuple[str, ...] = ()
    flags: Mapping[str, Flag] = field(default_factory=lambda: dict.fromkeys(TIERS, Flag()))
    numbers: Mapping[str, Number] = field(default_factory=dict)
    improvements: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    losses: Mapping[str, Mapping[str, Losses]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    world: Mapping[str, Any] = field(default_factory=dict)
    run_under: str = ""
    widened: str | None = None

    def number(self, name: str) -> Number:
        """A measurement; no data where there is none of this name."""
        return self.numbers.get(name, Number())

    def ratio(self, text: str, reader: str, over: str = "base") -> Number:
        """One reader's perplexity as a multiple of another's on the same windows, with its paired interval."""
        if over == "base":
            return self.improvements.get(text, {}).get(reader, Number()).rest
        read = self.losses.get(text, {})
        if reader not in read or over not in read:
            return Number()
        try:
            lower = improvement(read[over], read[reader])
        except InvalidInput:
            return Number()
        return Number(lower.estimate, lower.low, lower.high).rest


@dataclass(frozen=True, eq=False)
class BetResults:
    """One bet of the catalogue.

    Attributes:
        name: the stem of its file, number first.
        claim: what is bet.
        criteria: by tier, in words.
        runs: one for each of its protocols, run or not.
        decision: what its flags decide.
        criteria_sha256: of all that the bet states, as it was rolled up.
        documents: the source documents' numbers by measurement, empty where they give none.
        documents_say: their flags by tier, as the criteria give them.
    """

    name: str
    claim: str
    criteria: Mapping[str, str]
    runs: Mapping[str, Run]
    decision: Decision = UNSTATED
    criteria_sha256: str = ""
    documents: Mapping[str, float] = field(default_factory=dict)
    documents_say: Mapping[str, bool] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """Two digits."""
        return self.name[:2]

    @property
    def title(self) -> str:
        """Its name in words."""
        return self.name[3:].replace("_", " ").capitalize()


def read_bets(results: Path, documents: Path | None = None) -> list[BetResults]:
    """Every bet of a catalogue, in its order.

    Args:
        results: the folder of official results and of the roll-up's summary.
        documents: the source documents' numbers, as JSON by number of the bet.

    Raises:
        InvalidInput: there is no summary, it does not know a result that is there, or a file is damaged.
    """
    if not (results / SUMMARY).is_file():
        raise InvalidInput(f"There is no {SUMMARY} in {results}", remedy=f"Make it: {TO_ROLL_UP}")
    recorded = _parsed(documents) if documents and documents.is_file() else {}
    rows: dict[str, list[dict[str, Any]]] = {}
    try:
        for row in _parsed(results / SUMMARY):
            rows.setdefault(row["bet"], []).append(row)
        return [_bet(results, name, its, recorded.get(name[:2], {})) for name, its in rows.items()]
    except (KeyError, TypeError, AttributeError, ValueError, zlib.error) as error:
        raise InvalidInput(f"A file in {results} is damaged: {error!r:.80}", remedy="Run its bet again.") from error


def _bet(results: Path, name: str, rows: list[dict[str, Any]], recorded: dict[str, Any]) -> BetResults:
    path = results / f"{name}.json"
    stored = load_result(path) if path.is_file() else {"protocols": {}}
    documents = {key: value for key, value in recorded.items() if key != "verdict"}
    return BetResults(
        name=name,
        claim=rows[0]["claim"],
        criteria={tier: rows[0]["criteria"][tier] for tier in TIERS},
        runs={row["protocol"]: _run(path, row, stored["protocols"].get(row["protocol"])) for row in rows},
        decision=Decision(**rows[0]["decision"]) if "decision" in rows[0] else UNSTATED,
        criteria_sha256=rows[0].get("criteria_sha256", ""),
        documents=_flat(documents) | _matrix(documents),
        documents_say=recorded.get("verdict", {}),
    )


def _run(path: Path, row: dict[str, Any], found: dict[str, Any] | None) -> Run:
    if row["date"] != (found["world"]["date"] if found else None):
        raise InvalidInput(f"{SUMMARY} is not of {path.name} as it is", remedy=f"Make it again: {TO_ROLL_UP}")
    if found is None:
        return Run(row["protocol"], NOT_RUN)
    readings = Readings.from_dict(found["readings"])
    return Run(
        protocol=row["protocol"],
        state=row["state"],
        users=readings.users,
        flags={tier: _flag(found["verdict"][tier]) if row["state"] == MEASURED else Flag() for tier in TIERS},
        numbers={name: _number(each) for name, each in found["measurements"].items()},
        improvements={
            text: {reader: Number(each["estimate"], each["low"], each["high"]) for reader, each in read.items()}
            for text, read in found["improvements_over_base"].items()
        },
        losses=readings.losses,
        notes=readings.notes,
        world=found["world"],
        run_under=found.get("run_under", found["criteria_sha256"]),
        widened=found.get("widened"),
    )


def _flag(found: dict[str, Any]) -> Flag:
    return Flag(
        holds=found["holds"],
        share=found.get("holds_in_resamples"),
        score=found["score"],
        relation=found["relation"],
        bound=found["bound"],
        missing=tuple(found["missing"]),
    )


def _number(found: dict[str, Any]) -> Number:
    return Number(*(math.nan if each is None else float(each) for each in (found["value"], *found["interval"])))


def _flat(values: Mapping[str, Any], beginning: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{beginning}{name}/")
        elif isinstance(value, int | float):
            found[beginning + name] = float(value)
    return found


def _matrix(documents: Mapping[str, Any]) -> dict[str, float]:
    """A confusion matrix under the names that the catalogue gives its cells: whose text, then whose adapter."""
    users = documents.get("users", [])
    return {
        f"ppl/{text}/{author}": float(perplexity)
        for text, row in zip(users, documents.get("matrix", []), strict=True)
        for author, perplexity in zip(users, row, strict=True)
    }


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", remedy="Run its bet again.") from error
