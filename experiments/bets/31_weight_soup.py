"""Can two fully fine-tuned specialists be one model, by averaging their weights?

Hypothesis: the mean of two specialists' weights serves both users: better than the base for each.

The criteria are ours, with the documents' of Bet 54 as their frame, since it is the same question about whole models.
Half of the own gain is what STRICT asks for, because averaging halves each specialist's change: where loss were
linear in it and the other's change neutral, half is what would be left, and a soup that combines must not do worse. A
specialist that is no better than the base itself has no gain to keep, and then STRICT has no data.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import Readings, flag, share_of_gain
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, pairs, reached, share
from sharedllm.base.loading import Base

KEPT, HELPED, HARMED = ("kept_by_both/{pair}",), ("both_helped/{pair}",), ("both_harmed/{pair}",)


def kept_in_two_thirds(m: Measured) -> float:
    """The share of their own specialist's gain that both users keep in two of three pairs."""
    return reached(m.each("kept_by_both/{pair}"), 2 / 3)


def helped_count(m: Measured) -> float:
    """Number of pairs in which the soup helps both."""
    return sum(m.each("both_helped/{pair}"))


def harmed_share(m: Measured) -> float:
    """Share of pairs in which the soup harms both."""
    return share(m.each("both_harmed/{pair}"))


CRITERIA = (
    Criterion("strict", "both keep half of their own gain in two of three pairs", KEPT, kept_in_two_thirds, ">=", 0.5),
    Criterion("lenient", "the soup helps both users in at least one pair", HELPED, helped_count, ">=", 1),
    Criterion("catastrophic", "the soup is worse than the base for both in every pair", HARMED, harmed_share, ">=", 1),
)


def run(context: Context) -> Readings:
    """Each user's text with the base, their own specialist, and the soups that they are part of."""
    readings = Readings(context.users)
    for user in context.users:
        readings.add(user, "base", context.read_plain(user, context.base))
        readings.add(user, "own", context.read_plain(user, context.copy(user, "full").base))
    for first, second in combinations(context.users, 2):
        soup = _soup(context.copy(first, "full").base, context.copy(second, "full").base)
        for user in (first, second):
            readings.add(user, f"{first}+{second}", context.read_plain(user, soup))
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """What the soup does to each of its two users."""
    found = {}
    for user in readings.users:
        found[f"ppl/{user}/base"] = readings.perplexity(user, "base")
        found[f"ppl/{user}/own"] = readings.perplexity(user, "own")
    for pair in pairs(readings.users):
        users = pair.split("+")
        gains = [readings.gain(user, pair) for user in users]
        kept = [share_of_gain(gain, readings.gain(user, "own")) for user, gain in zip(users, gains, strict=True)]
        found[f"kept_by_both/{pair}"] = float(np.min(kept))
        found[f"both_helped/{pair}"] = flag(min(gains) > 0, *gains)
        found[f"both_harmed/{pair}"] = flag(max(gains) < 0, *gains)
        for user, part in zip(users, kept, strict=True):
            found[f"ppl/{pair}/{user}"] = readings.perplexity(user, pair)
            found[f"kept/{pair}/{user}"] = part
    return found


def _soup(first: Base, second: Base) -> Base:
    """The mean of two models of one shape, rounded once."""
    model = copy.deepcopy(first.model)
    theirs = dict(second.model.named_parameters())
    for name, parameter in model.named_parameters():
        parameter.data = ((parameter.float() + theirs[name].float()) / 2).to(parameter.dtype)
    return replace(first, model=model, fingerprint=f"{first.fingerprint}+soup")


BET = Bet(
    name="31_weight_soup",
    claim="averaging the weights of two fully fine-tuned specialists serves both users",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="two fine-tuned models may be merged into one",
        unmet="fine-tuned models are not merged",
    ),
    figures=(AgainstBase(),),
    # At tuned rates it would take nine more full copies, and no default waits for it: whole models are not served.
    protocols=("documented",),
)

if __name__ == "__main__":
    main(BET)
