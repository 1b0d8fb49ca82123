"""Many people with little text trained in one run, against the same people one after the other. SmolLM2-135M, CPU.

    taskset -c 0 python -m benchmarks.together

People of places of their own in the sample users' texts take a step of the default recipe. With 2,000 or 30,000
characters a text is in folds, so that each person is five rows, and a step reads a window for each; with 60,000 a
person is one row. Blocks and validation text are not read.

- ``alone``: a run of its own for each person, one after the other.
- ``in one run``: one run, as it is. Rows of those in folds seldom share a pass: five fill most of one, and people's
  windows are of different lengths.
- ``packed``, of those with 2,000: one run whose passes hold twice as many tokens, with windows of one length for
  everybody.

Contenders take turns, on one thread, in seconds in which it computed; rows of the first two are compared. Beside them:
at how much of the machine's bfloat16 rate the layers' products are multiplied with as many tokens as a pass has.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.prior_curve import PRIOR_BASE
from benchmarks.trace import MATRIX, _multiplying, _rate
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base, load_base
from sharedllm.reporting.environment import describe
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText
from sharedllm.training import little, vectors
from sharedllm.training.recipes import RECIPES, Recipe, tuned

RESULT = Path(__file__).parent / "results" / "together.json"
FORMAT, STEPS, TURNS = "norm+bank", 1, 2
KINDS: dict[str, tuple[int, int]] = {
    "in folds, 2,000 characters": (2_000, 3),
    "in folds, 30,000 characters": (30_000, 8),
    "a row each": (60_000, 8),
}
"""How long their texts are, and how many people there are."""
SOURCES = ("programmer", "novelist", "scientist", "journalist")
ALIKE = 144
"""A length that windows of the shortest texts can have."""

TIMES = 2
TOKENS = (144, 256, 720, 2_048)

_Rows = dict[str, npt.NDArray[np.float32]]
_Train = Callable[[Base, Injection, Sequence[TokenizedText], Recipe], _Rows]


def main() -> None:
    torch.set_num_threads(1)
    base = load_base(PRIOR_BASE, device="cpu")
    injection = Injection(base, layout_of(base, FORMAT))
    recipe = replace(tuned(RECIPES["default"], format=FORMAT), steps=STEPS, check_every=0, patience=0)
    result: dict[str, Any] = {"environment": describe() | {"threads": 1}, "others": os.getloadavg()[0], "people": []}
    for kind, (characters, count) in KINDS.items():
        texts = _texts(base, count, characters)
        ways: dict[str, tuple[list[TokenizedText], _Train]] = {
            "alone": (texts, _alone),
            "in one run": (texts, _train),
        }
        if kind == next(iter(KINDS)):
            ways["packed"] = [replace(text, window=ALIKE) for text in texts], _packed
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        rows: dict[str, _Rows] = {}
        for turn in range(TURNS):
            for way in list(ways)[:: 1 if turn % 2 else -1]:
                print(count, kind, way, "…", file=sys.stderr)
                given, train = ways[way]
                begun = time.thread_time()
                with _unread():
                    rows[way] = train(base, injection, given, recipe)
                seconds[way].append(time.thread_time() - begun)
        tokens = {way: sum(_tokens(text, recipe) for text in given) for way, (given, _) in ways.items()}
        found = {"kind": kind, "people": count, "tokens": tokens, "windows": [text.window for text in texts]}
        # Whoever's blocks are not read keeps nothing of a text in folds.
        if not texts[0].folds:
            found["furthest_apart"] = _apart(rows["alone"], rows["in one run"])
        result["people"].append(found | {"seconds": seconds})
    result["product_operations_a_second"] = [_rate(_multiplying(), 2 * MATRIX**3) for _ in range(3)]
    result["products"] = {tokens: _products(base, tokens) for tokens in TOKENS}
    result["summary"] = summarise(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=2))


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of each way, how many times as fast it is as one after the other, and what products reach."""
    found = []
    for each in result["people"]:
        rates = {way: [each["tokens"][way] / taken for taken in seconds] for way, seconds in each["seconds"].items()}
        times = {
            way: [mine / alone for mine, alone in zip(of_way, rates["alone"], strict=True)]
            for way, of_way in rates.items()
            if way != "alone"
        }
        found.append(
            {
                "kind": each["kind"],
                "people": each["people"],
                "tokens_a_second": {way: statistics.median(of_way) for way, of_way in rates.items()},
                "times_as_fast": {
                    way: [min(of_way), statistics.median(of_way), max(of_way)] for way, of_way in times.items()
                },
            }
        )
    rate = max(result["product_operations_a_second"])
    products = {tokens: each / rate for tokens, each in result["products"].items()}
    return {"people": found, "of_product_rate": products}


def _texts(base: Base, count: int, characters: int) -> list[TokenizedText]:
    found = []
    for number in range(count):
        whole = sample_text(SOURCES[number % len(SOURCES)])
        begin = 5_000 * number % (len(whole) - characters)
        split = split_text(whole[begin : begin + characters])
        found.append(tokenize_to_train(f"person {number:02d}", split, base.encode))
    return found


def _tokens(text: TokenizedText, recipe: Recipe) -> int:
    return recipe.steps * (1 + len(text.folds)) * (text.window or recipe.window)


@contextmanager
def _unread() -> Iterator[None]:
    """Without the readings of blocks, which are neither a step's nor chosen by."""
    read = little.read_blocks

    def nothing(base: Any, injection: Any, text: TokenizedText, *rest: Any) -> torch.Tensor:
        windows = sum(min(len(fold.windows), little.BLOCK_WINDOWS) for fold in text.folds)
        return torch.zeros(2 + len(little.SCALES), windows, dtype=torch.float64)

    little.read_blocks = nothing  # type: ignore[assignment]
    try:
        yield
    finally:
        little.read_blocks = read


def _train(base: Base, injection: Injection, texts: Sequence[TokenizedText], recipe: Recipe) -> _Rows:
    alike = np.ones(injection.layout.size, np.float32)
    found = {}
    for each in vectors.train_vectors(base, injection, texts, recipe, curvature=alike):
        if each.adapter is None:
            raise SystemExit(str(each.error))
        found[each.user] = each.adapter.values
    return found


def _alone(base: Base, injection: Injection, texts: Sequence[TokenizedText], recipe: Recipe) -> _Rows:
    return {user: row for text in texts for user, row in _train(base, injection, [text], recipe).items()}


def _packed(base: Base, injection: Injection, texts: Sequence[TokenizedText], recipe: Recipe) -> _Rows:
    usual = vectors._TOKENS_AT_ONCE["cpu"]
    vectors._TOKENS_AT_ONCE["cpu"] = TIMES * usual
    try:
        return _train(base, injection, texts, recipe)
    finally:
        vectors._TOKENS_AT_ONCE["cpu"] = usual


def _apart(alone: _Rows, together: _Rows) -> float:
    """The largest distance of one person's two rows, as a share of the row."""
    return max(float(np.linalg.norm(row - together[user]) / np.linalg.norm(row)) for user, row in alone.items())


def _products(base: Base, tokens: int) -> float:
    """Operations a second of one layer's products forwards, with so many tokens."""
    layers = [each for each in base.model.base_model.layers[0].modules() if type(each) is torch.nn.Linear]
    states = {layer: torch.randn(tokens, layer.in_features).bfloat16() for layer in layers}

    def multiply() -> None:
        for layer, own in states.items():
            torch.nn.functional.linear(own, layer.weight)

    with torch.no_grad():
        return _rate(multiply, 2 * tokens * sum(layer.weight.numel() for layer in layers))


if __name__ == "__main__":
    main()
