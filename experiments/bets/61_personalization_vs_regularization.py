"""Is it the user's own adapter that helps, or would anybody's?

Hypothesis: each user's own adapter beats the other users' adapters on that user's held-out text.

The criteria are the documents' (Bet 61), with their margin: ``1 - own / mean(others)``. Their matrix is transposed
against its caption: 29, 20 and 5 % come out when its rows are the users who are read, and then the scientist's own
adapter is not even the best for the scientist. Their headline "STRICT 2/3" is STRICT no, LENIENT yes. So three
margins are measured, each under its name; against the best other is the honest one. They leave "competitive" open;
here adapters count as interchangeable where the best other is as good as the own, for most users.

Two controls, each trained as long as any user's: on general text, since the base is an instruct model in 4 bits and
part of every gain may be a return to plain text; and on everybody's text in equal parts.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import Complement, Lines, Matrix, Multiples
from experiments.catalogue.readings import Readings
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, reached
from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import TokenizedText

STEPS = (25, 50, 100, 200)
JUDGED_STEPS = 100
SEEDS = (0, 1, 2)
GENERAL, EVERYONE = "general", "everyone"
CONTROLS = (GENERAL, EVERYONE)
MEAN, BEST = ("margin_vs_mean_of_others/{user}",), ("margin_vs_best_other/{user}",)


def smallest_margin(m: Measured) -> float:
    """The margin that all users reach."""
    return reached(m.each("margin_vs_mean_of_others/{user}"), 1)


def margin_of_two_thirds(m: Measured) -> float:
    """The margin that two of three users reach."""
    return reached(m.each("margin_vs_mean_of_others/{user}"), 2 / 3)


def honest_margin_of_two_thirds(m: Measured) -> float:
    """The margin over the best other that two of three users reach."""
    return reached(m.each("margin_vs_best_other/{user}"), 2 / 3)


CRITERIA = (
    Criterion(
        "strict", "own wins by 10 % or more for all users, against the others' mean", MEAN, smallest_margin, ">=", 0.10
    ),
    Criterion(
        "lenient",
        "own wins by 5 % or more for two of three users, against the others' mean",
        MEAN,
        margin_of_two_thirds,
        ">=",
        0.05,
    ),
    Criterion(
        "catastrophic",
        "adapters are interchangeable: fewer than two of three users' own beats the best other",
        BEST,
        honest_margin_of_two_thirds,
        "<=",
        0,
    ),
)


def run(context: Context) -> Readings:
    """Every adapter on every user's text, for each number of steps and each seed."""
    readings = Readings(context.users)
    context.keep(_everyone([context.text(user) for user in context.users]))
    authors = (*context.users, *CONTROLS)
    for steps in STEPS:
        for seed in context.seeds:
            rows = {
                f"{author}@{steps}/{seed}": context.adapter(
                    author, seed=seed, steps=steps, number="61" if author in CONTROLS else "49"
                )
                for author in authors
            }
            first = steps == STEPS[0] and seed == context.seeds[0]
            for user in context.users:
                read = context.read(user, {"base": context.zeros(), **rows} if first else rows)
                for reader, losses in read.items():
                    readings.add(user, reader, losses)
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """The judged matrix and its margins, pooled over seeds; the same for each seed and each number of steps."""
    found = {f"ppl/{user}/base": readings.perplexity(user, "base") for user in readings.users}
    every_seed = ""
    for steps in STEPS:
        label = "" if steps == JUDGED_STEPS else f"at_{steps}_steps/"
        found |= {label + name: value for name, value in _matrix(readings, steps, every_seed).items()}
    for reader in readings.readers(readings.users[0], f"{readings.users[0]}@{JUDGED_STEPS}/"):
        seed = reader.rpartition("/")[2]
        found |= {f"seed_{seed}/{name}": value for name, value in _matrix(readings, JUDGED_STEPS, seed).items()}
    return found


def _matrix(readings: Readings, steps: int, seed: str) -> dict[str, float]:
    """Perplexities by text and author, the geometric mean over seeds unless one is named, and the own one's margins."""
    found: dict[str, float] = {}
    for user in readings.users:
        by_author = {
            author: readings.perplexity(user, *_readers(readings, user, f"{author}@{steps}/", seed))
            for author in (*readings.users, *CONTROLS)
        }
        found |= {f"ppl/{user}/{author}": perplexity for author, perplexity in by_author.items()}
        others = [by_author[author] for author in readings.users if author != user]
        if others:
            found[f"margin_vs_mean_of_others/{user}"] = 1 - by_author[user] / float(np.mean(others))
            found[f"margin_vs_best_other/{user}"] = 1 - by_author[user] / min(others)
            found[f"margin_vs_worst_other/{user}"] = 1 - by_author[user] / max(others)
        for control in CONTROLS:
            found[f"margin_vs_{control}/{user}"] = 1 - by_author[user] / by_author[control]
    return found


def _readers(readings: Readings, text: str, beginning: str, seed: str) -> list[str]:
    return [beginning + seed] if seed else readings.readers(text, beginning)


def _everyone(texts: list[TokenizedText]) -> TokenizedText:
    """All users' text as one author's, as much of each as of the shortest."""
    shortest = min(len(text.train) for text in texts)
    fewest = min(len(text.validation) for text in texts)
    joined = hashlib.sha256(" ".join(text.sha256 for text in texts).encode()).hexdigest()
    validation = np.concatenate([text.validation[:fewest] for text in texts])
    train = np.concatenate([text.train[:shortest] for text in texts])
    return TokenizedText(EVERYONE, train, validation, validation, joined, Repeats(0, 0.0, ()))


BET = Bet(
    name="61_personalization_vs_regularization",
    claim="each user's own adapter wins on their text",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="each user is served their own adapter",
        unmet="a user's own adapter is served only after it has beaten the alternatives",
    ),
    figures=(
        Matrix(
            "Whose adapter reads whose text",
            "Perplexity on held-out text after 100 steps, pooled over seeds; lower is better. Under it, how much"
            " lower than the base's on the same text.",
            ((GENERAL, "general text"), (EVERYONE, "everyone")),
        ),
        Lines(
            "The own adapter's margin over the best other, by training steps",
            "Above zero the own adapter wins against every other user's on that user's text. Each panel has its own"
            " scale.",
            "{place}margin_vs_best_other/{user}",
            tuple(("" if steps == JUDGED_STEPS else f"at_{steps}_steps/", str(steps)) for steps in STEPS),
            "steps",
            "margin",
        ),
        Multiples(
            "Against the documents",
            "the other's",
            (
                Complement("{user}: own over the others' mean", "margin_vs_mean_of_others/{user}"),
                Complement("{user}: own over the best other", "margin_vs_best_other/{user}"),
            ),
        ),
    ),
    seeds=SEEDS,
)

if __name__ == "__main__":
    main(BET)
