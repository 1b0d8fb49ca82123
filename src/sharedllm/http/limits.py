"""No body is longer, or takes longer to arrive, than the policy allows, and all together do not take all the memory.

Both are checked while they arrive, chunked or not.
"""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharedllm.http.error_responses import Refused
from sharedllm.http.service import Policy

DISCARDED_BYTES = 64 * 1024**2
DISCARD_IDLE_SECONDS = 0.5
CLOSE = (b"connection", b"close")
SMALL_BYTES = 64 * 1024
"""So much of each body counts for nothing; how many there are is bounded by the connections."""


class Bounds:
    """Middleware that stops reading with 413, 408 or 503, and closes the connection after that.

    Whatever is answered before the whole body was read, the rest is read and thrown away first, within bounds: a
    connection that is closed on a client that is still sending is reset, and the client never sees the answer.
    """

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app = app
        self._policy = policy
        self._bodies = _Bodies(policy.bodies_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = scope["body"] = Body(scope, receive, self._policy, self._bodies)

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.discard()
                if not body.complete and CLOSE not in message["headers"]:
                    message = {**message, "headers": [*message["headers"], CLOSE]}
            await send(message)

        try:
            await self._app(scope, body.receive, answered)
        finally:
            body.let_go()


class Body:
    """The body of one request as it arrives.

    Attributes:
        owner: who sends it; nobody while it is not kept.
        complete: whether all of it has come.
        held: bytes of it that count, and are kept.
        heard: when the last of it came, on the event loop's clock.
    """

    def __init__(self, scope: Scope, receive: Receive, policy: Policy, bodies: "_Bodies") -> None:
        headers = dict(scope["headers"])
        self._receive, self._bodies = receive, bodies
        self._limit, self._seconds = policy.body_bytes, policy.body_seconds
        self.heard = asyncio.get_running_loop().time()
        self._until = self.heard + policy.body_seconds
        self._timer: asyncio.Timeout | None = None
        self._declared = int(headers.get(b"content-length", b"0"))
        self._read = 0
        self.complete = not self._declared and b"transfer-encoding" not in headers
        self._given_up = False
        self.owner = ""
        self.held = 0

    async def receive(self) -> Message:
        """The next message, as ASGI has it.

        Raises:
            HTTPException: the body is too long, also where it only says so, or too slow.
            Refused: there is no room for it among the others.
        """
        if self.complete:
            return await self._receive()
        if self._given_up:
            raise _no_room()
        if self._declared > self._limit:
            raise self._too_long()
        try:
            async with asyncio.timeout_at(self._until) as self._timer:
                message = await self._next()
        except TimeoutError:
            if self._given_up:
                raise _no_room() from None
            raise HTTPException(408, f"The body took longer than {self._seconds:g} s to arrive.") from None
        finally:
            self._timer = None
        if self._given_up:
            raise _no_room()
        if self._read > self._limit:
            raise self._too_long()
        self._bodies.hold(self, max(0, self._read - SMALL_BYTES))
        return message

    async def whole(self, owner: str) -> bytearray:
        """All of it, held until it is let go of.

        Args:
            owner: who sends it, and is to have no more than their part of the room.

        Raises:
            HTTPException, Refused: see `receive`.
            ClientDisconnect: the client went away before its end.
        """
        self.owner, whole = owner, bytearray()
        try:
            while True:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                whole += message.pop("body", b"")
                if not message.get("more_body", False):
                    return whole
        except Exception:
            # Whoever answers holds the error, and by it this frame, for as long as the rest arrives.
            whole.clear()
            raise

    def let_go(self) -> None:
        """Count it no more: nobody needs it."""
        self._bodies.hold(self, 0)

    @property
    def arrives(self) -> bool:
        """Whether there is more to come that is waited for."""
        return not (self.complete or self._given_up)

    def give_up(self) -> None:
        """Stop waiting for the rest: others need the room."""
        self._given_up = True
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(0.0)

    async def discard(self) -> None:
        """Read what is left and forget it, until it pauses, or has taken as long as a body may."""
        self.let_go()
        now = asyncio.get_running_loop().time
        try:
            while not self.complete and self._read < DISCARDED_BYTES:
                # However it trickles: whoever has no key would hold the connection for as long as they like.
                async with asyncio.timeout_at(min(now() + DISCARD_IDLE_SECONDS, self._until)):
                    await self._next()
        except TimeoutError:
            return

    async def _next(self) -> Message:
        message = await self._receive()
        self.heard = asyncio.get_running_loop().time()
        self._read += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        return message

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"The body is longer than {self._limit:,} bytes.")


class _Bodies:
    """All bodies that are held: bounded in all, and those of one sender to half of it.

    By who sends them and not by address, as behind a proxy everybody has the same one.

    Where there is no room, those give way that are still arriving, whichever paused for the longest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Body, None] = {}

    def hold(self, body: Body, size: int) -> None:
        """Count ``size`` bytes of a body.

        Raises:
            Refused: there is no room, and nobody else who could give way.
        """
        body.held = size
        if not size:
            self._held.pop(body, None)
            return
        self._held[body] = None
        theirs = [each for each in self._held if each.owner == body.owner]
        for of, most in ((theirs, self._most // 2), (list(self._held), self._most)):
            while sum(each.held for each in of) > most:
                others = [each for each in of if each.arrives and each is not body]
                if not others:
                    body.let_go()
                    raise _no_room()
                paused = min(others, key=lambda each: each.heard)
                paused.let_go()
                paused.give_up()
                of.remove(paused)


def _no_room() -> Refused:
    return Refused(503, "too_many_bodies", "Too many long bodies arrive at once", remedy="Send it again in a moment.")
