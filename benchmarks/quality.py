"""How much each sample user's adapter helps on held-out text, beside what one would try instead.

    python -m benchmarks.quality

For every user, on the same held-out windows: the base; the base with 500 tokens of the user's own text before each;
the default norm adapter; and LoRA-r4 at its own best rate, chosen on validation text among the rates below. All train
on the same sequences, and each keeps its best step by validation text. What comes out is kept, whichever way it falls.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base, load_base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.likelihood import token_losses
from sharedllm.evaluation.perplexity import Losses, Windows, base_losses, row_losses, spread
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import general_text, sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, text_windows, tokenize
from sharedllm.training.baselines import train_baseline
from sharedllm.training.recipes import RECIPES
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "quality.json"
USERS = ("programmer", "novelist", "scientist")
LORA_RATES = (2e-4, 5e-4, 1e-3)
CONTEXT_TOKENS = 500
WINDOWS = 32


def main() -> None:
    base = load_base(BARE_BASE)
    injection = Injection(base, layout_of(base))
    texts = [tokenize(user, split_text(sample_text(user)), base.encode) for user in USERS]
    general = spread(text_windows(split_text(general_text()).heldout, base.encode, texts[0].heldout.shape[1]), WINDOWS)
    adapters = {trained.user: trained.adapter for trained in train_vectors(base, injection, texts, RECIPES["adamw"])}
    result: dict[str, Any] = {"environment": describe(), "window": texts[0].heldout.shape[1], "users": {}}
    for text in texts:
        adapter = adapters[text.user]
        if adapter is None:
            raise SystemExit(f"training {text.user} failed")
        heldout = spread(text.heldout, WINDOWS)
        table = np.stack([np.zeros_like(adapter.values), adapter.values])
        own, other = (row_losses(base, injection, table, read) for read in (heldout, general))
        lora, rate, by_rate = _lora(base, text)
        measured = {
            "base": (own[0], other[0]),
            "context": (_with_context(base, text, heldout), None),
            "norm": (own[1], other[1]),
            "lora-r4": (base_losses(lora, heldout), base_losses(lora, general)),
        }
        result["users"][text.user] = {
            "bytes": {"norm": 2 * adapter.values.size, "lora-r4": _lora_bytes(lora)},
            "lora_rate": rate,
            "lora_validation_loss_by_rate": by_rate,
            "heldout": {name: _figures(own[0], losses) for name, (losses, _) in measured.items()},
            "general": {name: _figures(other[0], losses) for name, (_, losses) in measured.items() if losses},
            "norm_over_lora": improvement(measured["lora-r4"][0], own[1]).as_dict(),
            "norm_over_context": improvement(measured["context"][0], own[1]).as_dict(),
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(text.user, {name: round(losses.perplexity, 3) for name, (losses, _) in measured.items()}, flush=True)


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


def _figures(reference: Losses, losses: Losses) -> dict[str, Any]:
    return {
        "perplexity": losses.perplexity,
        "improvement": improvement(reference, losses).as_dict(),
        "window_nats": [round(value, 4) for value in losses.nats.tolist()],
    }


if __name__ == "__main__":
    main()
