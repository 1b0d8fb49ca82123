"""Control: an adapter trained on nothing must not help.

Hypothesis: a norm adapter trained on uniformly random tokens does not lower anybody's held-out perplexity. If it did,
part of every other gain would come from training at all, and not from the user.

The criteria are ours. Half a percent is about what the paired interval on 8,192 tokens can still tell from nothing. A
tenth of the own adapter's gain is small enough to leave every other bet as it is; half of it, for most users, would
say that the gain is mostly not theirs. Three random texts, each with its own seed, pooled.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import Readings, share_of_gain
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, reached, undercut
from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import TokenizedText, windows

RANDOM_TEXTS = (0, 1, 2)
TRAIN_WINDOWS, VALIDATION_WINDOWS = 400, 16
HELP, SHARE = ("help/{user}",), ("share_of_own_gain/{user}",)


def most_help(m: Measured) -> float:
    """The largest relative fall of perplexity that random tokens bring to any user."""
    return undercut(m.each("help/{user}"), 1)


def share_that_two_thirds_stay_within(m: Measured) -> float:
    """The share of the own adapter's gain that two of three users do not get beyond."""
    return undercut(m.each("share_of_own_gain/{user}"), 2 / 3)


def share_that_two_thirds_reach(m: Measured) -> float:
    """The share of the own adapter's gain that two of three users get from random tokens."""
    return reached(m.each("share_of_own_gain/{user}"), 2 / 3)


CRITERIA = (
    Criterion("strict", "random tokens lower nobody's perplexity by more than 0.5 %", HELP, most_help, "<=", 0.005),
    Criterion(
        "lenient",
        "random tokens bring two of three users a tenth of their own adapter's gain at most",
        SHARE,
        share_that_two_thirds_stay_within,
        "<=",
        0.1,
    ),
    Criterion(
        "catastrophic",
        "random tokens bring two of three users half of their own adapter's gain",
        SHARE,
        share_that_two_thirds_reach,
        ">=",
        0.5,
    ),
)


def run(context: Context) -> Readings:
    """The base, the own adapter and three random ones on each user's text."""
    readings = Readings(context.users)
    own = context.adapters()
    noise = {}
    for number in RANDOM_TEXTS:
        text = context.keep(_random_text(number, context.base.head.shape[0], context.size.window))
        noise[text.user] = context.adapter(text.user, number="60")
    for user in context.users:
        for reader, losses in context.read(user, {"base": context.zeros(), "own": own[user], **noise}).items():
            readings.add(user, reader, losses)
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """What random tokens do to each user, absolutely and as a share of what their own text does."""
    found = {}
    for user in readings.users:
        random = readings.readers(user, "random")
        for reader in ("base", "own"):
            found[f"ppl/{user}/{reader}"] = readings.perplexity(user, reader)
        found[f"ppl/{user}/random"] = readings.perplexity(user, *random)
        found[f"help/{user}"] = 1 - found[f"ppl/{user}/random"] / found[f"ppl/{user}/base"]
        found[f"share_of_own_gain/{user}"] = share_of_gain(readings.gain(user, *random), readings.gain(user, "own"))
    return found


def _random_text(number: int, vocabulary: int, window: int) -> TokenizedText:
    """Tokens drawn evenly from the whole vocabulary."""
    random = np.random.default_rng(number)
    train = random.integers(vocabulary, size=TRAIN_WINDOWS * window)
    unseen = windows(random.integers(vocabulary, size=VALIDATION_WINDOWS * window), window)
    sha256 = hashlib.sha256(train.astype("<i8").tobytes() + unseen.astype("<i8").tobytes()).hexdigest()
    return TokenizedText(f"random{number}", train.astype(np.int32), unseen, unseen, sha256, Repeats(0, 0.0, ()))


BET = Bet(
    name="60_noise_floor",
    claim="an adapter trained on random tokens does not help",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="what an adapter gains comes from text, not from being trained at all",
        unmet="part of what adapters gain may come from any training at all",
    ),
    figures=(AgainstBase(),),
)

if __name__ == "__main__":
    main(BET)
