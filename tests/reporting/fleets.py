"""Fleets made from invented rows and losses."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.evaluation.perplexity import Losses
from sharedllm.reporting.fleet.findings import FleetReport, Reading, report_on
from sharedllm.reporting.fleet.members import Fleet, Member
from sharedllm.store import Release
from sharedllm.text.repeats import Repeats
from sharedllm.training.recipes import Recipe

WINDOWS, TOKENS, PARAMETERS = 24, 31, 64
KINDS = ("president", "chat", "library", "sample")
NO_REPEATS = Repeats(0, 0.0, ())
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def losses(perplexity, *, seed=0, spread=0.005):
    """Losses whose perplexity is ``perplexity`` exactly, noisy window by window."""
    noise = np.random.default_rng(seed).normal(0, spread, WINDOWS)
    return Losses((np.log(perplexity) + noise - noise.mean()) * TOKENS, TOKENS)


def member(
    number, user, *, kind="chat", passed=True, size=100_000, row=None, seconds=60.0, repeats=NO_REPEATS, figures=None
):
    """One person; rows of a kind point one way, so that a map can tell the kinds apart."""
    random = np.random.default_rng([7, *user.encode()])
    if row is None:
        row = np.random.default_rng(list(kind.encode())).normal(0, 1, PARAMETERS) + random.normal(0, 0.6, PARAMETERS)
    reason = "passed: as invented" if passed else "held back: it does not clearly help; as invented"
    adapter = Adapter("norm", "f" * 64, row.astype(np.float32), {})
    created_at = BEGAN + timedelta(seconds=seconds * number)
    release = Release(f"{number:032x}", user, 1, adapter, GateOutcome(passed, reason, figures or {}), created_at)
    return Member(user, kind, 0, size, f"{number:064x}", repeats, release)


def fleet_of(members, missing=()):
    return Fleet(Path("people.jsonl"), "f" * 64, Recipe("default", window=TOKENS + 1), members, dict(missing))


def reading(base=10.0, own=0.85, other=0.98, everyone=0.94, *, seed=0, spread=0.005):
    """Losses of four readers, of which the last three multiply the base's perplexity."""
    factors = (1.0, own, other, everyone)
    return Reading(*(losses(base * each, seed=seed + place, spread=spread) for place, each in enumerate(factors)))


def make_report(count=24, *, kinds=KINDS, name="{kind}/person-{number}", missing=(), broken=False) -> FleetReport:
    """A fleet of several kinds in which more text helps, and every ninth person is harmed and held back."""
    members, readings = [], {}
    for number in range(count):
        kind = kinds[number % len(kinds)]
        user = name.format(kind=kind, number=number)
        harmed = number % 9 == 8
        size = int(50_000 * 1.12 ** (number % 30))
        members.append(member(number, user, kind=kind, passed=not harmed, size=size))
        own = (5.0 if broken else 1.02) if harmed else 0.95 - 0.004 * (number % 30)
        readings[user] = reading(8.0 + number % 5, own, 0.99 + 0.004 * (number % 3), 0.96, seed=10 * number)
    return report_on(
        fleet_of(members, missing), readings, base="smollm2-135m", made_at="2026-01-02T03:04:05+00:00", version="0.1.0"
    )
