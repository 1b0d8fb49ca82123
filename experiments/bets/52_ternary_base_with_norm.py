"""Does a norm adapter give each user back what a ternary base lost?

Hypothesis: a norm adapter trained on the ternary base closes the gap between the ternary base and what that user has
with an adapter on the base in full precision.

The criteria are ours; the documents report STRICT for three users without their bar. Recovered is the part of the
gap, in nats per token, that the adapter closes: 0 is the bare ternary base, 1 is as good as an adapter on the full
base. Nine tenths is what we would call recovered; half for most users is worth a base of a seventh of the size; a
tenth or less for most says that gains cannot repair rounded weights.

Not blind: while the packing was built, and before these criteria were committed, a trial on a few windows of one
user's text had already shown ternary weights without data to collapse this base. The criteria were not chosen by it.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import Readings, share_of_gain
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, reached, undercut

NEEDS = ("recovered/{user}",)


def least_recovered(m: Measured) -> float:
    """The part of the gap that is closed for every user."""
    return reached(m.each("recovered/{user}"), 1)


def recovered_by_two_thirds(m: Measured) -> float:
    """The part of the gap that is closed for two of three users."""
    return reached(m.each("recovered/{user}"), 2 / 3)


def not_recovered_by_two_thirds(m: Measured) -> float:
    """The part of the gap that two of three users do not get beyond."""
    return undercut(m.each("recovered/{user}"), 2 / 3)


CRITERIA = (
    Criterion("strict", "nine tenths of the gap closed for all users", NEEDS, least_recovered, ">=", 0.9),
    Criterion("lenient", "half of the gap closed for two of three users", NEEDS, recovered_by_two_thirds, ">=", 0.5),
    Criterion(
        "catastrophic",
        "a tenth of the gap or less closed for two of three users",
        NEEDS,
        not_recovered_by_two_thirds,
        "<=",
        0.1,
    ),
)


def run(context: Context) -> Readings:
    """Each user's text with both bases, bare and with an adapter trained on each."""
    from sharedllm.base.ternary import save_ternary, ternary_copy

    readings = Readings(context.users)
    ternary = ternary_copy(context.base)
    for user in context.users:
        on_full = {"base": context.zeros(), "norm": context.adapter(user)}
        on_ternary = {"ternary": context.zeros(), "ternary+norm": context.adapter(user, base=ternary, number="52")}
        found = {**context.read(user, on_full), **context.read(user, on_ternary, base=ternary)}
        for reader, losses in found.items():
            readings.add(user, reader, losses)
    with tempfile.TemporaryDirectory() as scratch:
        readings.facts["bytes/ternary"] = save_ternary(context.base, Path(scratch))
    readings.facts["bytes/norm"] = 2 * context.layout().size
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """Perplexities, the part of the gap that is closed, and sizes."""
    found = dict(readings.facts)
    for user in readings.users:
        for reader in ("base", "norm", "ternary", "ternary+norm"):
            found[f"ppl/{user}/{reader}"] = readings.perplexity(user, reader)
        bare = readings.gain(user, "ternary")
        closed, gap = readings.gain(user, "ternary+norm") - bare, readings.gain(user, "norm") - bare
        found[f"recovered/{user}"] = share_of_gain(closed, gap)
    return found


BET = Bet(
    name="52_ternary_base_with_norm",
    claim="norm-only on top of a ternary base recovers each user",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="a ternary base may serve users who have an adapter on it",
        unmet="adapters do not make up for a ternary base",
    ),
    figures=(AgainstBase(),),
)

if __name__ == "__main__":
    main(BET)
