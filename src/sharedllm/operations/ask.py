"""A prompt answered with its user's own adapter; many at once, by an engine that lives for one call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import check_fits
from sharedllm.adapters.formats.registry import DEFAULT_FORMAT
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.context_length import context_of
from sharedllm.base.conversations import ChatTurn, chat_ids
from sharedllm.base.loading import Base
from sharedllm.errors import EngineStopped, InvalidInput, SharedLLMError
from sharedllm.operations.route import Route, route, without_release
from sharedllm.operations.workplace import Workplace
from sharedllm.serving.cache import places
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import DEFAULT_SAMPLING, Finished, Limits, Request, RequestEvent, Sampling
from sharedllm.store.contract import Store

Row = npt.NDArray[np.float32]
"""float32 ``[P]``, float16 deviations as the store returns them."""

GREEDY = Sampling(temperature=0)
# Some bases take several pages at a time for each kind of layer.
_SPARE_TOKENS = 1024


@dataclass(frozen=True)
class Answer:
    """What was said, and who said it.

    Attributes:
        decision: which release answered, or why the base did.
        text: the answer.
        base_text: what the base says to the same prompt; None where that was not asked for.
    """

    decision: Route
    text: str
    base_text: str | None = None


def ask(
    workplace: Workplace,
    store: Store | None,
    user: str,
    prompt: str,
    *,
    max_tokens: int = 128,
    sampling: Sampling = DEFAULT_SAMPLING,
    fallback: bool = False,
    continuing: bool = False,
    compare: bool = False,
    on_route: Callable[[Route], Any] | None = None,
    on_text: Callable[[int, str], Any] | None = None,
) -> Answer:
    """Answer a prompt with a user's served release.

    Args:
        workplace: where.
        store: where releases are; None has the base answer, whoever asks.
        user: who asks.
        prompt: put to the base as a chat, if it has a template for one.
        max_tokens: at most this many new ones.
        sampling: how tokens are drawn; the same seed draws the same answer.
        fallback: whether the base may answer where the user's release cannot; the decision then says why.
        continuing: whether the prompt is continued as text, not answered.
        compare: whether the base answers too.
        on_route: told who answers, before they do.
        on_text: told every piece of text as it comes, after 0 for the answer and 1 for the base's.

    Raises:
        InvalidInput: the prompt is not valid Unicode, empty, or too long.
        UnknownUser, NotServed, CorruptAdapter, WrongBase: the release cannot answer, and there is no fallback.
        BaseError, UnsupportedBase, DownloadError: the base does not load, or cannot be served from exactly.
        EngineStopped: the answer broke off.
    """
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise InvalidInput(f"The prompt {prompt[:40]!a} is not valid Unicode text", remedy="Give it in UTF-8.")
    if not prompt:
        raise _empty()
    if store is None:
        decision = without_release(user, ", as asked.", prior=workplace.has_prior)
    else:
        # Whoever has no release that may answer is told so before a base is fetched for them.
        route(store, user, fallback=fallback)
        decision = route(store, user, base=workplace.fingerprint, prior=workplace.has_prior, fallback=fallback)
    base = workplace.base
    format, row = DEFAULT_FORMAT, None
    if decision.release is not None:
        format, row = decision.release.adapter.format, decision.release.adapter.values
        check_fits(decision.release.adapter, layout_of(base, format))
    chats = base.tokenizer.chat_template and not continuing
    ids = chat_ids(base, [ChatTurn("user", prompt)]) if chats else base.encode(prompt)
    if on_route is not None:
        on_route(decision)
    prompts = [(ids, row), (ids, None)] if compare else [(ids, row)]
    text, *rest = generate(base, prompts, max_tokens=max_tokens, sampling=sampling, format=format, on_text=on_text)
    return Answer(decision, text, *rest)


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
        raise _empty()
    engine = Engine(base, _limits(base, [len(ids) + max_tokens for ids, _ in prompts]), format=format)
    news: SimpleQueue[tuple[int, RequestEvent]] = SimpleQueue()
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


def _empty() -> InvalidInput:
    return InvalidInput("The prompt is empty", remedy="Give at least one token.")


def _limits(base: Base, tokens: Sequence[int]) -> Limits:
    """What all prompts take together; a prompt that is too long is refused by the engine, and gets no memory before."""
    context = context_of(base)
    return Limits(
        running=len(tokens),
        waiting=len(tokens),
        cache_tokens=sum(places(min(each, context)) for each in tokens) + _SPARE_TOKENS,
        table_bytes=0,
    )


def _put(news: "SimpleQueue[tuple[int, RequestEvent]]", place: int, event: RequestEvent) -> None:
    news.put((place, event))


def _collect(
    news: "SimpleQueue[tuple[int, RequestEvent]]", answers: int, on_text: Callable[[int, str], Any] | None
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
