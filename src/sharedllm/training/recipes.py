"""How to train: small frozen objects, the same for every method."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT, format_named, format_names
from sharedllm.errors import InvalidInput, UnknownName

BASELINES = ("lora-r4", "full")
"""What vector formats are compared with; never served."""

Parameter = Literal["relative", "gain"]
Schedule = Literal["constant", "cosine"]
Optimiser = Literal["adamw", "natural"]

_CHOICES = {"parameter": get_args(Parameter), "schedule": get_args(Schedule), "optimiser": get_args(Optimiser)}
_WHOLE = {
    "warmup": 0,
    "steps": 1,
    "windows_per_step": 1,
    "window": 2,
    "check_every": 0,
    "patience": 0,
}
_BELOW = {"learning_rate": math.inf, "weight_decay": math.inf, "beta1": 1.0, "beta2": 1.0}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run besides the base and the text.

    Attributes:
        name: for provenance.
        method: a vector format, or one of `BASELINES`.
        parameter: what AdamW moves: the ``relative`` deviation ``s``, or the ``gain`` itself, as the documents do.
        optimiser: ``adamw``, or ``natural``: momentum, divided by the base's curvature in place of each user's own
            squares; see `training.optimiser`.
        learning_rate: peak, per step.
        schedule: ``constant``, or ``cosine`` to zero at the last step.
        warmup: steps over which the rate rises linearly from zero.
        steps: at most this many.
        windows_per_step: sequences of one user in a step.
        window: tokens in a sequence.
        beta1, beta2: AdamW's averaging; ``beta1`` is the momentum of ``natural``, which has no second.
        weight_decay: decoupled decay towards the base.
        check_every: validate after every so many steps and keep the best row; 0 keeps the last row unseen.
        patience: stop after this many checks in a row without a new best; 0 never stops early.
        seed: of the order of the windows.
    """

    name: str
    method: str = DEFAULT_FORMAT
    parameter: Parameter = "relative"
    learning_rate: float = 1e-2
    schedule: Schedule = "cosine"
    warmup: int = 0
    steps: int = 100
    windows_per_step: int = 2
    window: int = 256
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    check_every: int = 25
    patience: int = 0
    seed: int = 0
    optimiser: Optimiser = "adamw"

    def __post_init__(self) -> None:
        if (self.method in BASELINES) == (self.method in format_names()):
            compared = f"; {' and '.join(BASELINES)} are what they are compared with, and not for train"
            raise self._refusal("method", f"Use one of: {', '.join(format_names())}{compared}.")
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise self._refusal(field, f"Use one of: {', '.join(choices)}.")
        for field, least in _WHOLE.items():
            if not isinstance(getattr(self, field), int) or getattr(self, field) < least:
                raise self._refusal(field, f"Use a whole number of at least {least}.")
        for field, limit in _BELOW.items():
            if not 0 <= getattr(self, field) < limit:
                raise self._refusal(field, f"Use a finite number of at least 0{', below 1' if limit == 1 else ''}.")
        if self.parameter == "gain" and not has_gains(self.method):
            raise self._refusal("parameter", f"Use relative: the {self.method} format does not act on gains.")
        if self.optimiser == "natural" and (self.parameter != "relative" or self.method in BASELINES):
            raise self._refusal("optimiser", "Use adamw, or a vector format and the parameter relative.")

    def _refusal(self, field: str, remedy: str) -> InvalidInput:
        what = "number of steps" if field == "steps" else field
        return InvalidInput(f"The {what} of recipe {self.name!r} is {getattr(self, field)!r}", remedy=remedy)

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        return self.learning_rate * pace(self.schedule, step, self.steps, self.warmup)

    def checks(self, step: int) -> bool:
        """Whether to validate when so many steps are taken."""
        return self.check_every > 0 and (step >= self.steps or step % self.check_every == 0)

    def is_over(self, step: int, stale: int) -> bool:
        """Whether training ends when so many steps are taken and the last ``stale`` checks brought no new best."""
        return step >= self.steps or 0 < self.patience <= stale

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for provenance."""
        return asdict(self)


def pace(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """The share of the peak rate at a step, counted from 0: a linear rise over the warmup, and the schedule."""
    ramp = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return ramp if schedule == "constant" else ramp * 0.5 * (1 + math.cos(math.pi * step / steps))


def has_gains(method: str) -> bool:
    """Whether a method can be trained by moving gains: a baseline moves all that it trains, whatever that is.

    Raises:
        UnknownName, FormatError: see `format_named`.
    """
    return method in BASELINES or format_named(method).gains


def recipe_in(provenance: Mapping[str, Any]) -> Recipe | None:
    """How an adapter was trained here; None where its provenance does not say so, as of one that came as a file."""
    said = provenance.get("recipe")
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        return None
    try:
        recipe = Recipe(**said)
        hash(recipe)
    except (TypeError, InvalidInput):
        # Of a version that knows other recipes.
        return None
    return recipe


RECIPES = {
    recipe.name: recipe
    for recipe in (
        # The source documents' own: AdamW on the gains, one rate for every method, the last step is what counts.
        Recipe("documented", parameter="gain", learning_rate=5e-5, schedule="constant", check_every=0),
        # By benchmarks/prior_sweep.py; one rate for every format, since the curvature has the units.
        Recipe(
            "default",
            optimiser="natural",
            learning_rate=4e-4,
            schedule="constant",
            steps=256,
            windows_per_step=1,
            check_every=32,
            patience=2,
        ),
        # AdamW's best of benchmarks/sweep.py on the sample users' validation text, at equal cost: a cosine needs twice
        # the rate and ends no better, moving the gains themselves is worse, and so are fewer steps of more text.
        Recipe("adamw", learning_rate=5e-3, schedule="constant", steps=200, windows_per_step=1, check_every=50),
    )
}
DEFAULT_RECIPE = "default"


def tuned(
    recipe: Recipe,
    *,
    format: str | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
) -> Recipe:
    """A registered recipe, changed in what is given. Its name says so, since results are shown under it.

    Raises:
        UnknownName, FormatError: see `format_named`.
        InvalidInput: what is given is no number of steps or no rate.
    """
    given = {"method": format, "steps": steps, "learning_rate": learning_rate}
    told: dict[str, Any] = {
        field: value for field, value in given.items() if value not in (None, getattr(recipe, field))
    }
    changes: dict[str, Any] = dict(told)
    if "method" in told:
        chosen = format_named(told["method"])
        if not chosen.gains:
            changes["parameter"] = "relative"
        if recipe.name == "adamw" and chosen.learning_rate is not None:
            changes.setdefault("learning_rate", chosen.learning_rate)
    # First under its own name, which is what a refusal quotes.
    changed = replace(recipe, seed=seed, **changes)
    if not told:
        return changed
    return replace(changed, name=f"{recipe.name} with {', '.join(f'{field} {value}' for field, value in told.items())}")


def recipe_named(name: str) -> Recipe:
    """A registered recipe.

    Raises:
        UnknownName: there is none of that name.
    """
    if name not in RECIPES:
        raise UnknownName(f"{name!r} is not a recipe", remedy=f"Use one of: {', '.join(RECIPES)}.")
    return RECIPES[name]
