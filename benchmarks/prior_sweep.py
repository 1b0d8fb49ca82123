"""Which coordinates a person of few words should have, and at which rate: by validation text alone.

    python -m benchmarks.prior_sweep        # a quarter of an hour on two cores; goes on where it was ended

Every variant trains the same people on the first 1,000 tokens of their training block, on the base with the prior, and
is validated as it goes. The people contribute to no figure: they are sample users, whose validation blocks nothing else
reads. Shapes: the diagonal (a number a component), a core (every component into every other) at every projection or
only where a block adds to the stream, and both beside the gains of norms.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from sharedllm.adapters.formats.registry import Format, register_format
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.frames import framed
from sharedllm.base.loading import load_base
from sharedllm.base.sites import Site, norm_sites
from sharedllm.evaluation.perplexity import base_losses, spread
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import tokenize
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import VALIDATION_WINDOWS, train_vectors

RESULT = Path(__file__).parent / "results" / "prior_sweep.json"
BASE = "smollm2-135m-people"
USERS = ("programmer", "novelist", "scientist", "journalist")
TOKENS = 1_000
STEPS, CHECK = 32, 8


def core_sites(model: Any, only: tuple[str, ...] = ()) -> tuple[Site, ...]:
    """A core at every projection, or at those whose names end so."""
    return tuple(
        Site(name, module.out_features, "core", rank=len(module.frame_into))
        for name, module in framed(model).items()
        if name.endswith(only or name)
    )


OUTWARDS = ("o_proj", "down_proj")
for found in (
    Format("core", core_sites),
    Format("core-out", lambda model: core_sites(model, OUTWARDS)),
    Format("norm+core-out", lambda model: (*norm_sites(model), *core_sites(model, OUTWARDS))),
):
    register_format(found)

VARIANTS = [
    ("bank", 1e-2),
    ("bank", 3e-2),
    ("core", 1e-2),
    ("norm", 5e-3),
    ("norm+bank", 5e-3),
    ("core", 3e-3),
    ("core-out", 1e-2),
    ("norm+core-out", 5e-3),
]
"""The most telling first."""


def main() -> None:
    result: dict[str, Any] = {"environment": describe(), "variants": []}
    if RESULT.exists():
        result = json.loads(RESULT.read_text())
    base = load_base(BASE)
    texts = []
    for user in USERS:
        text = tokenize(user, split_text(sample_text(user)), base.encode)
        texts.append(replace(text, train=text.train[:TOKENS]))
    if "prior" not in result:
        validation = {text.user: base_losses(base, spread(text.validation, VALIDATION_WINDOWS)) for text in texts}
        result |= {
            "base": {"name": BASE, "fingerprint": base.fingerprint},
            "tokens": TOKENS,
            "prior": {user: losses.nats_per_token for user, losses in validation.items()},
        }
    done = {(each["format"], each["learning_rate"]) for each in result["variants"]}
    for format, rate in VARIANTS:
        if (format, rate) in done:
            continue
        recipe = Recipe(
            "sweep",
            method=format,
            learning_rate=rate,
            schedule="constant",
            steps=STEPS,
            windows_per_step=1,
            check_every=CHECK,
        )
        injection = Injection(base, layout_of(base, format))
        found = {each.user: each.losses for each in train_vectors(base, injection, texts, recipe)}
        injection.remove()
        gains = {
            user: [(step, 1 - math.exp(loss - result["prior"][user])) for step, loss in losses]
            for user, losses in found.items()
        }
        result["variants"].append(
            {"format": format, "learning_rate": rate, "numbers": injection.layout.size, "gains": gains}
        )
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        best = {user: max(gain for _, gain in each) for user, each in gains.items()}
        print(format, rate, injection.layout.size, {user: f"{gain:+.1%}" for user, gain in best.items()}, flush=True)


if __name__ == "__main__":
    main()
