"""Prompts to continuations, each with its own row, by an engine that lives for this one call."""

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT
from sharedllm.base.context import context_of
from sharedllm.base.loading import Base
from sharedllm.errors import EngineStopped, InvalidInput, SharedLLMError
from sharedllm.serving.cache import places
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Event, Finished, Limits, Request, Sampling

Row = npt.NDArray[np.float32]
"""float32 ``[P]``, float16 deviations as the store returns them."""

GREEDY = Sampling(temperature=0)
# Some bases take several pages at a time for each kind of layer.
_SPARE_TOKENS = 1024


def generate(
    base: Base,
    prompts: Sequence[tuple[Sequence[int], Row | None]],
    *,
    max_tokens: int,
    sampling: Sampling = GREEDY,
    format: str = DEFAULT_FORMAT,
    on_text: Callable[[int, str], Any] | None = None,
) -> list[str]:
    """Continue every prompt, all of them in one batch, each with its own row.

    Nothing else may use the base's model meanwhile; afterwards it is as it was.

    Args:
        base: the base model.
        prompts: token ids, and the row that answers; None is the base.
        max_tokens: at most this many new tokens each.
        sampling: how tokens are drawn, each prompt's from the same noise; by default the likeliest are taken.
        format: of the rows.
        on_text: told every piece of text as it comes, after the place of its prompt.

    Raises:
        InvalidInput: a prompt is empty, or longer than the base's context window leaves room for; or an engine serves
            from the base already.
        EngineStopped: an answer broke off, also because its row is not a stored one.
        UnknownName, UnsupportedBase: see `layout_of` and `Engine`.
    """
    if not all(len(ids) for ids, _ in prompts):
        raise InvalidInput("The prompt is empty", remedy="Give at least one token.")
    engine = Engine(base, _limits(base, [len(ids) + max_tokens for ids, _ in prompts]), format=format)
    news: SimpleQueue[tuple[int, Event]] = SimpleQueue()
    try:
        engine.start()
        for place, (ids, row) in enumerate(prompts):
            request = Request(
                ids,
                owner=str(place),
                release=None if row is None else str(place),
                values=row,
                max_tokens=max_tokens,
                sampling=sampling,
                top_logprobs=None,
            )
            engine.submit(request, partial(_put, news, place))
        return _collect(news, len(prompts), on_text)
    finally:
        engine.close()


def _limits(base: Base, tokens: Sequence[int]) -> Limits:
    """What all prompts take together; a prompt that is too long is refused by the engine, and gets no memory before."""
    context = context_of(base)
    return Limits(
        running=len(tokens),
        waiting=len(tokens),
        cache_tokens=sum(places(min(each, context)) for each in tokens) + _SPARE_TOKENS,
        table_bytes=0,
    )


def _put(news: "SimpleQueue[tuple[int, Event]]", place: int, event: Event) -> None:
    news.put((place, event))


def _collect(
    news: "SimpleQueue[tuple[int, Event]]", answers: int, on_text: Callable[[int, str], Any] | None
) -> list[str]:
    texts = [""] * answers
    while answers:
        place, event = news.get()
        texts[place] += event.text
        if on_text and event.text:
            on_text(place, event.text)
        if isinstance(event, Finished):
            answers -= 1
            if event.reason not in ("stop", "length"):
                raise EngineStopped(
                    f"Answer {place + 1} broke off: {_why(event)}".rstrip("."),
                    remedy="Ask again; if that does not help, report this.",
                )
    return texts


def _why(event: Finished) -> str:
    if event.error is None:
        return event.reason
    return str(event.error) if isinstance(event.error, SharedLLMError) else repr(event.error)
