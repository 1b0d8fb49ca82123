"""Ways to compute what a pass is made of, on one thread: products of few tokens, and attention of one token alone.

    python -m benchmarks.kernels
    python -m benchmarks.kernels products     # these alone; what was found of attention stays

A product's weights come from memory, as in a pass: of each there are copies that are multiplied in turn, more than the
caches hold. Attention is timed as whole passes of one stream of a person, in plain products and in torch's fused call
in turns. Seconds are those in which the thread computed.

Products of ours, and FBGEMM's of states and weights in int8, are timed as serving has them, from states to what comes
out in their dtype; oneDNN's and torch's in int8 without what they would need around them. torch's dynamic products
(``linear_dynamic``) round the states of all tokens with one step, so that neighbours would change an answer; they are
timed from states in float32.
"""

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.processors import result_path
from benchmarks.serving import median_interval
from benchmarks.trace import STEPS, Side
from sharedllm.base.compiled_kernels import kernels
from sharedllm.base.frames import rounded
from sharedllm.base.huge_pages import move_to_huge_pages
from sharedllm.base.int8_weights import ByFBGEMM, ByOurs
from sharedllm.base.weight_grids import BLOCK, Grids
from sharedllm.base.weight_layouts import InPanels, OnGrids, multiplies_bfloat16
from sharedllm.reporting.environment import describe
from sharedllm.serving.attention import cpu

RESULT = result_path("kernels")
TOKENS = (1, 2, 4, 8, 32, 64)
SHAPES = ((576, 960), (576, 3072), (1536, 576), (576, 49_152))
"""In and out, of SmolLM2-135M: queries, keys and values; gate and up; down; head."""
COPIES_BYTES, ROUNDS, PAIRS = 2**26, 3, 56
SLOW_TOKENS, GROUP = 4, 32
"""For how many tokens what is slow is timed; how many weights in four bits have one step."""

Way = tuple[str, Callable[[Any], object], list[Any]]


def main() -> None:
    torch.set_num_threads(1)
    # Tensors that know their own steps are to leave torch, and are measured while they are there.
    warnings.filterwarnings("ignore", message=".*quantize_per")
    kept: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result: dict[str, Any] = {"environment": describe() | {"threads": 1}, "others": os.getloadavg()[0]}
    result["products"] = []
    with torch.inference_mode():
        for into, out in SHAPES:
            for tokens in TOKENS:
                found = {name: _timed(does, each) for name, does, each in _products(tokens, into, out)}
                result["products"].append({"tokens": tokens, "in": into, "out": out, "microseconds": found})
                print(tokens, into, out, {name: round(value) for name, value in found.items()}, flush=True)
    if "products" not in sys.argv:
        result["alone"] = _alone()
    elif "alone" in kept:
        result["alone"] = kept["alone"]
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def _products(tokens: int, into: int, out: int) -> Iterator[Way]:
    """The ways that there are for so many tokens, each with weights of its own to multiply in turn."""
    copies = max(2, COPIES_BYTES // (2 * into * out))
    x, weight = torch.randn(tokens, into).bfloat16(), torch.randn(out, into).bfloat16()
    weights = [weight.clone() for _ in range(copies)]
    multiply, reorder = torch.ops.mkldnn._linear_pointwise.default, torch.ops.mkldnn._reorder_linear_weight
    if multiplies_bfloat16():
        yield (
            "oneDNN, bfloat16, prepacked",
            lambda each: multiply(x, each, None, "none", [], ""),
            [reorder(each, None) for each in weights],
        )
    yield from _ours(x, weights)
    if tokens <= SLOW_TOKENS:
        yield "torch.mm, bfloat16", lambda each: torch.mm(x, each.T), weights
    if tokens == 1:
        yield "torch.mv, bfloat16", lambda each: torch.mv(each, x[0]), weights
    yield from _in_int8(x, 2 * weights)
    yield from _weights_alone(x, 2 * weights)
    yield from _dynamic(x, 2 * weights)


def _ours(x: torch.Tensor, weights: list[torch.Tensor]) -> Iterator[Way]:
    """Our own, and torch's in float32 beside it."""
    ours = kernels()
    # Numbers that bfloat16 has would be held in it.
    wide, few = x.float(), [torch.randn(each.shape) for each in weights[: max(2, len(weights) // 2)]]
    if ours is not None and ours.multiplied:
        yield "ours, bfloat16", lambda each: each(x), [InPanels(ours, each) for each in weights]
        yield "ours, float32", lambda each: each(wide), [InPanels(ours, each) for each in few]
        yield (
            "ours, float32, weights in bfloat16",
            lambda each: each(wide),
            [InPanels(ours, w.float()) for w in weights],
        )
        for bits in (4, 8):
            yield (
                f"ours, float32, weights on grids of {bits} bits",
                lambda each: each(wide),
                [OnGrids(ours, _grids(each, bits)) for each in weights],
            )
    yield "torch, float32", lambda each: torch.nn.functional.linear(wide, each), few


def _grids(weight: torch.Tensor, bits: int) -> Grids:
    """Any levels of a weight's size: how long a product takes does not depend on them."""
    steps = torch.full((len(weight), weight.shape[1] // BLOCK), 0.01)
    return Grids(torch.randint(0, 2**bits, weight.shape, dtype=torch.uint8), steps, -steps, bits, None)


def _in_int8(x: torch.Tensor, weights: list[torch.Tensor]) -> Iterator[Way]:
    """States and weights in int8, a step for each token."""
    levels, steps = rounded(weights[0].float())
    layers = [SimpleNamespace(levels=levels.clone()) for _ in weights]
    given, ours = (steps, torch.ones(levels.shape[1]), None), kernels()
    yield "FBGEMM, int8, whole", lambda each: each(x), [ByFBGEMM(each.levels, *given) for each in layers]
    if ours is not None and ours.multiplied:
        yield "ours, int8, whole", lambda each: each(x), [ByOurs(ours, each.levels, *given) for each in layers]
    unsigned = torch.randint(0, 256, x.shape, dtype=torch.uint8)
    multiply, prepack = torch.ops.onednn.qlinear_pointwise.default, torch.ops.onednn.qlinear_prepack
    yield (
        "oneDNN, int8, product alone",
        lambda each: multiply(unsigned, 1.0, 128, each, steps, None, None, 1.0, 0, torch.float32, "none", [], ""),
        [prepack(each.levels, None) for each in layers],
    )
    signed = unsigned.to(torch.int8)
    yield "torch._int_mm, product alone", lambda each: torch._int_mm(signed, each.levels.T), layers


def _weights_alone(x: torch.Tensor, weights: list[torch.Tensor]) -> Iterator[Way]:
    """States in bfloat16, weights in eight and in four bits."""
    out, into = weights[0].shape
    if len(x) > SLOW_TOKENS:
        return
    scales = torch.ones(out, dtype=torch.bfloat16)
    eight = [each.to(torch.int8) for each in weights]
    yield "torch._weight_int8pack_mm", lambda each: torch._weight_int8pack_mm(x, each, scales), eight
    four = torch.ops.aten._convert_weight_to_int4pack_for_cpu(torch.randint(0, 16, (out, into), dtype=torch.int32), 1)
    groups = torch.ones(into // GROUP, out, 2).bfloat16()
    yield (
        "torch._weight_int4pack_mm_for_cpu",
        lambda each: torch.ops.aten._weight_int4pack_mm_for_cpu(x, each, GROUP, groups),
        [four.clone() for _ in range(2 * len(weights))],
    )


def _dynamic(x: torch.Tensor, weights: list[torch.Tensor]) -> Iterator[Way]:
    """torch's own, which round states with one step for all tokens; in four bits there is its reference alone here."""
    out, into = weights[0].shape
    wide, zeros, usual = x.float(), torch.zeros(out, dtype=torch.int64), torch.backends.quantized.engine
    rows = torch.quantize_per_channel(weights[0].float(), torch.ones(out) / 40, zeros, 0, torch.qint8)
    for engine in ("onednn", "x86", "fbgemm"):
        torch.backends.quantized.engine = engine
        packed = [torch.ops.quantized.linear_prepack(rows, None) for _ in weights]
        torch.backends.quantized.engine = usual
        yield f"linear_dynamic, {engine}", lambda each: torch.ops.quantized.linear_dynamic(wide, each), packed
    if len(x) == 1:
        four, scales = torch.randint(0, 256, (out, into // 2), dtype=torch.uint8), torch.ones(out, 1)
        yield (
            "torch._dyn_quant_matmul_4bit",
            lambda each: torch.ops.aten._dyn_quant_matmul_4bit(wide, each, into, into, out),
            [torch.ops.aten._dyn_quant_pack_4bit_weight(four, scales, None, into, into, out)],
        )


def _timed(product: Callable[[Any], object], weights: list[Any]) -> float:
    """Microseconds of one, in the best of several rounds over all copies."""
    # As a server has it.
    move_to_huge_pages()
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
