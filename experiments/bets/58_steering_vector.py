"""Is one vector at the last block enough?

Hypothesis: a shift of one hidden size of numbers at the last block's output does what norm-only does with one such
vector at every norm.

The criteria are ours. The documents found steering ahead for the programmer and behind for the others. Nine tenths of
norm-only's gain for every user would make the smaller format the default; half for most would make it worth offering
where bytes count; no gain over the base for most says that it is no format at all. Under the documented protocol a
shift can move by 0.005 at most, which is next to nothing beside activations: expect no gain there, by construction.
"""

from collections.abc import Mapping

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import Readings, share_of_gain
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, reached, undercut

KEPT, GAIN = ("kept/{user}",), ("gain/{user}/steering",)


def least_kept(m: Measured) -> float:
    """The share of norm-only's gain that every user has."""
    return reached(m.each("kept/{user}"), 1)


def kept_by_two_thirds(m: Measured) -> float:
    """The share of norm-only's gain that two of three users have."""
    return reached(m.each("kept/{user}"), 2 / 3)


def gain_beyond_two_thirds(m: Measured) -> float:
    """The gain over the base, in nats per token, that two of three users do not get beyond."""
    return undercut(m.each("gain/{user}/steering"), 2 / 3)


CRITERIA = (
    Criterion("strict", "nine tenths of norm-only's gain for all users", KEPT, least_kept, ">=", 0.9),
    Criterion("lenient", "half of norm-only's gain for two of three users", KEPT, kept_by_two_thirds, ">=", 0.5),
    Criterion("catastrophic", "no gain for two of three users", GAIN, gain_beyond_two_thirds, "<=", 0),
)


def run(context: Context) -> Readings:
    """Each user's text with the base and both formats."""
    readings = Readings(context.users)
    for user in context.users:
        norm = {"base": context.zeros(), "norm": context.adapter(user)}
        steering = {"steering": context.adapter(user, "steering", number="58")}
        for reader, losses in {**context.read(user, norm), **context.read(user, steering, format="steering")}.items():
            readings.add(user, reader, losses)
    readings.facts = {f"bytes/{format}": 2.0 * context.layout(format).size for format in ("norm", "steering")}
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """Perplexities, gains in nats per token, and the share of norm-only's gain that steering has."""
    found = dict(readings.facts)
    for user in readings.users:
        found[f"ppl/{user}/base"] = readings.perplexity(user, "base")
        for format in ("norm", "steering"):
            found[f"ppl/{user}/{format}"] = readings.perplexity(user, format)
            found[f"gain/{user}/{format}"] = readings.gain(user, format)
        found[f"kept/{user}"] = share_of_gain(found[f"gain/{user}/steering"], found[f"gain/{user}/norm"])
    return found


BET = Bet(
    name="58_steering_vector",
    claim="a steering vector at the last block does what norm-only does",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="a steering vector may be offered where bytes count",
        unmet="a steering vector is not offered in place of norms",
    ),
    figures=(AgainstBase(),),
)

if __name__ == "__main__":
    main(BET)
