"""Which numbers a person should have, by which optimiser and at which rate: by validation text alone.

    python -m benchmarks.prior_sweep        # an hour on two cores; goes on where it was ended

Every variant trains the same people on the first tokens of their training block, on the base with the prior, and is
validated as it goes. The people contribute to no figure: they are sample users, whose validation blocks nothing else
reads. Shapes: the diagonal (a number a component), a core (every component into every other) at every projection or
only where a block adds to the stream, and both beside the gains of norms.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from sharedllm.adapters.formats.registry import Format, register_format
from sharedllm.base.frames import framed
from sharedllm.base.sites import Site, norm_sites
from sharedllm.evaluation.perplexity import base_losses, spread
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, tokenize
from sharedllm.training.recipes import Optimiser, Recipe
from sharedllm.training.vectors import VALIDATION_WINDOWS, train_vectors

RESULT = Path(__file__).parent / "results" / "prior_sweep.json"
BASE = "smollm2-135m-people"
USERS = ("programmer", "novelist", "scientist", "journalist")
LITTLE, MUCH = (1_000, 32), (8_000, 64)
"""Tokens to train on, and how many steps of 256 of them are taken, a quarter of them between checks."""


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

VARIANTS: list[tuple[Optimiser, tuple[int, int], str, float]] = [
    ("natural", LITTLE, "norm+bank", 4e-4),
    ("natural", MUCH, "norm+bank", 4e-4),
    ("adamw", MUCH, "norm", 5e-3),
    ("natural", LITTLE, "norm", 4e-4),
    ("natural", LITTLE, "bank", 4e-4),
    ("natural", MUCH, "norm", 4e-4),
    ("adamw", MUCH, "norm+bank", 5e-3),
    ("natural", MUCH, "norm+core-out", 4e-4),
    ("adamw", LITTLE, "bank", 1e-2),
    ("adamw", LITTLE, "bank", 3e-2),
    ("adamw", LITTLE, "core", 1e-2),
    ("adamw", LITTLE, "norm", 5e-3),
    ("adamw", LITTLE, "norm+bank", 5e-3),
    ("adamw", LITTLE, "core", 3e-3),
    ("adamw", LITTLE, "core-out", 1e-2),
    ("adamw", LITTLE, "norm+core-out", 5e-3),
]
"""The most telling first."""


def main() -> None:
    result: dict[str, Any] = {"environment": describe(), "variants": []}
    if RESULT.exists():
        result = json.loads(RESULT.read_text())
    with Workplace(BASE) as place:
        base = place.base
        texts = [tokenize(user, split_text(sample_text(user)), base.encode) for user in USERS]
        if "prior" not in result:
            validation = {text.user: base_losses(base, spread(text.validation, VALIDATION_WINDOWS)) for text in texts}
            result |= {
                "base": {"name": BASE, "fingerprint": base.fingerprint},
                "prior": {user: losses.nats_per_token for user, losses in validation.items()},
            }
        for variant in VARIANTS:
            if _key(*variant) not in [each["key"] for each in result["variants"]]:
                result["variants"].append(_variant(place, texts, result["prior"], *variant))
                RESULT.write_text(json.dumps(result, indent=1) + "\n")
                print(_told(result["variants"][-1]), flush=True)


def _key(optimiser: str, amount: tuple[int, int], format: str, rate: float) -> str:
    return f"{optimiser} {amount[0]} {format} {rate:g}"


def _variant(
    place: Workplace,
    texts: list[TokenizedText],
    prior: dict[str, float],
    optimiser: Optimiser,
    amount: tuple[int, int],
    format: str,
    rate: float,
) -> dict[str, Any]:
    tokens, steps = amount
    recipe = Recipe(
        "sweep",
        method=format,
        optimiser=optimiser,
        learning_rate=rate,
        schedule="constant",
        steps=steps,
        windows_per_step=1,
        check_every=steps // 4,
    )
    short = [replace(text, train=text.train[:tokens]) for text in texts]
    injection = place.injection(format)
    training = train_vectors(place.base, injection, short, recipe, curvature=place.curvature(recipe))
    gains = {
        each.user: [(step, 1 - math.exp(loss - prior[each.user])) for step, loss in each.losses] for each in training
    }
    return {
        "key": _key(optimiser, amount, format, rate),
        "optimiser": optimiser,
        "tokens": tokens,
        "format": format,
        "learning_rate": rate,
        "numbers": injection.layout.size,
        "gains": gains,
    }


def _told(variant: dict[str, Any]) -> str:
    best = {user: f"{max(gain for _, gain in gains):+.1%}" for user, gains in variant["gains"].items()}
    return f"{variant['key']} {best}"


if __name__ == "__main__":
    main()
