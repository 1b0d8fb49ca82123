"""Ways to compute what a pass is made of, on one thread: products of few tokens, and attention of one token alone.

    python -m benchmarks.kernels

A product's weights come from memory, as in a pass: of each there are copies that are multiplied in turn, more than the
caches hold. Attention is timed as whole passes of one stream of a person, in plain products and in torch's fused call
in turns. Seconds are those in which the thread computed.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.serving import median_interval
from benchmarks.trace import STEPS, Side
from sharedllm.reporting.environment import describe
from sharedllm.serving.attention import cpu

RESULT = Path(__file__).parent / "results" / "kernels.json"
TOKENS = (1, 2, 4, 32)
SHAPES = ((576, 960), (576, 3072), (1536, 576), (576, 49_152))
"""In and out, of SmolLM2-135M: queries, keys and values; gate and up; down; head."""
COPIES_BYTES, ROUNDS, PAIRS = 2**26, 3, 56


def main() -> None:
    torch.set_num_threads(1)
    result: dict[str, Any] = {"environment": describe() | {"threads": 1}, "others": os.getloadavg()[0]}
    result["products"] = [
        {"tokens": tokens, "in": into, "out": out, "microseconds": dict(_products(tokens, into, out))}
        for into, out in SHAPES
        for tokens in TOKENS
    ]
    result["alone"] = _alone()
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["products"], indent=1), result["alone"]["summary"])


def _products(tokens: int, into: int, out: int) -> Iterator[tuple[str, float]]:
    """Microseconds of a product by each way that there is for so many tokens."""
    copies = max(2, COPIES_BYTES // (2 * into * out))
    x, weights = torch.randn(tokens, into).bfloat16(), [torch.randn(out, into).bfloat16() for _ in range(copies)]
    multiply, reorder = torch.ops.mkldnn._linear_pointwise.default, torch.ops.mkldnn._reorder_linear_weight
    yield (
        "oneDNN, bfloat16, prepacked",
        _timed(lambda each: multiply(x, each, None, "none", [], ""), [reorder(each, None) for each in weights]),
    )
    if tokens <= 4:
        yield "torch.mm, bfloat16", _timed(lambda each: torch.mm(x, each.T), weights)
    if tokens == 1:
        yield "torch.mv, bfloat16", _timed(lambda each: torch.mv(each, x[0]), weights)
    scales = torch.ones(out, dtype=torch.bfloat16)
    yield (
        "torch._weight_int8pack_mm, int8 weights",
        _timed(lambda each: torch._weight_int8pack_mm(x, each, scales), [each.to(torch.int8) for each in weights]),
    )


def _timed(product: Callable[[torch.Tensor], object], weights: list[torch.Tensor]) -> float:
    """Microseconds of one, in the best of several rounds over all copies."""
    seconds = []
    for _ in range(ROUNDS + 1):
        begun = time.thread_time()
        for weight in weights:
            product(weight)
        seconds.append(time.thread_time() - begun)
    # The first warms up.
    return 1e6 * min(seconds[1:]) / len(weights)


def _alone() -> dict[str, Any]:
    """Seconds of passes, and of the attention within them, with one token's attention in plain products and fused."""
    few, side = cpu._FEW_KEYS, Side(1, True, 0.0)
    passes: dict[str, list[dict[str, float]]] = {"plain": [], "fused": []}
    for number in range(PAIRS):
        for way in list(passes)[:: 1 if number % 2 else -1]:
            cpu._FEW_KEYS = few if way == "fused" else 0
            steps = side.step()
            passes[way].append({"pass": sum(steps[step] for step in STEPS), "attention": steps["attention"]})
    cpu._FEW_KEYS = few
    side.close()
    ratios = [plain["pass"] / fused["pass"] for plain, fused in zip(passes["plain"], passes["fused"], strict=True)]
    return passes | {"summary": {"times_as_fast": statistics.median(ratios), "interval": median_interval(ratios)}}


if __name__ == "__main__":
    main()
