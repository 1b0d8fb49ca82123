"""In how many steps, and in what time, a row on the prior reads as well as one of the bare base at its end.

    taskset -c 0 python -m benchmarks.time_to_quality       # ten minutes; goes on with the next person where it ended

Each sample user's `norm+bank` row is trained on the shipped prior by the default recipe, and reads their held-out text
at some of the first steps: every other window that `benchmarks.quality` reads, whose losses of the bare base, of
AdamW's norm row on that, of the prior alone and of the default recipe's row at its end it is compared with on the same
windows. A row that is as good as AdamW's at its end *reaches* it. Nothing is chosen by these figures: they are read at
steps that stand here. Beside it is the check of the default recipe at which 95 % of what it gains on validation text is
there, from that run and from `benchmarks.prior_sweep`.

A step's time is that of `benchmarks.training_trace`, where a norm row takes as long on the prior as on the bare base:
they have the same shapes. What a recipe reads of validation text is not counted, nor the curvature, which is measured
once a base.
"""

import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import prior_sweep, quality, training_trace
from benchmarks.prior_curve import PRIOR_BASE
from sharedllm.evaluation.perplexity import spread
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, tokenize
from sharedllm.training import vectors
from sharedllm.training.recipes import RECIPES, Recipe, tuned

RESULT = Path(__file__).parent / "results" / "time_to_quality.json"
FORMAT, GOAL, END = "norm+bank", "norm by adamw on the bare base", "norm+bank on the prior"
BARE, PRIOR = "nothing on the bare base", "nothing on the prior"
READ_AT = (4, 8, 12, 16, 24, 32, 40, 50, 64)
EVERY = 2
SHARE = 0.95


class _Reading(Recipe):
    """The default recipe, which reads at the steps above and ends at none of them."""

    def checks(self, step: int) -> bool:
        return step in READ_AT


def main() -> None:
    torch.set_num_threads(1)
    # Of the text that stands in the place of validation text here.
    vectors.VALIDATION_WINDOWS = len(range(0, quality.WINDOWS, EVERY))
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {"users": {}}
    with Workplace(PRIOR_BASE) as prior:
        for user in quality.USERS:
            if user not in result["users"]:
                print(user, "…", file=sys.stderr)
                result["users"][user] = {"environment": describe(), "losses": _losses(prior, _text(prior, user))}
                _write(result)


def _text(place: Workplace, user: str) -> TokenizedText:
    return tokenize(user, split_text(sample_text(user)), place.base.encode)


def _losses(place: Workplace, text: TokenizedText) -> list[tuple[int, float]]:
    """Steps, and the nats a token of the held-out text at each of them."""
    recipe = _Reading(**asdict(replace(tuned(RECIPES["default"], format=FORMAT), steps=READ_AT[-1], patience=0)))
    read = replace(text, validation=spread(text.heldout, quality.WINDOWS)[::EVERY])
    (trained,) = vectors.train_vectors(
        place.base, place.injection(FORMAT), [read], recipe, curvature=place.curvature(recipe)
    )
    if trained.error is not None:
        raise SystemExit(str(trained.error))
    return trained.losses


def _write(result: dict[str, Any]) -> None:
    files = quality.RESULT, training_trace.RESULT, prior_sweep.RESULT
    measured, trace, sweep = (json.loads(each.read_text()) for each in files)
    result["summary"] = summarise(result, measured, trace["summary"], sweep["prior"])
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=2), flush=True)


def summarise(
    result: dict[str, Any], measured: dict[str, Any], steps: dict[str, Any], validation: dict[str, float]
) -> dict[str, Any]:
    """By person: at which step the row reaches the one on the bare base, in what share of its time, and all gains."""
    found: dict[str, Any] = {"users": {}}
    for user, each in result["users"].items():
        of = {
            name: sum(measured["users"][user][name]["heldout"][::EVERY])
            / (len(measured["users"][user][name]["heldout"][::EVERY]) * (measured["window"] - 1))
            for name in (BARE, GOAL, PRIOR, END)
        }
        curve = [(0, of[PRIOR]), *each["losses"]]
        found["users"][user] = {
            "reaches": next((step for step, loss in curve if loss <= of[GOAL]), None),
            "gains": {step: 1 - math.exp(loss - of[BARE]) for step, loss in curve},
            "goal": 1 - math.exp(of[GOAL] - of[BARE]),
            "most_of_its_gain": _most(measured["users"][user][END]["validation_losses"], validation[user]),
            "end": 1 - math.exp(of[END] - of[BARE]),
        }
    whole = RECIPES["adamw"].steps * steps["norm"]["step_ms"]
    for each in found["users"].values():
        each["share_of_time"] = None if each["reaches"] is None else each["reaches"] * steps[FORMAT]["step_ms"] / whole
    return found


def _most(losses: list[tuple[int, float]], before: float) -> int:
    """The first check at which most of the loss is gone that is gone at the best."""
    best = min(loss for _, loss in losses)
    return next(step for step, loss in losses if before - loss >= SHARE * (before - best))


if __name__ == "__main__":
    main()
