"""How exact must an adapter's numbers be?

Hypothesis: each user's own adapter stays ahead of the other users' when every value ``s`` of it becomes ``s * (1 +
sigma * e)`` with standard normal ``e``, for sigma up to 0.1. The others' adapters stay as they are.

The criteria are ours, at the documents' sigma of 0.1, which is some forty times the rounding of int8 in its largest
values and about that of 3 bits. STRICT: nine tenths of the margin over the others' mean survive for everybody, so
that noise of this size need never be a concern. LENIENT: most users are still ahead of the best other, the honest
bar. CATASTROPHIC: a hundredth of noise already costs most users their lead over the others' mean, so that float16
itself would be in doubt. Sigma 0.3 shows where it ends. Three draws of each, pooled.
"""

from collections.abc import Mapping

import numpy as np

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase, Lines
from experiments.catalogue.readings import Readings, share_of_gain
from experiments.catalogue.running import main
from experiments.catalogue.specialists import Row
from experiments.catalogue.verdict import Criterion, Measured, reached, undercut

SIGMAS = (0.01, 0.03, 0.1, 0.3)
DRAWS = 3
SURVIVING, HONEST, SLIGHT = (
    ("margin_surviving_0.1/{user}",),
    ("margin_vs_best_other_at_0.1/{user}",),
    ("margin_vs_mean_of_others_at_0.01/{user}",),
)


def least_surviving(m: Measured) -> float:
    """The share of the margin over the others' mean that every user keeps at sigma 0.1."""
    return reached(m.each("margin_surviving_0.1/{user}"), 1)


def honest_margin_of_two_thirds(m: Measured) -> float:
    """The margin over the best other that two of three users have at sigma 0.1."""
    return reached(m.each("margin_vs_best_other_at_0.1/{user}"), 2 / 3)


def slight_noise_margin_of_two_thirds(m: Measured) -> float:
    """The margin over the others' mean that two of three users do not get beyond at sigma 0.01."""
    return undercut(m.each("margin_vs_mean_of_others_at_0.01/{user}"), 2 / 3)


CRITERIA = (
    Criterion("strict", "nine tenths of every margin survive noise of 0.1", SURVIVING, least_surviving, ">=", 0.9),
    Criterion(
        "lenient",
        "two of three users are ahead of the best other at noise of 0.1",
        HONEST,
        honest_margin_of_two_thirds,
        ">",
        0,
    ),
    Criterion(
        "catastrophic",
        "two of three users are not ahead of the others' mean at noise of 0.01",
        SLIGHT,
        slight_noise_margin_of_two_thirds,
        "<=",
        0,
    ),
)


def run(context: Context) -> Readings:
    """Every adapter on every user's text, and the own one with every noise."""
    readings = Readings(context.users)
    own = context.adapters()
    for number, user in enumerate(context.users):
        noisy = {
            f"noisy {sigma}/{draw}": _noisy(own[user], sigma, (number, level, draw))
            for level, sigma in enumerate(SIGMAS)
            for draw in range(DRAWS)
        }
        for reader, losses in context.read(user, {"base": context.zeros(), **own, **noisy}).items():
            readings.add(user, reader, losses)
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """Margins at every sigma, and the share of the noiseless margin that is left."""
    found: dict[str, float] = {}
    for user in readings.users:
        others = [readings.perplexity(user, other) for other in readings.users if other != user]
        against = {"mean_of_others": float(np.mean(others)), "best_other": min(others)} if others else {}
        exact = readings.perplexity(user, user)
        found |= {f"ppl/{user}/base": readings.perplexity(user, "base"), f"ppl/{user}/own": exact}
        for sigma in SIGMAS:
            noisy = readings.perplexity(user, *readings.readers(user, f"noisy {sigma}/"))
            found[f"ppl_at_{sigma}/{user}"] = noisy
            for name, other in against.items():
                found[f"margin_vs_{name}_at_{sigma}/{user}"] = 1 - noisy / other
            if others:
                mean = against["mean_of_others"]
                found[f"margin_surviving_{sigma}/{user}"] = share_of_gain(1 - noisy / mean, 1 - exact / mean)
    return found


def _noisy(row: Row, sigma: float, seed: tuple[int, ...]) -> Row:
    noise = np.random.default_rng(seed).standard_normal(len(row))
    noisy: Row = (row * (1 + sigma * noise)).astype(np.float32)
    return noisy


BET = Bet(
    name="63_robustness_to_noise",
    claim="the own adapter's advantage survives relative noise on the adapter",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="an adapter may be stored at lower precision than float16 as far as this noise goes",
        unmet="adapters are stored at float16 or better",
    ),
    figures=(
        *(
            Lines(
                f"Margin over {words}, by noise on the own adapter",
                "Where a line falls to zero, noise has cost the user's own adapter its lead. Three draws, pooled."
                " Each panel has its own scale.",
                f"margin_vs_{other}_at_{{place}}/{{user}}",
                tuple((str(sigma), str(sigma)) for sigma in SIGMAS),
                "relative noise (sigma)",
                "margin",
            )
            for other, words in (("best_other", "the best other adapter"), ("mean_of_others", "the mean of the others"))
        ),
        AgainstBase("One draw of each noise, against the base", ending="/0"),
    ),
)

if __name__ == "__main__":
    main(BET)
