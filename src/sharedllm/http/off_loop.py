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

    def __init__(
        self,
        threads: int | None = None,
        *,
        waiting: int = sys.maxsize,
        waiting_per_owner: int = sys.maxsize,
    ) -> None:
        """Nobody waits.

        Args:
            threads: pieces of work at a time, in all; by default `THREADS`.
            waiting: pieces of work that may wait, of everybody.
            waiting_per_owner: of one owner.
        """
        self._most = THREADS if threads is None else threads
        self._room, self._room_per_owner = waiting, waiting_per_owner
        self._lock = threading.Lock()
        self._waiting: FairQueue[_Turn] = FairQueue(waiting, waiting_per_owner)
        self._working: set[str] = set()
        self._threads = CapacityLimiter(self._most)

    def check_room(self, owner: str) -> None:
        """Refuse to begin with one more request of an owner; what has begun goes on however much waits.

        Raises:
            QueueFull: too many of theirs are waiting, or of everybody's.
        """
        with self._lock:
            waiting, in_all = self._waiting.of(owner), len(self._waiting)
        if waiting >= min(WAITING_PER_OWNER, self._room_per_owner):
            raise QueueFull(
                f"{waiting:,} of your requests are waiting already",
                remedy="Wait for some of them to be answered.",
                retry_after=_COME_BACK_SECONDS,
            )
        if in_all >= self._room:
            raise QueueFull(
                f"{in_all:,} requests of this kind are waiting already",
                remedy="Come back in a moment.",
                retry_after=_COME_BACK_SECONDS,
            )

    async def run(self, owner: str, work: Callable[[], T]) -> T:
        """What ``work`` returns, done in a thread once it is the owner's turn.

        Raises:
            QueueFull: more wait than may.
        """
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
        while len(self._working) < self._most:
            turn = self._waiting.take(lambda owner, _: owner not in self._working, lambda _: True)
            if turn is None:
                return
            turn.called = True
            self._working.add(turn.owner)
            turn.loop.call_soon_threadsafe(turn.come)
