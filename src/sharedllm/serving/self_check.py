"""Whether requests that share passes are told what each of them is told alone: tried before a base is served.

Keys and values reach their own request only where a model's attention goes through the function that transformers has
registered. A model that attends by itself, keeps a state or counts places in its cache computes something for a pass of
several requests too; it looks like an answer, and is made of other people's tokens. No list of architectures can tell:
a few sequences of random tokens are served as requests are, and compared with whole passes over each of them alone.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from sharedllm.adapters.formats.registry import Format, format_named
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import Layout, layout_of
from sharedllm.base.context_length import steady_context
from sharedllm.base.loading import Base
from sharedllm.errors import UnsupportedBase
from sharedllm.serving.request import Counters, Limits, Request, RequestEvent, Sampling, Scored, Token
from sharedllm.serving.runner import Runner
from sharedllm.serving.sampler import sample
from sharedllm.serving.scheduler import Scheduler
from sharedllm.serving.sequence import Sequence

if TYPE_CHECKING:
    import torch

_LIMITS = Limits(running=3, cache_tokens=1024, batch_tokens=20, table_bytes=0)
"""Short passes, so that prompts are read in pieces beside others' answers."""
_TOP = 8
_SPREAD = 0.1
"""Of the random rows, which are then as far from the base as trained ones."""
_ROUNDINGS, _ROUNDINGS_OF_SUMS = 4, 32
"""Scores may differ by as many times what it changes if every layer's output is rounded once more: by the second in
more than 16 bits, in which sums are rounded, too, and here in another order. On SmolLM2-135M it is 9."""
_NARROW_BYTES = 2
_UNITS_TO_THE_NEXT_LEVEL = 256
"""By so many units of float32 a base in int8 is changed in place of one. States that meet weights in int8 come to one
of 255 levels: where a last bit differs, now and then one comes to the next level, and all that follows differs by as
much. By noise of so many units enough do that hardly more would by some of more."""

_shown: "WeakKeyDictionary[Any, set[Format]]" = WeakKeyDictionary()
"""Models, which nothing ever writes to, and the formats of rows under which they were shown to be exact."""


@dataclass(frozen=True)
class _Case:
    """A request: tokens given and drawn, whose row if not the base's, and the pass before which it joins."""

    given: int
    drawn: int
    row: int | None
    joins: int


_CASES = (
    # More than a page of the cache, than a pass, and than the window of a small model.
    _Case(given=34, drawn=2, row=0, joins=0),
    _Case(given=4, drawn=5, row=1, joins=0),
    _Case(given=11, drawn=2, row=None, joins=2),
)


@dataclass(frozen=True, eq=False)
class _Told:
    """A request and what it was told: scores of its prompt's tokens but the first, and of new ones."""

    request: Request
    given: list[Scored]
    drawn: list[Scored]

    @property
    def logprobs(self) -> "torch.Tensor":
        """Of every token after the first and the likeliest beside it, float64 ``[tokens, 1 + top]``."""
        import torch

        scores = [*self.given, *self.drawn]
        found = [[each.logprob, *(logprob for _, logprob in each.top)] for each in scores]
        return torch.tensor(found, dtype=torch.float64)

    def picked(self, logprobs: "torch.Tensor") -> "torch.Tensor":
        """The same from log-probabilities ``[tokens, vocabulary]``."""
        import torch

        scores = [*self.given, *self.drawn]
        ids = torch.tensor([[each.id, *(token for token, _ in each.top)] for each in scores])
        return logprobs.cpu().double().gather(1, ids)


def show_exact(base: Base, *, format: str) -> None:
    """Show that requests are told in company what each is told alone; once for a model.

    Scores of given and of new tokens, and of the likeliest beside them, may differ by four times what it changes in a
    pass alone if every layer's output is rounded once more to the base's dtype, in more than 16 bits by 32 times: on
    SmolLM2-135M about 4e-4 nats for any token in float32, and 1 for three quarters of them in bfloat16. An attention
    that reads its neighbours makes it 5.

    Args:
        base: that nothing else uses meanwhile.
        format: of the rows.

    Raises:
        UnsupportedBase: scores differ by more, or the model cannot run such passes: it is not to be served.
        InvalidInput, UnknownName, FormatError: see `Runner` and `format_named`.
    """
    rows = format_named(format)
    if rows in _shown.get(base.model, ()):
        return
    layout = layout_of(base, format)
    show_same(base, layout, partial(_serve, base, format))
    _shown.setdefault(base.model, set()).add(rows)


def show_same(
    base: Base,
    layout: Layout,
    serve: "Callable[[Callable[[], list[Request]]], list[list[RequestEvent]]]",
    *,
    roundings: int | None = None,
) -> None:
    """Show that requests are told in company what the base's own model tells of each alone; see `show_exact`.

    Args:
        base: that nothing else uses meanwhile.
        layout: of the rows.
        serve: answers a few requests together, and gives what each was told. It asks for them when it could be made:
            what cannot compute with a base at all says why in its own words.
        roundings: scores may differ by as many times what one of every layer's output changes; by default by as many as
            our kernels may.

    Raises:
        UnsupportedBase: scores differ by more, or a request failed.
    """
    asked = cache(lambda: list(_requests(base, layout.size, steady_context(base))))
    news = serve(asked)
    told = [_told(base, *each) for each in zip(asked(), news, strict=True)]
    _compare(base, layout, told, _roundings(base) if roundings is None else roundings)


def _serve(base: Base, format: str, asked: Callable[[], list[Request]]) -> list[list[RequestEvent]]:
    """Run the requests as an engine would."""
    try:
        runner = Runner(base, _LIMITS, format=format)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise _broken(base, error) from error
    with closing(runner):
        requests, original = asked(), steady_context(base)
        scheduler = Scheduler(runner.table, runner.cache, _LIMITS, Counters(), ends=base.end_tokens, original=original)
        news: list[list[RequestEvent]] = [[] for _ in requests]
        for step in itertools.count():
            for number, case in enumerate(_CASES):
                if case.joins == step:
                    scheduler.submit(Sequence(base, number, requests[number], news[number].append))
            if not scheduler.busy and step >= max(case.joins for case in _CASES):
                break
            try:
                _pass(runner, scheduler)
            except Exception as error:
                raise _broken(base, error) from error
        return news


def _pass(runner: Runner, scheduler: Scheduler) -> None:
    plan = scheduler.next()
    if plan is not None:
        scheduler.take(sample(runner.run(plan)))


def _requests(base: Base, width: int, context: int) -> Iterator[Request]:
    chance = np.random.default_rng(0)
    vocabulary = min(len(base.tokenizer), len(base.head))
    # A padding token is not read as others are.
    ordinary = np.setdiff1d(np.arange(vocabulary), base.tokenizer.all_special_ids)
    rows = (_SPREAD * chance.standard_normal((2, width))).astype(np.float16).astype(np.float32)
    for number, case in enumerate(_CASES):
        yield Request(
            chance.choice(ordinary, max(min(case.given, context - case.drawn), 1)).tolist(),
            owner=str(number),
            release=None if case.row is None else str(case.row),
            values=None if case.row is None else rows[case.row],
            max_tokens=case.drawn,
            sampling=Sampling(temperature=0),
            top_logprobs=min(_TOP, vocabulary),
            score_prompt=True,
            ignore_end=True,
        )


def _told(base: Base, request: Request, news: list[RequestEvent]) -> _Told:
    drawn: list[Scored] = []
    given: list[Scored] = []
    for event in news:
        if isinstance(event, Token):
            drawn.append(event.scored)
        elif event.error is not None:
            raise _broken(base, event.error) from event.error
        else:
            given += event.prompt_scores[1:]
    return _Told(request, given, drawn)


def _broken(base: Base, error: Exception) -> Exception:
    """What to raise where a pass broke off."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return error
    # Whatever else a model raises here it would raise in the middle of everybody's answers.
    reason = (str(error).splitlines() or [""])[0]
    return _refusal(base, f"its passes break off ({type(error).__name__}: {reason})")


def _compare(base: Base, layout: Layout, told: list[_Told], roundings: int) -> None:
    import torch

    with _alone(base, layout) as logprobs:
        alone = [logprobs(each) for each in told]
        with _rounded(base):
            # The longest stands for all.
            rounded = logprobs(told[0])
    share = _share(base.dtype)
    size = float(alone[0].max(dim=1).values.abs().quantile(share)) + math.log(alone[0].shape[1])
    rounding = _differences(told[0].picked(rounded), told[0].picked(alone[0])).quantile(share)
    allowed = roundings * (float(rounding) + torch.finfo(alone[0].dtype).eps * size)
    differences = [_differences(each.logprobs, each.picked(own)) for each, own in zip(told, alone, strict=True)]
    given = torch.cat([each[: len(one.given)] for each, one in zip(differences, told, strict=True)])
    drawn = torch.cat([each[len(one.given) :] for each, one in zip(differences, told, strict=True)])
    for what, part in (("prompts", given), ("new tokens", drawn)):
        difference = float(part.quantile(share)) if len(part) else 0.0
        # Nor may it be no number.
        if not difference <= allowed:
            raise _refusal(
                base,
                f"scores of {what} differ by {difference:.2g} nats from those that the same requests get alone, where"
                f" rounding in {str(base.dtype).removeprefix('torch.')} accounts for {allowed:.1g}",
            )


@contextmanager
def _alone(base: Base, layout: Layout) -> "Iterator[Callable[[_Told], torch.Tensor]]":
    """Gives log-probabilities ``[tokens, vocabulary]`` of every next token by a whole pass over one request."""
    import torch

    wide = torch.promote_types(base.dtype, torch.float32)
    injection = Injection(base, layout)

    def logprobs(told: _Told) -> "torch.Tensor":
        ids = [*told.request.prompt, *(token.id for token in told.drawn)][:-1]
        values = told.request.values
        row = torch.zeros(1, layout.size) if values is None else torch.from_numpy(values)[None]
        with injection.rows(row.to(base.device, wide), torch.zeros(1, dtype=torch.int64)):
            logits = base.model(input_ids=torch.tensor([ids], device=base.device), use_cache=False).logits[0]
        found: torch.Tensor = logits.to(wide).log_softmax(-1)
        return found

    try:
        with torch.inference_mode():
            yield logprobs
    finally:
        injection.remove()


@contextmanager
def _rounded(base: Base) -> Iterator[None]:
    """Change what every layer gives by as much as rounding does, at random."""
    import torch

    source = torch.Generator().manual_seed(0)
    unit = torch.finfo(base.dtype).eps / 2
    if base.weights == "int8" and base.dtype.itemsize > _NARROW_BYTES:
        unit *= _UNITS_TO_THE_NEXT_LEVEL

    def change(module: Any, inputs: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or output.dtype is not base.dtype:
            return None
        noise = torch.randn(output.shape, generator=source, dtype=torch.float64).to(output.device)
        return (output * (1 + unit * noise)).to(output.dtype)

    layers = [module for module in base.model.modules() if not any(True for _ in module.children())]
    handles = [layer.register_forward_hook(change) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _roundings(base: Base) -> int:
    # What comes to another level beside weights in int8 is far more than sums.
    is_wide = base.dtype.itemsize > _NARROW_BYTES and base.weights != "int8"
    return _ROUNDINGS_OF_SUMS if is_wide else _ROUNDINGS


def _differences(these: "torch.Tensor", those: "torch.Tensor") -> "torch.Tensor":
    """Of every token, root mean square over itself and the likeliest beside it, ``[tokens]``."""
    import torch

    # What is impossible in both differs by no number.
    apart = torch.where(these == those, 0, these - those)
    return apart.square().mean(dim=1).sqrt()


def _share(dtype: "torch.dtype") -> float:
    """The share of tokens that has to be exact.

    In 16 bits a mixture of experts meets near ties, which rounding turns for some tokens.
    """
    return 0.75 if dtype.itemsize <= _NARROW_BYTES else 1.0


def _refusal(base: Base, reason: str) -> UnsupportedBase:
    return UnsupportedBase(
        f"{base.name} cannot be served: beside others, {reason}",
        remedy="Train and evaluate with it, and serve from a base whose attention transformers can page.",
    )
