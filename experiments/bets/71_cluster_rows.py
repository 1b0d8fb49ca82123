"""Is a row trained on a cluster's texts better for strangers than the mean of its people's rows?

Hypothesis: in a mixture for strangers, rows that were trained on the pooled text of each cluster's people, as much of
everybody's as the shortest has, give a lower perplexity than the clusters' mean rows, which cost nothing to make. Both
are mixed by Soft-Bayes with the base, over the same clusters, on the same first 256 tokens of conversations. A row is
trained for as many steps as one person's, however many people are in its cluster.
"""

from collections.abc import Mapping

import numpy as np

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import Readings
from experiments.catalogue.running import main
from experiments.catalogue.strangers import GAINS, KNOWN, STRANGERS, cluster_rows, gain_low, read_mixtures
from experiments.catalogue.verdict import Criterion, Measured


def gain_high(m: Measured) -> float:
    """The upper end of the interval whose lower end is `gain_low`: as far above the mean as that is below."""
    return 2 * float(np.mean([m[name] for name in GAINS])) - gain_low(m)


CRITERIA = (
    Criterion(
        "strict",
        "the interval over strangers of how far trained rows are below mean rows begins at 1 % or more",
        GAINS,
        gain_low,
        ">=",
        0.01,
    ),
    Criterion("lenient", "that interval lies above zero", GAINS, gain_low, ">", 0),
    Criterion("catastrophic", "that interval lies below zero", GAINS, gain_high, "<", 0),
)


def run(context: Context) -> Readings:
    """Every stranger's windows under the base and the mixtures of either kind of rows."""
    readings = Readings(context.users)
    for kind in ("mean", "trained"):
        read_mixtures(context, readings, cluster_rows(context, trained=kind == "trained"), f" of {kind} rows")
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """How far Soft-Bayes over trained rows is below Soft-Bayes over mean rows, and either below the base, as shares."""
    found = {}
    for name in STRANGERS:
        mean, trained = (readings.gain(name, f"soft-bayes of {kind} rows") for kind in ("mean", "trained"))
        found[f"gain/{name}"] = 1 - float(np.exp(mean - trained))
        found |= {f"gain_mean/{name}": 1 - float(np.exp(-mean)), f"gain_trained/{name}": 1 - float(np.exp(-trained))}
    return found


BET = Bet(
    name="71_cluster_rows",
    claim="a row trained on a cluster's pooled text serves strangers better than the cluster's mean row",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="clusters that are to answer strangers are trained on their people's text",
        unmet="clusters' mean rows do for strangers, and no text is pooled",
    ),
    figures=(AgainstBase(),),
    protocols=("tuned",),
    users=KNOWN,
)

if __name__ == "__main__":
    main(BET)
