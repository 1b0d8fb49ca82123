"""Adapters that bets share: made where missing, reused where what they were made from is the same."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments.catalogue.protocols import STEPS, Protocol, Size, recipes
from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.adapter_file import load_adapter, save_adapter
from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.errors import AdapterError, Diverged, InvalidInput, TrainingError
from sharedllm.files import replacing
from sharedllm.text.windows import TokenizedText
from sharedllm.training.baselines import ALPHA, PROJECTIONS, RANK, train_baseline
from sharedllm.training.checkpoints import Checkpoints
from sharedllm.training.recipes import BASELINES, Recipe
from sharedllm.training.vectors import train_vectors

if TYPE_CHECKING:
    from torch import nn

Row = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Workshop:
    """What a run's adapters are made with, and where they lie.

    Attributes:
        base: the frozen base.
        seeds: of the training; the first one's choice of a rate is the others'.
        protocol: how adapters are trained.
        size: how much is trained.
        out: the folder of adapters.
        used: every adapter file that was made or reused, with what decided it; filled here.
        injection: hooks of a format on a base.
        say: told what takes time.
    """

    base: Base
    seeds: tuple[int, ...]
    protocol: Protocol
    size: Size
    out: Path
    used: dict[str, dict[str, Any]]
    injection: Callable[[str, Base], Injection]
    say: Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Copy:
    """One user's LoRA or full copy.

    Attributes:
        base: the adapted model, measured like the base.
        bytes: what belongs to the user, as float32.
        rate: the learning rate it was trained at.
    """

    base: Base
    bytes: int
    rate: float


def vector(shop: Workshop, text: TokenizedText, method: str, seed: int, steps: int, base: Base, number: str) -> Row:
    """A vector of the rate with the lowest validation loss, from its file if that was made from the same things."""
    choices = _choices(shop, text, method, seed, steps, base, number)
    path = _path(shop, number, method, text.user, seed, steps)
    key = _key(base, text, choices)
    stored = _stored_vector(path, key)
    if stored is None:
        found = [_train_vector(shop, text, recipe, base) for recipe in choices]
        _, best = min(found, key=lambda each: each[0])
        losses = {repr(recipe.learning_rate): each for recipe, (each, _) in zip(choices, found, strict=True)}
        about = {"inputs_sha256": key, "rate": best.provenance["recipe"]["learning_rate"], "losses": losses}
        with replacing(path) as part:
            save_adapter(replace(best, provenance={**best.provenance, "catalogue": about}), part)
        # What is measured is what is stored: float16, whether it was made now or last week.
        stored = load_adapter(path)
    shop.used[path.name] = dict(stored.provenance["catalogue"])
    return stored.values


def baseline(shop: Workshop, text: TokenizedText, method: str, seed: int, number: str) -> Copy:
    """A baseline of the rate with the lowest validation loss; each finished rate is kept, so a killed run goes on."""
    choices = _choices(shop, text, method, seed, STEPS, shop.base, number)
    path = _path(shop, number, method, text.user, seed, STEPS)
    key = _key(shop.base, text, choices)
    about = _stored_about(path, key) or {"inputs_sha256": key, "losses": {}}
    failure: Diverged | None = None
    for recipe in choices:
        rate = repr(recipe.learning_rate)
        if rate in about["losses"]:
            continue
        _announce(shop, text, recipe)
        try:
            trained = train_baseline(shop.base, text, recipe)
        except Diverged as error:
            # A rate that is too high for this user is no choice; the others may still be.
            failure = error
            continue
        loss = min((loss for _, loss in trained.losses), default=0.0)
        better = loss < min(about["losses"].values(), default=float("inf"))
        about["losses"][rate] = loss
        if better:
            about |= {"rate": recipe.learning_rate, "bytes": trained.bytes}
        _save_copy(path, trained.base.model if better else None, method, about)
    if "rate" not in about:
        raise failure or TrainingError(f"No rate of {path.name} was tried", remedy="Name at least one.")
    shop.used[path.name] = dict(about)
    model = _with_stored(shop.base, path, method)
    adapted = replace(shop.base, model=model, fingerprint=f"{shop.base.fingerprint}+{method}-{text.user}")
    return Copy(adapted, about["bytes"], about["rate"])


def _choices(
    shop: Workshop, text: TokenizedText, method: str, seed: int, steps: int, base: Base, number: str
) -> list[Recipe]:
    """The recipes to choose from; only the run's first seed at the usual steps chooses, and the others follow it."""
    taken = min(steps, shop.size.max_steps)
    found = [
        replace(recipe, window=shop.size.window) for recipe in recipes(shop.protocol, method, steps=taken, seed=seed)
    ]
    if len(found) == 1 or (seed == shop.seeds[0] and steps == STEPS):
        return found
    if method in BASELINES:
        rate = baseline(shop, text, method, shop.seeds[0], number).rate
    else:
        vector(shop, text, method, shop.seeds[0], STEPS, base, number)
        rate = shop.used[_path(shop, number, method, text.user, shop.seeds[0], STEPS).name]["rate"]
    return [recipe for recipe in found if recipe.learning_rate == rate]


def _train_vector(shop: Workshop, text: TokenizedText, recipe: Recipe, base: Base) -> tuple[float, Adapter]:
    _announce(shop, text, recipe)
    checkpoints = Checkpoints(shop.out / "checkpoints", base.fingerprint)
    _continue_shorter(checkpoints, text, recipe)
    training = train_vectors(base, shop.injection(recipe.method, base), [text], recipe, checkpoints=checkpoints)
    trained = next(training)
    # Closed before it is told that the result was taken, it keeps its last checkpoint, for a longer training to go on.
    training.close()
    if trained.adapter is None:
        raise trained.error or TrainingError(f"Training {text.user!r} gave no adapter", remedy="Run it again.")
    return min((loss for _, loss in trained.losses), default=0.0), trained.adapter


def _continue_shorter(checkpoints: Checkpoints, text: TokenizedText, recipe: Recipe) -> None:
    """Begin where the longest shorter training ended, if the longer one would have passed through that point."""
    if recipe.schedule != "constant" or checkpoints.load(text.user, text.sha256, recipe):
        return
    for steps in range(recipe.steps - 1, 0, -1):
        # A shorter training also validates at its end; a longer one has to do so there too.
        if not recipe.check_every or steps % recipe.check_every == 0:
            reached = checkpoints.load(text.user, text.sha256, replace(recipe, steps=steps))
            if reached is not None and reached.step == steps:
                checkpoints.save(text.user, text.sha256, recipe, reached)
                return


def _announce(shop: Workshop, text: TokenizedText, recipe: Recipe) -> None:
    shop.say(f"training {recipe.method} of {text.user}: {recipe.steps} steps at {recipe.learning_rate:g}")


def _path(shop: Workshop, number: str, method: str, user: str, seed: int, steps: int) -> Path:
    """``NN_<method>_<user>``, and after it whatever differs from the documents' protocol, seed 0 and 100 steps."""
    name = {"lora-r4": "lora"}.get(method, method)
    marks = {
        shop.protocol: shop.protocol != "documented",
        f"seed{seed}": seed != 0,
        f"steps{steps}": steps != STEPS,
    }
    stem = "-".join([f"{number}_{name}_{user}", *(mark for mark, differs in marks.items() if differs)])
    return shop.out / f"{stem}.safetensors"


def _key(base: Base, text: TokenizedText, choices: Iterable[Recipe]) -> str:
    made_from = [base.fingerprint, str(base.dtype), text.sha256, [recipe.as_dict() for recipe in choices]]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _stored_vector(path: Path, key: str) -> Adapter | None:
    try:
        adapter = load_adapter(path)
    except (InvalidInput, AdapterError):
        return None
    about = adapter.provenance.get("catalogue", {})
    return adapter if about.get("inputs_sha256") == key else None


def _stored_about(path: Path, key: str) -> dict[str, Any] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            about: dict[str, Any] = json.loads(stored.metadata()["about"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return about if about.get("inputs_sha256") == key else None


def _save_copy(path: Path, model: "nn.Module | None", method: str, about: dict[str, Any]) -> None:
    """Write the user's part of a model, or keep the part that is there, with what is known about it."""
    from safetensors.torch import load_file, save_file

    if model is None:
        tensors = load_file(path)
    else:
        tensors = {
            name: value.detach().contiguous() for name, value in model.named_parameters() if _is_theirs(name, method)
        }
    with replacing(path) as part:
        save_file(tensors, part, metadata={"about": json.dumps(about)})


def _with_stored(base: Base, path: Path, method: str) -> "nn.Module":
    import copy

    from peft import LoraConfig, inject_adapter_in_model
    from safetensors.torch import load_file

    model: nn.Module = copy.deepcopy(base.model)
    if method == "lora-r4":
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(PROJECTIONS))
        model = inject_adapter_in_model(config, model)
    stored = load_file(path, device=str(base.device))
    for name, parameter in model.named_parameters():
        if _is_theirs(name, method):
            parameter.data = stored[name]
    return model.requires_grad_(False).eval()


def _is_theirs(name: str, method: str) -> bool:
    return method == "full" or "lora_" in name
