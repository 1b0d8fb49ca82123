"""Can everybody's adapters together serve somebody who has none?

Hypothesis: on the text of an unknown user (a journalist) the uniform mixture ``logsumexp - log N`` of the known
users' adapters has a lower perplexity than the base.

The criteria are the documents' (Bet 55); LENIENT and CATASTROPHIC are each other's opposites there. They appeal to
Jensen the wrong way round: a uniform mixture is at most the geometric mean of its members in perplexity, and per
token never better than the best of them, so it protects from nothing when all are worse than the base. What protects
is a Bayesian mixture with the base among its members; it is measured beside it and judged by nothing here. Their
table has own-adapter numbers where the known users' base belongs; both are measured.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase, Multiple, Multiples, Trace
from experiments.catalogue.readings import Readings
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured
from sharedllm.evaluation.perplexity import Losses

UNKNOWN = "journalist"
TRACE_TOKENS = 100
NEEDS = ("unknown_user/base", "unknown_user/ensemble")


def improvement(m: Measured) -> float:
    """How much lower the ensemble's perplexity is than the base's."""
    return 1 - m["unknown_user/ensemble"] / m["unknown_user/base"]


CRITERIA = (
    Criterion("strict", "the ensemble is at least 5 % below the base", NEEDS, improvement, ">=", 0.05),
    Criterion("lenient", "the ensemble is no worse than the base", NEEDS, improvement, ">=", 0),
    Criterion("catastrophic", "the ensemble is worse than the base", NEEDS, improvement, "<", 0),
)


def run(context: Context) -> Readings:
    """Token by token: the base, every adapter, and two mixtures, on the unknown user's text and on everybody's."""
    from sharedllm.combining.mixture import bayesian_mixture, uniform_mixture

    readings = Readings(context.users)
    rows = {"base": context.zeros(), **context.adapters()}
    for text in (UNKNOWN, *context.users):
        read = context.read_tokens(text, rows)
        # One long axis: what the weights learn in one window is used in the next.
        bayesian = bayesian_mixture(read[0].reshape(-1), read[1:].reshape(len(rows) - 1, -1))
        mixtures = {
            "ensemble": uniform_mixture(read[1:]).log_probabilities,
            "bayesian": bayesian.log_probabilities.reshape(read[0].shape),
        }
        found = {**dict(zip(rows, read, strict=True)), **mixtures}
        for reader, log_probabilities in found.items():
            readings.add(text, reader, Losses(-log_probabilities.sum(axis=1), log_probabilities.shape[1]))
        if text == UNKNOWN:
            readings.notes["trace"] = {reader: _trace(log_probabilities) for reader, log_probabilities in found.items()}
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """The unknown user's perplexities, and how far each known user's own adapter is ahead of the ensemble."""
    found = {f"unknown_user/{name}": readings.perplexity(UNKNOWN, name) for name in ("base", "ensemble", "bayesian")}
    alone = {user: readings.perplexity(UNKNOWN, user) for user in readings.users}
    found |= {f"unknown_user/{user}": perplexity for user, perplexity in alone.items()}
    found["unknown_user/best_individual"] = min(alone.values())
    for user in readings.users:
        for reader in ("base", "ensemble", "bayesian", user):
            found[f"known_user/{user}/{'own' if reader == user else reader}"] = readings.perplexity(user, reader)
        ensemble = readings.perplexity(user, "ensemble")
        found[f"known_user/{user}/own_ahead_of_ensemble"] = 1 - readings.perplexity(user, user) / ensemble
    return found


def _trace(log_probabilities: npt.NDArray[np.float64]) -> list[float]:
    # Numbers alone: the words are somebody's.
    return [round(float(value), 4) for value in log_probabilities.reshape(-1)[:TRACE_TOKENS]]


BET = Bet(
    name="55_logit_ensemble",
    claim="a uniform mixture of adapters beats the base for an unknown user",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="a mixture of known users is no worse than the base for an unknown one; serving gives them the "
        "base all the same, which takes one pass and shows a stranger nothing of anybody",
        unmet="an unknown user is answered by the base, not by a mixture of known users",
    ),
    figures=(
        Trace(
            "Where the ensemble loses, token by token",
            "The unknown user's first hundred predicted tokens. Above, the nats that the uniform mixture saves"
            " against the base: down is lost. Below, the same summed, and the Bayesian mixture that has the base"
            " among its members.",
            "trace",
            ("ensemble", "bayesian"),
        ),
        AgainstBase(),
        Multiples(
            "Against the documents",
            "the other's",
            (
                Multiple(
                    "unknown user: ensemble over base",
                    UNKNOWN,
                    "ensemble",
                    "base",
                    ("unknown_user/ensemble", "unknown_user/base"),
                ),
            ),
        ),
    ),
)

if __name__ == "__main__":
    main(BET)
