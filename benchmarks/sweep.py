"""Which recipe reaches the best validation perplexity per second, over the three sample users.

    python -m benchmarks.sweep            # all configurations; those already in the result file are not run again

Every configuration reads the same number of training tokens from each user unless it says otherwise. Only validation
text is read here: held-out text is for reporting, and would no longer be held out if it chose the default. Cost is CPU
time over all threads, which other work on the machine disturbs less than it does the clock.
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import load_base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.perplexity import base_losses, row_losses, spread
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import tokenize
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "sweep.json"
USERS = ("programmer", "novelist", "scientist")
WINDOWS = 32

START = Recipe("sweep", parameter="relative", learning_rate=1e-2, schedule="cosine", check_every=50)
CONFIGURATIONS = [
    START,
    replace(START, learning_rate=2e-2),
    replace(START, learning_rate=5e-3),
    replace(START, parameter="gain", learning_rate=1e-3),
    replace(START, windows_per_step=1, steps=200, check_every=100),
    replace(START, windows_per_step=4, steps=50, check_every=25),
    replace(START, learning_rate=5e-3, schedule="constant"),
    replace(START, learning_rate=5e-3, schedule="constant", windows_per_step=1, steps=200, check_every=100),
    replace(START, learning_rate=1e-2, schedule="constant", windows_per_step=1, steps=200, check_every=100),
]


def main() -> None:
    runs = json.loads(RESULT.read_text())["runs"] if RESULT.is_file() else []
    base = load_base(BARE_BASE)
    injection = Injection(base, layout_of(base))
    texts = [tokenize(user, split_text(sample_text(user)), base.encode) for user in USERS]
    measured = {text.user: spread(text.validation, WINDOWS) for text in texts}
    unadapted = {user: base_losses(base, windows).perplexity for user, windows in measured.items()}
    for recipe in CONFIGURATIONS:
        if any(run["recipe"] == asdict(recipe) for run in runs):
            continue
        started = time.process_time()
        trained = list(train_vectors(base, injection, texts, recipe))
        seconds = time.process_time() - started
        perplexity = {}
        for result in trained:
            if result.adapter is not None:
                (losses,) = row_losses(base, injection, result.adapter.values[None], measured[result.user])
                perplexity[result.user] = losses.perplexity
        curves = {result.user: result.losses for result in trained}
        runs.append({"recipe": asdict(recipe), "cpu_seconds": seconds, "perplexity": perplexity, "curves": curves})
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(
            json.dumps({"environment": describe(), "base_perplexity": unadapted, "runs": runs}, indent=1) + "\n"
        )
        print(recipe.parameter, recipe.schedule, recipe.learning_rate, recipe.steps, f"{seconds:.0f} CPU s", perplexity)


if __name__ == "__main__":
    main()
