"""Can two users share the average of their adapters?

Hypothesis: for at least two of three pairs the elementwise mean of two users' norm adapters lowers held-out
perplexity for both of them, against no adapter.

The criteria are the documents' (Bet 54): helped means lower perplexity than without an adapter, harmed means higher.
Their table gives one pair of three: LENIENT, as they say. The share of the own adapter's gain that the average keeps
is measured beside it: an average may help both and still be a poor trade.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import Readings, flag, share_of_gain
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, pairs, share

HELPED, HARMED = ("both_helped/{pair}",), ("both_harmed/{pair}",)


def helped_share(m: Measured) -> float:
    """Share of pairs in which the average helps both."""
    return share(m.each("both_helped/{pair}"))


def helped_count(m: Measured) -> float:
    """Number of pairs in which the average helps both."""
    return sum(m.each("both_helped/{pair}"))


def harmed_share(m: Measured) -> float:
    """Share of pairs in which the average harms both."""
    return share(m.each("both_harmed/{pair}"))


CRITERIA = (
    Criterion("strict", "the average helps both users in two of three pairs", HELPED, helped_share, ">=", 2 / 3),
    Criterion("lenient", "the average helps both users in at least one pair", HELPED, helped_count, ">=", 1),
    Criterion("catastrophic", "the average is worse than none for both in every pair", HARMED, harmed_share, ">=", 1),
)


def run(context: Context) -> Readings:
    """Each user's text with nothing, their own adapter, and the averages that they are part of."""
    from sharedllm.combining.average import average

    readings = Readings(context.users)
    own = context.adapters()
    averages = {f"{a}+{b}": average(np.stack([own[a], own[b]])) for a, b in combinations(context.users, 2)}
    for user in context.users:
        theirs = {pair: row for pair, row in averages.items() if user in pair.split("+")}
        for reader, losses in context.read(user, {"base": context.zeros(), "own": own[user], **theirs}).items():
            readings.add(user, reader, losses)
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """What the average does to each of its two users."""
    found = {}
    for user in readings.users:
        found[f"ppl/{user}/none"] = readings.perplexity(user, "base")
        found[f"ppl/{user}/own"] = readings.perplexity(user, "own")
    for pair in pairs(readings.users):
        gains = [readings.gain(user, pair) for user in pair.split("+")]
        found[f"both_helped/{pair}"] = flag(min(gains) > 0, *gains)
        found[f"both_harmed/{pair}"] = flag(max(gains) < 0, *gains)
        for user, gain in zip(pair.split("+"), gains, strict=True):
            found[f"ppl/{pair}/{user}"] = readings.perplexity(user, pair)
            found[f"kept/{pair}/{user}"] = share_of_gain(gain, readings.gain(user, "own"))
    return found


BET = Bet(
    name="54_adapter_averaging",
    claim="averaging two users' adapters helps both",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="an average of two users harms neither; serving gives each their own all the same, which keeps "
        "more of the gain and is one person's",
        unmet="users' adapters are not averaged",
    ),
    figures=(AgainstBase(),),
)

if __name__ == "__main__":
    main(BET)
