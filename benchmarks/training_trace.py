"""Where the time of a training step goes, on one thread: a person's norm row and norm+bank row on the shipped prior.

    taskset -c 0 python -m benchmarks.training_trace

Steps are the default recipe's, of one window of 256 tokens. Seconds are those in which the thread computed, without its
waits for others on the machine. A whole step is timed as it is. What it is made of is timed operation by operation in
steps of their own, as the median of each operation over these; the gradient's operations belong to what they are the
gradient of. What is left of a whole step is Python: the model's own code, the hooks, and calling operations, of which
some microseconds each are among the operations'.

Products counted are those that a frozen base's rows cannot do without: two operations per weight and token forwards and
two for the gradient of what was multiplied, none for the weights' own; attention's are left out, frames' are counted.
Beside the steps, in the same run: how fast the machine multiplies large bfloat16 matrices.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface

from benchmarks.prior_curve import PRIOR_BASE
from benchmarks.trace import MATRIX, _multiplying, _rate
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.cpu_attention import NAME, register_attention, stacked_attention
from sharedllm.base.frames import framed
from sharedllm.base.loading import Base, load_base
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, tokenize
from sharedllm.training import row_gradients
from sharedllm.training.optimiser import RowState
from sharedllm.training.recipes import RECIPES, tuned
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "training_trace.json"
FORMATS = ("norm", "norm+bank")
USER, WARM, STEPS, TAKEN_APART = "programmer", 1, 8, 5
PARTS = ("forward products", "backward products", "attention", "norms and the like", "head and loss", "optimiser")
_GRADIENTS: Any = row_gradients
_PRODUCTS = ("aten.mm", "aten.addmm", "mkldnn._linear_pointwise")


def main() -> None:
    torch.set_num_threads(1)
    base = load_base(PRIOR_BASE, device="cpu")
    text = tokenize(USER, split_text(sample_text(USER)), base.encode)
    rates: list[float] = []
    sides: dict[str, dict[str, Any]] = {}
    for name in FORMATS:
        print(name, "…", file=sys.stderr)
        rates.append(_rate(_multiplying(), 2 * MATRIX**3))
        sides[name] = _measured(base, text, name)
    rates.append(_rate(_multiplying(), 2 * MATRIX**3))
    result: dict[str, Any] = {"environment": describe() | {"threads": 1}, "others": os.getloadavg()[0]}
    result |= {"product_operations_a_second": rates, "sides": sides}
    result["summary"] = summarise(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=2))


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """By format: milliseconds of a step, the shares of what it does, and the share of what the machine multiplies."""
    rate, found = statistics.median(result["product_operations_a_second"]), {}
    for name, side in result["sides"].items():
        whole, parts = statistics.median(side["step_seconds"]), dict(side["part_seconds"])
        products = parts["forward products"] + parts["backward products"]
        parts["Python"] = max(0.0, whole - sum(parts.values()))
        found[name] = {
            "step_ms": 1e3 * whole,
            "shares": {part: seconds / sum(parts.values()) for part, seconds in parts.items()},
            "products": (side["operations"]["layers"] + side["operations"]["head"]) / whole / rate,
            "products_of_layers_alone": side["operations"]["layers"] / products / rate,
        }
    return found


def _measured(base: Base, text: TokenizedText, format: str) -> dict[str, Any]:
    """Seconds of steps, those of their parts, and the operations of their products."""
    injection = Injection(base, layout_of(base, format))
    # Without validation: a step alone is measured.
    recipe = replace(
        tuned(RECIPES["default"], format=format), steps=WARM + STEPS + TAKEN_APART, check_every=0, patience=0
    )
    seconds: list[float] = []
    steps: list[list[tuple[str, str, float]]] = []
    with ExitStack() as stack:
        apart = stack.enter_context(_Apart())
        marks = [time.thread_time()]

        def on_step(user: str, step: int) -> None:
            if WARM < step <= WARM + STEPS:
                seconds.append(time.thread_time() - marks[-1])
            if step > WARM + STEPS:
                steps.append(apart.taken)
            elif step == WARM + STEPS:
                stack.enter_context(apart.mode)
            apart.taken = []
            marks.append(time.thread_time())

        alike = np.ones(injection.layout.size, np.float32)
        list(train_vectors(base, injection, [text], recipe, curvature=alike, on_step=on_step))
    injection.remove()
    head = base.head.numel()
    layers = sum(each.numel() for each in base.model.parameters() if each.ndim == 2) - head
    if format != "norm":
        layers += sum(each.frame_into.numel() + each.frame_out.numel() for each in framed(base.model).values())
    each = 4 * recipe.windows_per_step * recipe.window
    return {
        "operations": {"layers": each * layers, "head": each * head},
        "step_seconds": seconds,
        "part_seconds": _parts(steps),
    }


class _Apart:
    """Times every operation while its mode is entered, and tells which part it belongs to.

    Attributes:
        taken: of every operation its name, its part and its seconds.
        mode: which times them.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, float]] = []
        self.mode = _Timing(self)
        self._inside: str | None = None
        self._of_attention: set[int] = set()

    def __enter__(self) -> "_Apart":
        self._usual = RowState.update, _GRADIENTS.window_losses
        AttentionInterface.register(NAME, self._attention)
        RowState.update = self._marked("optimiser", RowState.update)  # type: ignore[method-assign]
        _GRADIENTS.window_losses = self._marked("head and loss", _GRADIENTS.window_losses)
        return self

    def __exit__(self, *_: object) -> None:
        RowState.update, _GRADIENTS.window_losses = self._usual  # type: ignore[method-assign]
        register_attention()

    def part(self, name: str) -> str:
        """The part to which an operation belongs that is called now."""
        if self._inside is not None:
            return self._inside
        node = torch._C._current_autograd_node()
        if node is not None and node._sequence_nr() in self._of_attention:
            return "attention"
        if node is not None and node.name().startswith("_TokenLosses"):
            return "head and loss"
        if name.startswith(_PRODUCTS):
            return "forward products" if node is None else "backward products"
        return "norms and the like"

    def _attention(self, *given: Any, **named: Any) -> Any:
        # Gradients are told by the number that their operation had forwards.
        first = torch._C._autograd._get_sequence_nr()
        result = self._marked("attention", stacked_attention)(*given, **named)
        self._of_attention.update(range(first, torch._C._autograd._get_sequence_nr()))
        return result

    def _marked(self, part: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def marked(*given: Any, **named: Any) -> Any:
            self._inside = part
            try:
                return does(*given, **named)
            finally:
                self._inside = None

        return marked


class _Timing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, apart: _Apart) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._apart = apart

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, begun = str(func), time.thread_time()
        result = func(*args, **(kwargs or {}))
        self._apart.taken.append((name, self._apart.part(name), time.thread_time() - begun))
        return result


def _parts(steps: list[list[tuple[str, str, float]]]) -> dict[str, float]:
    """Seconds of each part: of every operation the median over steps."""
    usual = statistics.mode(tuple(name for name, _, _ in each) for each in steps)
    alike = [each for each in steps if tuple(name for name, _, _ in each) == usual]
    seconds = dict.fromkeys(PARTS, 0.0)
    for same in zip(*alike, strict=True):
        seconds[same[0][1]] += statistics.median(each for _, _, each in same)
    return seconds


if __name__ == "__main__":
    main()
