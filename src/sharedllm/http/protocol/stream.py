"""From what was asked to a response, whole or as a stream of server-sent events."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sharedllm.base.tokens import Vocabulary
from sharedllm.errors import SharedLLMError
from sharedllm.http.error_responses import GONE, code_of, gone, param_of, status_of
from sharedllm.http.identity import Caller
from sharedllm.http.large_json import InPieces, to_json
from sharedllm.http.logs import RequestRecord
from sharedllm.http.protocol.forms import Form, check_model, usage
from sharedllm.http.protocol.writing import ChoiceWriter, Writer
from sharedllm.http.routing import routed
from sharedllm.http.service import Service
from sharedllm.http.submission import Submission
from sharedllm.serving.request import Token

SEED_BITS = 53
"""Of seeds that are told, which programs in JavaScript read as floating-point numbers."""

Writes = Callable[[Form, Vocabulary], Writer]


async def answer(request: Request, caller: Caller, form: Form, writes: Writes = ChoiceWriter) -> Response:
    """Route, run and answer.

    A seed that was not given is drawn at random and told, so that any answer can be had again.

    Args:
        request: of HTTP.
        caller: who asks.
        form: what is asked.
        writes: how it is answered.

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
        writer = writes(form, request.app.state.vocabulary)
        writer.begin(record.told, running.answers)
        if form.common.stream:
            return _Stream(_events(writer, user, running, record), running, record, service)
        body = await _unless_gone(request, _whole(writer, user, running, record))
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


async def _whole(writer: Writer, user: str, running: Submission, record: RequestRecord) -> bytes:
    async for _ in running.events():
        pass
    counts = usage(running.answers, writer.form.drawn)
    record.counted(counts)
    return await _made(writer.form, user, lambda: to_json(writer.whole(counts)))


async def _events(writer: Writer, user: str, running: Submission, record: RequestRecord) -> AsyncIterator[bytes]:
    """The stream. Nothing comes before there is something to show, as clients take the first chunk for a token."""
    form = writer.form
    left = len(running.answers)
    opening = await _made(form, user, writer.opening)
    try:
        async for index, news in running.events():
            if isinstance(news, Token):
                written = writer.piece(index, news)
            else:
                left -= 1
                end = partial(writer.ending, index, news, last=not left)
                written = end() if left else await _made(form, user, end)
            if written:
                yield opening + written
                opening = b""
    except SharedLLMError as error:
        record.ended(status_of(error), code_of(error), param_of(error))
        record.refused = error
        yield writer.failure(error, opening)
        return
    counts = usage(running.answers, form.drawn)
    record.counted(counts)
    yield await _made(form, user, partial(writer.closing, counts))


async def _made(form: Form, user: str, make: Callable[[], bytes]) -> bytes:
    """What ``make`` returns; where that may take long, made off the event loop when it is the user's turn."""
    return await form.service.turns.run(user, make) if form.is_long else make()


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
