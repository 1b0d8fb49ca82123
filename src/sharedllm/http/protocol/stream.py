"""From what was asked to a response, whole or as a stream of server-sent events."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sharedllm.base.tokens import Vocabulary
from sharedllm.errors import SharedLLMError
from sharedllm.http.error_responses import GONE, code_of, gone, param_of, status_of, told
from sharedllm.http.identity import Caller
from sharedllm.http.large_json import InPieces, to_json
from sharedllm.http.logs import RequestRecord
from sharedllm.http.protocol.forms import Form, check_model, glass_box, usage
from sharedllm.http.routing import routed
from sharedllm.http.service import Service
from sharedllm.http.submission import PartialAnswer, Submission
from sharedllm.serving.request import Token

SEED_BITS = 53
"""Of seeds that are told, which programs in JavaScript read as floating-point numbers."""


async def answer(request: Request, caller: Caller, form: Form) -> Response:
    """Route, run and answer.

    A seed that was not given is drawn at random and told, so that any answer can be had again.

    Raises:
        Refused: no such model, or the request ended without an answer.
        SharedLLMError: whoever asks may not, their release cannot answer, or the engine does not take the request.
    """
    service = form.service
    check_model(service, form.common.model)
    user = caller.acting_for(form.common.user)
    seed = secrets.randbits(SEED_BITS) if form.common.seed is None else form.common.seed
    record: RequestRecord = request.scope["record"]
    first_token = request.app.state.metrics.first_token.observe
    running = Submission(service.engine, first_token, stream=bool(form.common.stream))
    try:
        await service.turns.run(user, partial(_begin, form, user, seed, running, record))
        request.scope["body"].let_go()
        head = _Head.now(form, record.told)
        vocabulary: Vocabulary = request.app.state.vocabulary
        if form.common.stream:
            return _Stream(_events(form, user, head, running, vocabulary, record), running, record, service)
        body = await _unless_gone(request, _whole(form, user, head, running, vocabulary, record))
    except BaseException:
        running.stop()
        raise
    if body is None:
        running.stop()
        record.ended(GONE, "client_gone")
        return gone()
    return InPieces(body)


def _begin(form: Form, user: str, seed: int, running: Submission, record: RequestRecord) -> None:
    """Route, encode and submit; in a thread, as the first two block."""
    with form.service.admission():
        decided = routed(form.service, user, base_only=bool(form.common.extensions.base_only))
        record.routed(decided, seed)
        running.submit(form.requests(decided.decision, seed))


async def _whole(
    form: Form, user: str, head: "_Head", running: Submission, vocabulary: Vocabulary, record: RequestRecord
) -> bytes:
    async for _ in running.events():
        pass
    counts = usage(running.answers, form.drawn)
    record.counted(counts)

    def body() -> bytes:
        answers = form.chosen(running.answers)
        choices = [form.choice(index, answer, vocabulary) for index, answer in enumerate(answers)]
        ours = _ours(form, head, answers, vocabulary)
        return to_json(head.of(form.object) | {"choices": choices, "usage": counts, "sharedllm": ours})

    return await _made(form, user, body)


async def _events(
    form: Form, user: str, head: "_Head", running: Submission, vocabulary: Vocabulary, record: RequestRecord
) -> AsyncIterator[bytes]:
    """The stream: routing in the first and the last chunk, an error as an event that ends it.

    Nothing comes before there is something to show, as clients take the first chunk for the first token.
    """
    common = head.of(form.chunk_object) | ({"usage": None} if form.common.tells_usage else {})
    left = len(running.answers)
    openings = range(len(running.answers))
    opening = await _made(
        form,
        user,
        lambda: _event(common | {"choices": [form.opening(index) for index in openings], "sharedllm": head.told}),
    )

    def last(chunk: Mapping[str, Any]) -> bytes:
        return _event({**chunk, "sharedllm": _ours(form, head, running.answers, vocabulary)})

    try:
        async for index, event in running.events():
            if isinstance(event, Token):
                choice = form.piece(index, event, vocabulary)
                if choice is None:
                    continue
                chunk = common | {"choices": [choice]}
            else:
                left -= 1
                chunk = common | {"choices": [form.ending(index, event.text, event.reason)]}
                if not left and not form.common.tells_usage:
                    yield opening + await _made(form, user, partial(last, chunk))
                    continue
            yield opening + _event(chunk)
            opening = b""
    except SharedLLMError as error:
        record.ended(status_of(error), code_of(error), param_of(error))
        record.refused = error
        yield _event(told(error, head.told))
        return
    counts = usage(running.answers, form.drawn)
    record.counted(counts)
    if form.common.tells_usage:
        yield await _made(form, user, partial(last, common | {"choices": [], "usage": counts}))
    yield b"data: [DONE]\n\n"


async def _made(form: Form, user: str, make: Callable[[], bytes]) -> bytes:
    """What ``make`` returns; where that may take long, made off the event loop when it is the user's turn."""
    return await form.service.turns.run(user, make) if form.is_long else make()


def _ours(form: Form, head: "_Head", answers: Sequence[PartialAnswer], vocabulary: Vocabulary) -> Mapping[str, Any]:
    if not form.common.extensions.glass_box:
        return head.told
    return {**head.told, "glass_box": glass_box(answers, vocabulary)}


@dataclass(frozen=True)
class _Head:
    """What every part of one response carries."""

    id: str
    created: int
    model: str
    told: Mapping[str, Any]

    @classmethod
    def now(cls, form: Form, told: Mapping[str, Any]) -> "_Head":
        id = form.id_prefix + secrets.token_hex(12)
        return cls(id, int(time.time()), form.service.model, told)

    def of(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class _Stream(StreamingResponse):
    """Server-sent events; whatever ends them, the client going away among it, stops the requests."""

    def __init__(
        self, events: AsyncIterator[bytes], running: Submission, record: RequestRecord, service: Service
    ) -> None:
        # Proxies are told not to hold events back.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._running, self._record = running, record
        self._seconds = service.policy.send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False

        async def patient(message: Any) -> None:
            nonlocal complete
            async with asyncio.timeout(self._seconds):
                await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await super().__call__(scope, receive, patient)
        except TimeoutError:
            # The client stopped reading. Returning with the stream unfinished closes the connection.
            return
        finally:
            self._running.stop()
            if not complete:
                self._record.ended(GONE, "client_gone")


async def _unless_gone(request: Request, working: Any) -> Any:
    """What ``working`` returns, or None as soon as the client has gone away."""
    work = asyncio.ensure_future(working)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        work.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + to_json(content) + b"\n\n"
