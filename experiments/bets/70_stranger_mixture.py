"""Does a mixture of a few clusters' rows serve a stranger better than what answers them now?

Hypothesis: where nothing is known of somebody, Soft-Bayes over the mean rows of clusters of known users and the base,
with weights that begin equal and learn from the first 256 tokens of a conversation as they come, has a lower perplexity
on those very tokens than the base alone, which is the prior where the base has one.

An interval over strangers, not over windows, decides, since it is about the next stranger. A mixture of K rows takes K
rows of the batch, so less than one percent is not worth serving. The Bayesian mixture is measured beside it.
"""

from collections.abc import Mapping

import numpy as np

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import BASE, Readings
from experiments.catalogue.running import main
from experiments.catalogue.strangers import GAINS, KNOWN, STRANGERS, cluster_rows, gain_low, read_mixtures
from experiments.catalogue.verdict import Criterion, Measured, share


def harmed(m: Measured) -> float:
    """The share of strangers whose perplexity is more than one percent above the base's."""
    return share(m[name] < -0.01 for name in GAINS)


CRITERIA = (
    Criterion(
        "strict",
        "the interval over strangers of how far the mixture is below the base begins at 1 % or more",
        GAINS,
        gain_low,
        ">=",
        0.01,
    ),
    Criterion("lenient", "that interval lies above zero", GAINS, gain_low, ">", 0),
    Criterion(
        "catastrophic", "more than one stranger in twelve is more than 1 % above the base", GAINS, harmed, ">", 1 / 12
    ),
)


def run(context: Context) -> Readings:
    """Every stranger's windows under the base and both mixtures of the clusters' mean rows."""
    readings = Readings(context.users)
    read_mixtures(context, readings, cluster_rows(context, trained=False))
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """Everybody's perplexities and how far Soft-Bayes is below the base, as a share, and the Bayesian mixture."""
    found = {f"ppl/{name}/{BASE}": readings.perplexity(name, BASE) for name in STRANGERS}
    for reader, gain in (("soft-bayes", "gain"), ("bayes", "gain_bayes")):
        found |= {f"{gain}/{name}": 1 - float(np.exp(-readings.gain(name, reader))) for name in STRANGERS}
    return found


BET = Bet(
    name="70_stranger_mixture",
    claim="an online mixture of a few clusters' mean rows beats what answers a stranger now",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="strangers may be answered by a mixture of clusters' rows, once it is measured on the base that is served",
        unmet="a stranger is answered by the base as it is, with its prior where it has one",
    ),
    figures=(AgainstBase(),),
    protocols=("tuned",),
    users=KNOWN,
)

if __name__ == "__main__":
    main(BET)
