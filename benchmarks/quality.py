"""How much each sample user's adapter helps on held-out text, beside what one would try instead.

    python -m benchmarks.quality            # two hours on two cores; all is kept, and the same command goes on
    python -m benchmarks.quality 20         # for twenty minutes

For every user, on the same held-out windows: the bare base; the bare base with 500 tokens of the user's own text before
each; the prior alone; adapters of the default recipe on it; one by AdamW on the bare base, as earlier versions made
them; and LoRA-r4 on both, at its own best rate, chosen on validation text among the rates below. All train on the same
block, and each keeps its best step by validation text. What comes out is kept, whichever way it falls.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.prior_curve import PRIOR_BASE
from sharedllm.base.loading import Base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.likelihood import token_losses
from sharedllm.evaluation.perplexity import Losses, Windows, base_losses, row_losses, spread
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import general_text, sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, text_windows, tokenize
from sharedllm.training.baselines import train_baseline
from sharedllm.training.recipes import RECIPES, tuned
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "quality.json"
USERS = ("programmer", "novelist", "scientist")
LORA_RATES = (2e-4, 5e-4, 1e-3)
CONTEXT_TOKENS = 500
WINDOWS = 32
CONTENDERS = [
    (BARE_BASE, "nothing"),
    (BARE_BASE, "context"),
    (PRIOR_BASE, "nothing"),
    (PRIOR_BASE, "norm+bank"),
    (PRIOR_BASE, "norm"),
    (BARE_BASE, "norm by adamw"),
    (BARE_BASE, "lora-r4"),
    (PRIOR_BASE, "lora-r4"),
    (PRIOR_BASE, "bank"),
]
"""Base, and what of a person's there is on it; the most telling first."""


def main() -> None:
    ends = time.monotonic() + 60 * float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {"users": {}}
    for place, what, user in _missing(result):
        base = place.base
        text = tokenize(user, split_text(sample_text(user)), base.encode)
        result["window"] = text.heldout.shape[1]
        heldout = spread(text.heldout, WINDOWS)
        general = spread(text_windows(split_text(general_text()).heldout, base.encode, result["window"]), WINDOWS)
        found: dict[str, Any] = {"environment": describe()}
        if what == "context":
            read = [_with_context(base, text, heldout)]
        elif what == "nothing":
            read = [base_losses(base, windows) for windows in (heldout, general)]
        elif what == "lora-r4":
            lora, rate, by_rate = _lora(base, text)
            read = [base_losses(lora, windows) for windows in (heldout, general)]
            found |= {"bytes": _lora_bytes(lora), "rate": rate, "validation_loss_by_rate": by_rate}
        else:
            format, _, recipe_name = what.partition(" by ")
            recipe = tuned(RECIPES[recipe_name or "default"], format=format)
            injection = place.injection(format)
            (trained,) = train_vectors(base, injection, [text], recipe, curvature=place.curvature(recipe))
            if trained.adapter is None:
                raise SystemExit(f"training {user} failed: {trained.error}")
            row = trained.adapter.values
            read = [row_losses(base, injection, row[None], windows)[0] for windows in (heldout, general)]
            found |= {"bytes": 2 * row.size, "recipe": recipe.name, "validation_losses": trained.losses}
        found |= dict(zip(("heldout", "general"), (_nats(losses) for losses in read), strict=False))
        result["users"].setdefault(user, {})[f"{what} on {base_name(place)}"] = found
        result["summary"] = summary(result)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(user, what, place.name, result["summary"][user][f"{what} on {base_name(place)}"], flush=True)
        if time.monotonic() > ends:
            break


def base_name(place: Workplace) -> str:
    return {BARE_BASE: "the bare base", PRIOR_BASE: "the prior"}[place.name]


def _missing(result: dict[str, Any]) -> Iterator[tuple[Workplace, str, str]]:
    places = {name: Workplace(name) for name in (BARE_BASE, PRIOR_BASE)}
    for (base, what), user in product(CONTENDERS, USERS):
        if f"{what} on {base_name(places[base])}" not in result["users"].get(user, {}):
            yield places[base], what, user
    for place in places.values():
        place.close()


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """By user and contender: perplexity on held-out and general text, and how much lower than the bare base's it is."""
    found: dict[str, Any] = {}
    for user, contenders in result["users"].items():
        bare = contenders["nothing on the bare base"]
        found[user] = {}
        for name, contender in contenders.items():
            for read in ("heldout", "general"):
                if read in contender:
                    losses = _losses(contender[read], result)
                    found[user].setdefault(name, {})[read] = {
                        "perplexity": losses.perplexity,
                        "improvement": improvement(_losses(bare[read], result), losses).as_dict(),
                    }
    return found


def _losses(nats: list[float], result: dict[str, Any]) -> Losses:
    return Losses(np.array(nats), result["window"] - 1)


def _nats(losses: Losses) -> list[float]:
    return [round(value, 4) for value in losses.nats.tolist()]


def _lora(base: Base, text: TokenizedText) -> tuple[Base, float, dict[str, float]]:
    """The LoRA of the rate with the lowest validation loss at its best step, that rate, and the loss of each rate."""
    found = {}
    for rate in LORA_RATES:
        recipe = replace(RECIPES["adamw"], name="lora", method="lora-r4", parameter="relative", learning_rate=rate)
        baseline = train_baseline(base, text, recipe)
        found[rate] = min(loss for _, loss in baseline.losses), baseline.base
    best = min(found, key=lambda rate: found[rate][0])
    return found[best][1], best, {str(rate): loss for rate, (loss, _) in found.items()}


def _lora_bytes(lora: Base) -> int:
    return sum(2 * value.numel() for name, value in lora.model.named_parameters() if "lora_" in name)


def _with_context(base: Base, text: TokenizedText, heldout: Windows) -> Losses:
    """Losses of the same predicted tokens with the last tokens of the training block before every window."""
    context = torch.from_numpy(text.train[-CONTEXT_TOKENS:].astype(np.int64))
    nats = []
    with torch.inference_mode():
        for window in torch.from_numpy(heldout):
            ids = torch.cat([context, window]).unsqueeze(0).to(base.device)
            hidden = base.hidden(ids)[:, CONTEXT_TOKENS:-1]
            nats.append(float(token_losses(hidden, base.head, ids[:, CONTEXT_TOKENS + 1 :]).double().sum()))
    return Losses(np.array(nats), heldout.shape[1] - 1)


if __name__ == "__main__":
    main()
