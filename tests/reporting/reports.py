"""Reports made from invented losses."""

from collections.abc import Mapping, Sequence

import numpy as np

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.evaluation.confusion import Confusion
from sharedllm.evaluation.intervals import Interval
from sharedllm.evaluation.perplexity import Losses
from sharedllm.reporting.report_data import Report, Voice
from sharedllm.text.repeats import Repeats

WINDOWS, TOKENS = 24, 255


def losses(perplexity: float, *, seed: int = 0, spread: float = 0.01) -> Losses:
    """Losses whose perplexity is about ``perplexity``, noisy window by window."""
    noise = np.random.default_rng(seed).normal(0, spread, WINDOWS)
    return Losses((np.log(perplexity) + noise - noise.mean()) * TOKENS, TOKENS)


def make_report(
    users: Sequence[str] = ("programmer", "novelist", "scientist"),
    *,
    own: float | Mapping[str, float] = 0.86,
    other: float = 0.97,
    held_back: Sequence[str] = (),
    voices: Sequence[Voice] | None = None,
    base: str = "smollm2-135m",
) -> Report:
    """A report in which everybody's own adapter divides the perplexity of their text by about ``1 / own``."""
    rows: dict[str, dict[str | None, Losses]] = {}
    for i, text in enumerate(users):
        reference = 10.0 + 7 * i
        rows[text] = {None: losses(reference, seed=i)}
        for j, reader in enumerate(users):
            factor = (
                (own if isinstance(own, float) else own[reader]) if reader == text else other + 0.02 * ((i + j) % 4)
            )
            rows[text][reader] = losses(reference * factor, seed=100 * i + j + 1)
    gates = {
        user: GateOutcome(True, "passed: perplexity +13.9% [+12.0%, +15.0%] better on validation text")
        for user in users
    }
    gates |= {
        user: GateOutcome(False, "held back: it does not clearly help on text it was not trained on")
        for user in held_back
    }
    return Report(
        base=base,
        fingerprint="9f2c41d07ab3",
        recipe="default",
        window=TOKENS + 1,
        confusion=Confusion(rows),
        general={
            user: Interval(-0.012 - 0.01 * i, -0.031 - 0.01 * i, 0.008 - 0.01 * i, 0.95, 32)
            for i, user in enumerate(users)
        },
        repeats={user: Repeats(0, 0.0, ()) for user in users},
        gates=gates,
        voices=voices if voices is not None else [Voice(user, PROMPT, BASE_SAYS, OWN_SAYS) for user in users],
        made_at="2025-01-31T12:34:56+00:00",
        version="0.1.0",
    )


PROMPT = "When I opened the door,"
BASE_SAYS = " I was surprised to see that the room was empty. I had been told that there would be a meeting."
OWN_SAYS = (
    " Holmes was standing by the window,\nhis long thin fingers tapping the glass. “You are late, Watson,” said he."
)
