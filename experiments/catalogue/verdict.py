"""Criteria as predicates over named measurements, and the verdict they give.

The three tiers ask different questions, so a verdict is three independent flags and never one ladder: a deployment rule
needs ``lenient and not catastrophic``.
"""

import hashlib
import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, get_args

from experiments.catalogue.canonical import canonical_source

Tier = Literal["strict", "lenient", "catastrophic"]
TIERS: tuple[Tier, ...] = get_args(Tier)
Relation = Literal[">=", ">", "<=", "<"]

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Measured:
    """Named numbers, and the users they are about.

    Attributes:
        users: the users of the run.
        values: numbers by name, parts of a name joined by ``/``.
    """

    users: tuple[str, ...]
    values: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    @property
    def pairs(self) -> tuple[str, ...]:
        """Every two users, as ``a+b``."""
        return pairs(self.users)

    def names(self, template: str) -> list[str]:
        """The names that a template stands for: one for each user in place of ``{user}``, or pair of ``{pair}``."""
        if "{pair}" in template:
            return [template.replace("{pair}", pair) for pair in self.pairs]
        if "{user}" in template:
            return [template.replace("{user}", user) for user in self.users]
        return [template]

    def each(self, template: str) -> list[float]:
        """The numbers that a template names."""
        return [self.values[name] for name in self.names(template)]


@dataclass(frozen=True)
class Criterion:
    """One pre-registered condition: ``score(measured) relation bound``.

    Attributes:
        tier: which flag it decides.
        statement: the condition in words, with its threshold and where that comes from.
        needs: names of the measurements it reads, or templates over users or pairs; without one there is no data.
        score: the number that is compared; a module-level function, so that its source can be hashed.
        relation: how it is compared.
        bound: what it is compared with.
    """

    tier: Tier
    statement: str
    needs: tuple[str, ...]
    score: Callable[[Measured], float]
    relation: Relation
    bound: float

    def judge(self, measured: Measured) -> "CriterionOutcome":
        """Whether the condition holds, or None where a measurement it needs is missing or not finite."""
        names = [name for template in self.needs for name in measured.names(template)]
        missing = tuple(name for name in names if not _is_number(measured.values.get(name)))
        if missing or not names:
            return CriterionOutcome(None, None, missing)
        score = float(self.score(measured))
        if not math.isfinite(score):
            return CriterionOutcome(None, None, ())
        return CriterionOutcome(_RELATIONS[self.relation](score, self.bound), score, ())


@dataclass(frozen=True)
class CriterionOutcome:
    """What one criterion says.

    Attributes:
        holds: the flag; None is no data.
        score: the number that was compared, None without data.
        missing: the measurements for want of which there is no data.
    """

    holds: bool | None
    score: float | None
    missing: tuple[str, ...]


def judge(criteria: Iterable[Criterion], measured: Measured) -> dict[str, Any]:
    """The verdict as JSON values, by tier: the flag, the statement, and how far from the bound the score lies.

    ``distance`` is positive where the score lies above the bound, whichever way the criterion asks.
    """
    verdict: dict[str, Any] = {}
    for criterion in criteria:
        outcome = criterion.judge(measured)
        verdict[criterion.tier] = {
            "holds": outcome.holds,
            "statement": criterion.statement,
            "score": outcome.score,
            "relation": criterion.relation,
            "bound": criterion.bound,
            "distance": None if outcome.score is None else outcome.score - criterion.bound,
            "missing": list(outcome.missing),
        }
    return verdict


def criteria_hash(criteria: Iterable[Criterion]) -> str:
    """SHA-256 (hex) over all that decides a verdict: statements, names, bounds, and the code of the scores.

    Rewording a statement, moving a bound or changing a score, a function of ours that it calls or a constant that it
    reads changes the hash. Formatting, comments and docstrings do not.
    """
    parts = [
        [each.tier, each.statement, list(each.needs), canonical_source(each.score), each.relation, repr(each.bound)]
        for each in criteria
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def flag_in_words(holds: bool | None) -> str:
    """A flag as a reader sees it."""
    return {True: "yes", False: "no", None: "no data"}[holds]


def pairs(users: Iterable[str]) -> tuple[str, ...]:
    """Every two users, as ``a+b``."""
    return tuple(f"{first}+{second}" for first, second in combinations(users, 2))


def share(flags: Iterable[float | bool]) -> float:
    """The share of flags that are set; NaN of none."""
    values = [float(flag) for flag in flags]
    return sum(values) / len(values) if values else math.nan


def reached(values: Iterable[float], part: float) -> float:
    """The largest bound that at least ``part`` of the values reach: their minimum for a part of 1."""
    ordered = sorted(values, reverse=True)
    return ordered[_needed(len(ordered), part) - 1] if ordered else math.nan


def undercut(values: Iterable[float], part: float) -> float:
    """The smallest bound that at least ``part`` of the values stay within: their maximum for a part of 1."""
    return -reached((-value for value in values), part)


def _needed(count: int, part: float) -> int:
    # Two thirds of three is two, whatever the binary fraction says.
    return max(1, math.ceil(part * count - 1e-9))


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
