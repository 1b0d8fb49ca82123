"""Which of three adapters should a person have: norm-only, LoRA-r4, or a copy of the whole model?

Hypothesis: norm-only Pareto-dominates both others. For one user that means: lower perplexity on their held-out text,
a smaller adapter, and general text no worse, all three at once and against each of the two.

The criteria are the documents' (Bet 49). Their numbers give their verdict: all three users, STRICT. Their protocol
trains every method at one rate, which is not one budget: a gain then moves by at most 0.005. Under the tuned protocol
each method has its own best rate, chosen per user on validation text; norm-only has one rate for everybody.
"""

from collections.abc import Mapping

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase, Multiple, Multiples, Sizes
from experiments.catalogue.readings import Readings
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, share

METHODS = ("norm", "lora_r4", "full")
SHOWN = (("norm", "norm-only"), ("lora_r4", "LoRA-r4"), ("full", "full"))
SMALLER_AND_LOWER = (
    "Further down and further left is better. The line at 1 is the base; intervals are paired with it. Each panel has"
    " its own scale."
)
RIVALS = ("lora_r4", "full")
TRAINED_AS: dict[str, str] = {"lora_r4": "lora-r4", "full": "full"}
GENERAL = "general"
BYTES_PER_VALUE = 4  # As the documents count, for every method alike; what we store of norm-only is half.

NEEDS = (
    *(f"{text}_ppl/{{user}}/{method}" for text in ("personal", "general") for method in METHODS),
    *(f"adapter_bytes/{method}" for method in METHODS),
)


def dominates(m: Measured, user: str, rival: str) -> bool:
    """Whether norm-only beats one rival for one user on two counts and is no worse on the third."""
    lower = m[f"personal_ppl/{user}/norm"] < m[f"personal_ppl/{user}/{rival}"]
    smaller = m["adapter_bytes/norm"] < m[f"adapter_bytes/{rival}"]
    no_worse = m[f"general_ppl/{user}/norm"] <= m[f"general_ppl/{user}/{rival}"]
    return lower and smaller and no_worse


def dominated(m: Measured) -> float:
    """Share of users for whom norm-only dominates every rival."""
    return share(all(dominates(m, user, rival) for rival in RIVALS) for user in m.users)


CRITERIA = (
    Criterion("strict", "norm-only Pareto-dominates both for all users", NEEDS, dominated, ">=", 1),
    Criterion("lenient", "norm-only Pareto-dominates both for two of three users", NEEDS, dominated, ">=", 2 / 3),
    Criterion("catastrophic", "norm-only Pareto-dominates both for no user", NEEDS, dominated, "<=", 0),
)


def run(context: Context) -> Readings:
    """Every method of every user on that user's text and on general text."""
    readings = Readings(context.users)
    for user in context.users:
        rows = {"base": context.zeros(), "norm": context.adapter(user)}
        for text in (user, GENERAL):
            for reader, losses in context.read(text, rows).items():
                readings.add(text, reader if reader == "base" or text == user else f"{reader}:{user}", losses)
        readings.facts["adapter_bytes/norm"] = BYTES_PER_VALUE * len(rows["norm"])
        for method, trained_as in TRAINED_AS.items():
            copy = context.copy(user, trained_as)
            readings.add(user, method, context.read_plain(user, copy.base))
            readings.add(GENERAL, f"{method}:{user}", context.read_plain(GENERAL, copy.base))
            readings.facts[f"adapter_bytes/{method}"] = copy.bytes
            readings.notes[f"rate/{user}/{method}"] = copy.rate
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """Perplexities by text, user and method, and sizes."""
    found = {"general_ppl/base": readings.perplexity(GENERAL, "base"), **readings.facts}
    for user in readings.users:
        found[f"personal_ppl/{user}/base"] = readings.perplexity(user, "base")
        for method in METHODS:
            found[f"personal_ppl/{user}/{method}"] = readings.perplexity(user, method)
            found[f"general_ppl/{user}/{method}"] = readings.perplexity(GENERAL, f"{method}:{user}")
    return found


BET = Bet(
    name="49_adapter_shootout",
    claim="norm-only Pareto-dominates LoRA-r4 and full fine-tuning in personal perplexity, size and general perplexity",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="norm-only may be the default format",
        unmet="norm-only is a choice of size, not of quality, and whoever can afford larger adapters should compare",
    ),
    figures=(
        Sizes("Size against perplexity on the own text", SMALLER_AND_LOWER, "{user}", "{method}", SHOWN),
        Sizes("Size against perplexity on general text", SMALLER_AND_LOWER, GENERAL, "{method}:{user}", SHOWN),
        AgainstBase(),
        Multiples(
            "Against the documents",
            "the other's",
            (
                *(
                    Multiple(
                        f"{{user}}: norm-only over {name}",
                        "{user}",
                        "norm",
                        method,
                        ("personal_ppl/{user}/norm", f"personal_ppl/{{user}}/{method}"),
                    )
                    for method, name in SHOWN[1:]
                ),
                *(
                    Multiple(
                        f"general text: {{user}}'s norm-only over {name}",
                        GENERAL,
                        "norm:{user}",
                        f"{method}:{{user}}",
                        ("general_ppl/{user}/norm", f"general_ppl/{{user}}/{method}"),
                    )
                    for method, name in SHOWN[1:]
                ),
            ),
        ),
    ),
)

if __name__ == "__main__":
    main(BET)
