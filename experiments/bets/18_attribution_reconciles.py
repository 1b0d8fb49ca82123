"""Does the account of who contributed what add up to what the ensemble said?

Hypothesis: the nats attributed to each of three specialists sum, token by token, to the log-probability of their
mixture.

The bounds are the documents' (Bet 18). The mixture is computed as a server would, by averaging probabilities in
float32; the attribution in float64 from the same members' log-probabilities. So the residual is the account's own
error. For each token and specialist it is also measured whether that specialist's part, over its responsibility,
gives the mixture back. That a second pass over the same text gives other bits, since a batch of another shape rounds
differently, is another matter: it is measured beside it.
"""

from collections.abc import Mapping

import numpy as np

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.readings import Readings
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured

TOKENS = 1_000
NEEDS = ("max_residual", "tokens", "specialists")


def largest_residual(m: Measured) -> float:
    """The worst of all tokens, in nats."""
    return m["max_residual"]


CRITERIA = (
    Criterion("strict", "every residual is below 1e-5 nats", NEEDS, largest_residual, "<", 1e-5),
    Criterion("lenient", "every residual is below 1e-3 nats", NEEDS, largest_residual, "<", 1e-3),
    Criterion("catastrophic", "a residual is above 1e-2 nats", NEEDS, largest_residual, ">", 1e-2),
)


def run(context: Context) -> Readings:
    """The mixture of all users' adapters on a thousand tokens, cut evenly from everybody's text."""
    from sharedllm.combining.mixture import attributions, uniform_mixture

    readings = Readings(context.users)
    rows = context.adapters()
    share = -(-TOKENS // len(context.users))
    parts, again = [], []
    for user in context.users:
        parts.append(context.read_tokens(user, rows).reshape(len(rows), -1)[:, :share])
        alone = [context.read_tokens(user, {name: row}) for name, row in rows.items()]
        again.append(np.concatenate(alone).reshape(len(rows), -1)[:, :share])
    members = np.concatenate(parts, axis=1)[:, :TOKENS]
    served = np.log(np.exp(members.astype(np.float32)).mean(axis=0, dtype=np.float32)).astype(np.float64)
    mixture = uniform_mixture(members)
    credited = attributions(members, mixture.log_weights)
    responsibilities = np.exp(members + mixture.log_weights - mixture.log_probabilities)
    per_member = np.abs(credited - responsibilities * served)
    total = np.abs(credited.sum(axis=0) - served)
    second = uniform_mixture(np.concatenate(again, axis=1)[:, :TOKENS]).log_probabilities
    readings.facts |= {
        "max_residual": float(max(total.max(), per_member.max())),
        "max_residual_of_sum": float(total.max()),
        "mean_residual_of_sum": float(total.mean()),
        "max_difference_of_second_pass": float(np.abs(second - mixture.log_probabilities).max()),
        "tokens": float(members.shape[1]),
        "specialists": float(len(members)),
    }
    readings.notes["mean_responsibility"] = dict(zip(rows, responsibilities.mean(axis=1).tolist(), strict=True))
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """The residuals; they come from no windows, so there is nothing to resample."""
    return dict(readings.facts)


BET = Bet(
    name="18_attribution_reconciles",
    claim="per-token attribution reconciles with the mixture",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="per-token attributions may be shown as an account",
        unmet="per-token attributions are not shown as an account",
    ),
    figures=(),
)

if __name__ == "__main__":
    main(BET)
