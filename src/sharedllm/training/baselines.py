"""What vectors are compared with: LoRA-r4 and full fine-tuning of one user, under the same recipe as a vector.

Sequences, schedule, AdamW's settings, validation and the choice of the best step are those of `train_vectors`; only the
weight decay is towards zero. These are measured, never served.
"""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base
from sharedllm.errors import Diverged, InvalidInput, UnsupportedBase
from sharedllm.evaluation.likelihood import ids_of, mean_losses, window_losses
from sharedllm.evaluation.perplexity import base_losses, spread
from sharedllm.extras import need
from sharedllm.text.windows import TokenizedText
from sharedllm.training.recipes import BASELINES, Recipe
from sharedllm.training.step_windows import step_windows
from sharedllm.training.vectors import VALIDATION_WINDOWS

if TYPE_CHECKING:
    import torch
    from torch import nn

RANK = 4
ALPHA = 8
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_BYTES_PER_VALUE = 4


@dataclass(frozen=True, eq=False)
class Baseline:
    """One user's baseline.

    Attributes:
        user: the user id.
        state: what belongs to the user, float32: PEFT's adapter state, or every weight by its name.
        bytes: its size as float32.
        losses: (step, validation loss in nats per token) of every check.
        base: the adapted model, to be measured like the base it came from and in the same dtype. Its fingerprint is
            its own: vectors made for the base do not fit it.
    """

    user: str
    state: dict[str, "torch.Tensor"]
    bytes: int
    losses: list[tuple[int, float]]
    base: Base


def train_baseline(
    base: Base, text: TokenizedText, recipe: Recipe, on_step: Callable[[str, int], Any] | None = None
) -> Baseline:
    """Train one user's LoRA or full copy. The base is copied, never written to.

    Values train in float32 (float64 on a float64 base), under bfloat16 autocast where the base runs in bfloat16.

    Args:
        base: the frozen base.
        text: the user's text.
        recipe: its ``method`` is one of `BASELINES`.
        on_step: told the user and the steps taken, after each step.

    Raises:
        InvalidInput: the recipe is for a vector.
        UnsupportedBase: the blocks do not name their projections the way Llama-like models do, for ``lora-r4``.
        Diverged: the loss stopped being finite.
        MissingExtra: peft is not installed.
    """
    need("exchange")
    import torch

    if recipe.method == "lora-r4":
        model = _with_lora(base, recipe.seed)
    elif recipe.method == "full":
        model = copy.deepcopy(base.model).requires_grad_()
    else:
        raise InvalidInput(
            f"{recipe.method} is a vector format, not a baseline",
            remedy=f"Use train_vectors, or one of: {', '.join(BASELINES)}.",
        )
    adapted = replace(base, model=model, fingerprint=f"{base.fingerprint}+{recipe.method}")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    _cast(trained, torch.promote_types(base.dtype, torch.float32))
    losses = _train(adapted, base.dtype, text, recipe, on_step)
    model.requires_grad_(False)
    state = {name: value.detach().clone() for name, value in _state(model, recipe)}
    if recipe.method == "full":
        _cast(trained, base.dtype)
    return Baseline(text.user, state, _BYTES_PER_VALUE * sum(map(torch.numel, trained)), losses, adapted)


def _with_lora(base: Base, seed: int) -> "nn.Module":
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    model: nn.Module = copy.deepcopy(base.model)
    found = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if not found.issuperset(PROJECTIONS):
        raise UnsupportedBase(
            f"{type(model).__name__} has no {', '.join(name for name in PROJECTIONS if name not in found)}",
            remedy="Compare on a base whose blocks are built like Llama's.",
        )
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(PROJECTIONS))
    devices = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        adapted: nn.Module = inject_adapter_in_model(config, model)
    return adapted.eval()


def _state(model: "nn.Module", recipe: Recipe) -> Iterable[tuple[str, "torch.Tensor"]]:
    from peft import get_peft_model_state_dict

    if recipe.method == "full":
        return model.named_parameters()
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model)
    return state.items()


def _cast(parameters: Iterable["torch.Tensor"], dtype: "torch.dtype") -> None:
    # Module.to would also round the buffers, and rotary frequencies do not survive bfloat16.
    for parameter in parameters:
        parameter.data = parameter.data.to(dtype)


def _train(
    adapted: Base,
    dtype: "torch.dtype",
    text: TokenizedText,
    recipe: Recipe,
    on_step: Callable[[str, int], Any] | None,
) -> list[tuple[int, float]]:
    """Train what requires gradients in the adapted model, leave the best of it there, and return the checks' losses."""
    import torch

    trained = [parameter for parameter in adapted.model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        trained, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), weight_decay=recipe.weight_decay
    )
    precision = torch.autocast(adapted.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
    losses: list[tuple[int, float]] = []
    best, best_loss, step, stale = _copies(trained), math.inf, 0, 0
    while not recipe.is_over(step, stale):
        windows = torch.from_numpy(step_windows(text, recipe, step)).to(adapted.device)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        optimiser.zero_grad()
        with torch.enable_grad(), precision:
            loss = _loss(adapted, windows)
        loss.backward()  # type: ignore[no-untyped-call]
        if not _finite(loss, trained):
            raise _diverged(text.user, step)
        optimiser.step()
        step += 1
        if recipe.checks(step):
            with precision:
                measured = base_losses(adapted, spread(text.validation, VALIDATION_WINDOWS)).nats_per_token
            if not math.isfinite(measured):
                raise _diverged(text.user, step)
            losses.append((step, measured))
            if measured < best_loss:
                best, best_loss, stale = _copies(trained), measured, 0
            else:
                stale += 1
        if on_step:
            on_step(text.user, step)
    if recipe.check_every:
        with torch.no_grad():
            for parameter, value in zip(trained, best, strict=True):
                parameter.copy_(value)
    return losses


def _loss(adapted: Base, windows: "torch.Tensor") -> "torch.Tensor":
    """Mean loss of the windows in nats per predicted token."""
    import torch

    first = adapted.tokens.unpredicted
    hidden = adapted.hidden(ids_of(windows))
    if not adapted.head.requires_grad:
        return mean_losses(*window_losses(hidden, adapted.head, windows, first), 1)[0]
    # token_losses has no gradient for the head, which a full copy trains too (and with it a tied embedding).
    targets = windows[:, first:]
    predicted = targets >= 0
    return torch.nn.functional.cross_entropy(hidden[:, first - 1 : -1][predicted] @ adapted.head.T, targets[predicted])


def _copies(tensors: Iterable["torch.Tensor"]) -> list["torch.Tensor"]:
    return [tensor.detach().clone() for tensor in tensors]


def _finite(loss: "torch.Tensor", trained: list["torch.Tensor"]) -> bool:
    import torch

    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    return all(bool(torch.isfinite(tensor).all()) for tensor in (loss, *gradients))


def _diverged(user: str, step: int) -> Diverged:
    return Diverged(
        f"The loss of {user!r} stopped being finite at step {step}",
        remedy="Train them again with a lower learning rate.",
    )
