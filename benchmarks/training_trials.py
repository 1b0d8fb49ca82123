"""Ways to take a training step that were tried, beside how it is taken: gradients of one window of one person's row.

    taskset -c 0 python -m benchmarks.training_trials

- ``probabilities of a slice at once``: of 128 tokens, as earlier versions did; now of as few as the cache holds.
- ``layers prepacked``: their products, and those of the gradient, from weights in the layout that oneDNN multiplies
  from, which are held twice then; layers that read the same states are one product.
- ``layers and head prepacked``: the head's products, too.
- ``norms fused``: a norm and its gradient in few operations instead of those that autograd makes of transformers' own.
- ``a layer compiled``: one block alone, without a row, by torch.compile with the C++ compiler that is here.

All take turns on the same window, on one thread, in seconds in which it computed. Above one, what was tried is faster.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.prior_curve import PRIOR_BASE
from benchmarks.serving import median_interval
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base, load_base
from sharedllm.base.prepacked_weights import _together
from sharedllm.evaluation import likelihood
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import tokenize
from sharedllm.training.row_gradients import row_gradients

RESULT = Path(__file__).parent / "results" / "training_trials.json"
FORMAT, USER, WINDOW, ROUNDS = "norm", "programmer", 256, 8
AS_IT_IS = "as it is"
_reorder, _multiply = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise.default


def main() -> None:
    torch.set_num_threads(1)
    base = load_base(PRIOR_BASE, device="cpu")
    injection = Injection(base, layout_of(base, FORMAT))
    text = tokenize(USER, split_text(sample_text(USER)), base.encode)
    window = torch.from_numpy(text.train[:WINDOW].astype(np.int64))[None]
    row = torch.randn(1, injection.layout.size, generator=torch.Generator().manual_seed(0)) / 100
    ways: dict[str, Callable[[], AbstractContextManager[None]]] = {
        AS_IT_IS: nullcontext,
        "probabilities of a slice at once": partial(_set, likelihood, _SLICE=128, _CACHED_BYTES=2**40),
        "layers prepacked": _Prepacked(base, head=False),
        "layers and head prepacked": _Prepacked(base, head=True),
        "norms fused": partial(_fused_norms, base),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    gradients: dict[str, torch.Tensor] = {}
    # The first of everybody warms up.
    for number in range(ROUNDS + 1):
        for way in list(ways)[:: 1 if number % 2 else -1]:
            print(number, "of", ROUNDS, way, "…", file=sys.stderr)
            with ways[way]():
                begun = time.thread_time()
                _, gradients[way] = row_gradients(base, injection, row, window)
                if number:
                    seconds[way].append(time.thread_time() - begun)
    layer = _layer_compiled(base, window)
    usual = gradients[AS_IT_IS]
    apart = {way: float((found - usual).norm() / usual.norm()) for way, found in gradients.items()}
    result: dict[str, Any] = {"environment": describe() | {"threads": 1}, "others": os.getloadavg()[0]}
    result |= {"seconds": seconds, "gradients_apart": apart, "layer": layer}
    result["summary"] = summarise(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=2))


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """Of every way how many times as fast it is as a step is taken, in the median of the rounds, with an interval."""
    seconds, layer = result["seconds"], result["layer"]
    found = {way: _times(seconds[AS_IT_IS], taken) for way, taken in seconds.items() if way != AS_IT_IS}
    return found | {"a layer compiled": _times(layer[AS_IT_IS], layer["compiled"])}


def _times(usual: list[float], tried: list[float]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(usual, tried, strict=True)]
    return {"times_as_fast": statistics.median(ratios), "interval": median_interval(ratios)}


def _layer_compiled(base: Base, window: torch.Tensor) -> dict[str, list[float]]:
    """Seconds of a block, forwards and the gradient of what it reads."""
    layer, given = base.model.base_model.layers[1], dict[str, Any]()

    def keep(_: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        given.update(positional=positional, named=named)

    handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        base.hidden(window)
    handle.remove()
    states = given["positional"][0].detach().requires_grad_()
    ways = {AS_IT_IS: layer, "compiled": torch.compile(layer, dynamic=False)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way in list(ways)[:: 1 if number % 2 else -1]:
            begun = time.thread_time()
            for _ in range(4):
                found = ways[way](states, **given["named"])
                torch.autograd.grad(found if isinstance(found, torch.Tensor) else found[0], states, states.detach())
            if number:
                seconds[way].append((time.thread_time() - begun) / 4)
    return seconds


@contextmanager
def _set(owner: Any, **values: Any) -> Iterator[None]:
    usual = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(owner, name, value)


class _Prepacked:
    """Has products made from prepacked weights while what calling it gives is entered."""

    def __init__(self, base: Base, *, head: bool) -> None:
        output = base.model.get_output_embeddings()
        together = list(_together(base.model, {*base.model.modules()}))
        self._groups = [(layers, _Product(layers)) for layers in together if layers[0] is not output]
        self._head = base.head if head else None
        if head:
            weight = base.head.detach()
            self._forwards, self._backwards = _reorder(weight, None), _reorder(weight.T.contiguous(), None)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self._head is not None:
                stack.enter_context(_set(torch, mm=self._mm))
            for layers, product in self._groups:
                for number, layer in enumerate(layers):
                    layer.forward = partial(product, number)
                    stack.callback(vars(layer).pop, "forward")
            yield

    def _mm(self, left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        assert self._head is not None
        weight = self._forwards if right.shape == self._head.T.shape else self._backwards
        return out.copy_(_multiply(left, weight, None, "none", [], ""))


class _Product:
    def __init__(self, layers: list[Any]) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers])
        self._weights = _reorder(weight, None), _reorder(weight.T.contiguous(), None)
        self._widths = [layer.out_features for layer in layers]
        self._kept: tuple[Any, Any] = None, None

    def __call__(self, number: int, states: torch.Tensor) -> torch.Tensor:
        if self._kept[0] is not states:
            product = _Differentiable.apply(states, *self._weights)  # type: ignore[no-untyped-call]
            self._kept = states, torch.split(product, self._widths, dim=-1)
        mine: torch.Tensor = self._kept[1][number]
        if number == len(self._widths) - 1:
            self._kept = None, None
        return mine


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, transposed: torch.Tensor) -> Any:
        ctx.transposed = transposed
        return _multiply(states, weight, None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return _multiply(gradients[0], ctx.transposed, None, "none", [], ""), None, None


@contextmanager
def _fused_norms(base: Base) -> Iterator[None]:
    norms = [each for each in base.model.modules() if type(each).__name__ == "LlamaRMSNorm"]
    for norm in norms:
        norm.forward = _norm(norm)
    try:
        yield
    finally:
        for norm in norms:
            vars(norm).pop("forward")


def _norm(norm: Any) -> Callable[[torch.Tensor], Any]:
    return lambda states: _Norm.apply(states, norm.weight, norm.variance_epsilon)  # type: ignore[no-untyped-call]


class _Norm(torch.autograd.Function):
    """RMSNorm (Zhang and Sennrich 2019, equation 4), which rounds where transformers' does."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, epsilon: float) -> Any:
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
        scale = length.square_().div_(states.shape[-1]).add_(epsilon).rsqrt_()
        normed = torch.mul(states, scale, out=torch.empty_like(states))
        ctx.save_for_backward(normed, scale, weight)
        return weight * normed

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        normed, scale, weight = ctx.saved_tensors
        upstream = gradients[0] * weight
        along = (upstream * normed).sum(-1, keepdim=True, dtype=torch.float32).div_(-normed.shape[-1])
        across = torch.addcmul(upstream, normed, along.to(normed.dtype))
        return torch.mul(across, scale, out=torch.empty_like(upstream)), None, None


if __name__ == "__main__":
    main()
