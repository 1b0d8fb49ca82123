"""What has to be done for a request before the engine's queue, such as parsing and encoding: off the loop, and in turn.

Everybody has one piece of work under way at a time, so whoever sends the most waits behind nobody but themselves. Nor
may one owner's waiting requests take up all connections, as those that wait here give way to nobody.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from sharedllm.errors import QueueFull
from sharedllm.serving.fair_queue import FairQueue

T = TypeVar("T")

THREADS = 8
"""Pieces of work at a time, in all; in threads of their own, so that they take none from whoever authenticates."""

WAITING_PER_OWNER = 256
"""Pieces of work beside which nothing new of theirs begins to wait: a quarter of the connections of an address."""
_COME_BACK_SECONDS = 1.0


@dataclass(eq=False)
class _Turn:
    owner: str
    loop: asyncio.AbstractEventLoop
    came: "asyncio.Future[None]"
    called: bool = False

    def come(self) -> None:
        # Whoever went away meanwhile has cancelled it.
        if not self.came.done():
            self.came.set_result(None)


class Turns:
    """Safe to use from several event loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: FairQueue[_Turn] = FairQueue(sys.maxsize, sys.maxsize)
        self._working: set[str] = set()
        self._threads = CapacityLimiter(THREADS)

    def check_room(self, owner: str) -> None:
        """Refuse to begin with one more request of an owner; what has begun goes on however much waits.

        Raises:
            QueueFull: too many of theirs are waiting.
        """
        with self._lock:
            waiting = self._waiting.of(owner)
        if waiting >= WAITING_PER_OWNER:
            raise QueueFull(
                f"{waiting:,} of your requests are waiting already",
                remedy="Wait for some of them to be answered.",
                retry_after=_COME_BACK_SECONDS,
            )

    async def run(self, owner: str, work: Callable[[], T]) -> T:
        """What ``work`` returns, done in a thread once it is the owner's turn."""
        async with self._turn(owner):
            return await to_thread.run_sync(work, limiter=self._threads)

    @asynccontextmanager
    async def _turn(self, owner: str) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        turn = _Turn(owner, loop, loop.create_future())
        with self._lock:
            self._waiting.put(owner, turn)
            self._call_next()
        try:
            await turn.came
            yield
        finally:
            with self._lock:
                if turn.called:
                    self._working.remove(owner)
                    self._call_next()
                else:
                    self._waiting.remove(lambda each: each is turn)

    def _call_next(self) -> None:
        """Let whoever is next begin, as many as there is room for. The lock is held."""
        while len(self._working) < THREADS:
            turn = self._waiting.take(lambda owner, _: owner not in self._working, lambda _: True)
            if turn is None:
                return
            turn.called = True
            self._working.add(turn.owner)
            turn.loop.call_soon_threadsafe(turn.come)
