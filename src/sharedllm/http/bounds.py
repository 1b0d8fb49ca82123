"""No body is longer, or takes longer to arrive, than the policy allows; checked while it arrives, chunked or not."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharedllm.http.service import Policy

DISCARDED_BYTES = 64 * 1024**2
DISCARD_IDLE_SECONDS = 0.5


class Bounds:
    """Middleware that stops reading with 413 or 408, and closes the connection after that.

    Whatever is answered before the whole body was read, the rest is read and thrown away first, within bounds: a
    connection that is closed on a client that is still sending is reset, and the client never sees the answer.
    """

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._policy)

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.discard()
            await send(message)

        await self._app(scope, body.receive, answered)


class _Body:
    """The body of one request as it arrives."""

    def __init__(self, scope: Scope, receive: Receive, policy: Policy) -> None:
        headers = dict(scope["headers"])
        self._receive = receive
        self._limit, self._seconds = policy.body_bytes, policy.body_seconds
        self._until = asyncio.get_running_loop().time() + policy.body_seconds
        self._declared = int(headers.get(b"content-length", b"0"))
        self._read = 0
        self._complete = not self._declared and b"transfer-encoding" not in headers

    async def receive(self) -> Message:
        """The next message, as ASGI has it.

        Raises:
            HTTPException: the body is too long, also where it only says so, or too slow.
        """
        if self._complete:
            return await self._receive()
        if self._declared > self._limit:
            raise self._too_long()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._next()
        except TimeoutError:
            raise HTTPException(
                408, f"The body took longer than {self._seconds:g} s to arrive.", headers={"Connection": "close"}
            ) from None
        if self._read > self._limit:
            raise self._too_long()
        return message

    async def discard(self) -> None:
        """Read what is left and forget it, until it pauses, or has taken as long as a body may."""
        now = asyncio.get_running_loop().time
        try:
            while not self._complete and self._read < DISCARDED_BYTES:
                # However it trickles: whoever has no key would hold the connection for as long as they like.
                async with asyncio.timeout_at(min(now() + DISCARD_IDLE_SECONDS, self._until)):
                    await self._next()
        except TimeoutError:
            return

    async def _next(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"The body is longer than {self._limit:,} bytes.", headers={"Connection": "close"})
