"""How should several specialists predict together: by mixing probabilities, or by multiplying them?

Hypothesis: on every specialist's own text the uniform mixture ``logsumexp - log N`` of all specialists predicts
better than their product of experts (the normalised geometric mean, which is the softmax of mean logits), and better
than the base. A mixture lets one specialist that is sure carry the token; in a product one that rules a token out
takes it from all. The specialists are the users' norm adapters.

The criteria are ours. One percent is the smallest difference on which we would build serving: a mixture costs N
forward passes. LENIENT asks only for the direction, for most users. CATASTROPHIC is the opposite of the claim,
everywhere.
"""

from collections.abc import Mapping

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import Readings
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, reached
from sharedllm.evaluation.perplexity import Losses

UNKNOWN = "journalist"
OVER_PRODUCT, OVER_BASE = ("mixture_over_product/{user}",), ("mixture_over_base/{user}",)


def smallest_advantage(m: Measured) -> float:
    """How far the mixture is below both the product and the base, on every user's text."""
    return reached([*m.each("mixture_over_product/{user}"), *m.each("mixture_over_base/{user}")], 1)


def advantage_of_two_thirds(m: Measured) -> float:
    """How far the mixture is below the product for two of three users."""
    return reached(m.each("mixture_over_product/{user}"), 2 / 3)


def largest_advantage(m: Measured) -> float:
    """How far the mixture is below the product where it does best."""
    return max(m.each("mixture_over_product/{user}"))


CRITERIA = (
    Criterion(
        "strict",
        "the mixture is 1 % or more below the product and below the base on every user's text",
        OVER_PRODUCT + OVER_BASE,
        smallest_advantage,
        ">=",
        0.01,
    ),
    Criterion(
        "lenient",
        "the mixture is below the product on two of three users' text",
        OVER_PRODUCT,
        advantage_of_two_thirds,
        ">",
        0,
    ),
    Criterion(
        "catastrophic",
        "the product is below the mixture on every user's text",
        OVER_PRODUCT,
        largest_advantage,
        "<",
        0,
    ),
)


def run(context: Context) -> Readings:
    """Base, specialists, mixture and product on every user's text and an unknown user's."""
    from sharedllm.combining.mixture import uniform_mixture
    from sharedllm.combining.product import row_product

    readings = Readings(context.users)
    own = context.adapters()
    rows = {"base": context.zeros(), **own}
    for text in (*context.users, UNKNOWN):
        read = context.read_tokens(text, rows)
        found = dict(zip(rows, read, strict=True))
        found["mixture"] = uniform_mixture(read[1:]).log_probabilities
        found["product"] = row_product(context.base, context.injection(), context.table(own), context.heldout(text))
        for reader, log_probabilities in found.items():
            readings.add(text, reader, Losses(-log_probabilities.sum(axis=1), log_probabilities.shape[1]))
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """Perplexities, and how far the mixture is below the product, the base and the own adapter."""
    found = {}
    for text in (*readings.users, UNKNOWN):
        for reader in ("base", "mixture", "product", *readings.users):
            found[f"ppl/{text}/{reader}"] = readings.perplexity(text, reader)
        for other in ("product", "base"):
            found[f"mixture_over_{other}/{text}"] = 1 - found[f"ppl/{text}/mixture"] / found[f"ppl/{text}/{other}"]
    return found


BET = Bet(
    name="04_mixture_combiner",
    claim="the mixture `logsumexp - log N` is the right way to combine specialists; the product of experts is not",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="specialists that have to answer together are mixed, not multiplied",
        unmet="specialists are not mixed on the strength of this bet",
    ),
    figures=(AgainstBase(),),
)

if __name__ == "__main__":
    main(BET)
