"""Everybody's requests in one batch, each token under its own request's row.

One thread owns the model. Others hand requests in and get events back; whatever is asked of a request (cancel it, end
its owner's) happens between two passes.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from sharedllm.base.context import steady_context
from sharedllm.base.loading import Base
from sharedllm.errors import EngineStopped, InvalidInput
from sharedllm.serving.batch import Batch
from sharedllm.serving.cache import places
from sharedllm.serving.exactness import show_exact
from sharedllm.serving.request import Counters, Deliver, Limits, Reason, Request
from sharedllm.serving.running import Running
from sharedllm.serving.waiting import Waiting

_IDLE_SECONDS = 0.5


class Engine:
    """Serves requests of many releases from one base. Until it is closed, nothing else may use the base's model.

    Raises:
        InvalidInput: another engine serves from the base.
        UnknownName, UnsupportedBase: see `layout_of` and `show_exact`.

    Attributes:
        base: the base model.
        layout: the sites that the values of a release belong to.
        limits: what it holds at once.
        counters: what it has done.
        context: tokens that a prompt and its answer may have together.
        healthy: False once its thread has failed; it takes no requests then.
    """

    def __init__(self, base: Base, limits: Limits | None = None, *, format: str = "norm") -> None:
        self.base, self.limits, self.counters = base, limits or Limits(), Counters()
        self.healthy = True
        self._numbers = itertools.count(1)
        self._waiting: Waiting[Running] = Waiting(self.limits.waiting, self.limits.waiting_per_owner)
        # Guards the queue, the orders and these flags; everything else is the thread's own.
        self._changed = threading.Condition()
        self._orders: deque[Callable[[], object]] = deque()
        self._accepting, self._stopping, self._serving = True, False, False
        # No longer waiting and not yet running.
        self._beginning: Running | None = None
        self._begun = threading.Event()
        # Made on the thread that computes with it: OpenMP would keep a second team of threads for whoever else did.
        made: Future[Batch] = Future()
        make = partial(_make, base, self.limits, self.counters, format)
        self._thread = threading.Thread(target=self._run, args=(make, made), name="engine", daemon=True)
        self._thread.start()
        self._batch = made.result()
        self.layout, self.context = self._batch.layout, self._batch.context

    def start(self) -> None:
        """Begin to serve."""
        self._serving = True
        self._begun.set()

    def submit(self, request: Request, deliver: Deliver) -> int:
        """Queue a request; returns its number.

        Raises:
            InvalidInput: the prompt is empty or does not fit, has a token that the base has no embedding for, or the
                values do not belong to a release.
            QueueFull: too many requests are waiting; it says when to come back.
            EngineStopped: the engine is shutting down or has failed.
        """
        room = self.context - request.max_tokens
        if not 0 < len(request.prompt) <= room:
            raise InvalidInput(
                f"A prompt of {len(request.prompt):,} tokens with up to {request.max_tokens:,} new ones does not fit "
                f"the context of {self.context:,}",
                remedy=f"Use between 1 and {max(room, 1):,} tokens, or ask for fewer.",
            )
        if (request.release is None) != (request.values is None):
            raise InvalidInput("A release came without values, or values without one", remedy="Give both or neither.")
        self.base.tokens.check(request.prompt)
        number = next(self._numbers)
        running = Running(self.base, number, request, deliver)
        with self._changed:
            if not (self._accepting and self.healthy):
                raise EngineStopped(
                    "The engine takes no more requests", remedy="Send it to another server, or try again later."
                )
            self._waiting.put(request.owner, running)
            self.counters.waiting = len(self._waiting)
            self._changed.notify_all()
        return number

    def cancel(self, number: int) -> None:
        """End a request, waiting or running; one that is over already is left alone."""
        self._order(lambda: self._end_all(lambda each: each.number == number, "cancelled"), wait=False)

    def stop_owner(self, owner: str) -> int:
        """End all requests of an owner, and overwrite the rows of their releases; returns how many ended.

        When it returns none of them runs, and no row, key or value of theirs is on the device.

        Raises:
            Exception: what is on the device could not be overwritten, with which the engine has failed.
        """
        ended: list[int] = []

        def stop() -> None:
            ended.append(self._end_all(lambda each: each.request.owner == owner, "erased"))
            self._batch.forget(owner)

        self._order(stop, wait=True)
        return ended[0]

    def releases(self) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Owners and releases: those that answer a request, waiting or running, and those with a row on the device."""
        found: list[tuple[set[tuple[str, str]], set[tuple[str, str]]]] = []

        def look() -> None:
            with self._changed:
                asked = [each.request for each in (*self._waiting, *self._batch.running.values())]
            answered = {(request.owner, request.release) for request in asked if request.release is not None}
            found.append((answered, self._batch.table.releases))

        self._order(look, wait=True)
        return found[0]

    def drain(self, seconds: float) -> None:
        """Take nothing new, let what is there finish for so long, and end the rest with ``shutdown``."""
        until = time.monotonic() + seconds
        with self._changed:
            self._accepting = False
            while self._busy and self.healthy and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(left, _IDLE_SECONDS))
        self._order(lambda: self._end_all(lambda _: True, "shutdown"), wait=True)

    def close(self) -> None:
        """End everything and leave the base as it was. Closing twice is safe."""
        with self._changed:
            if self._stopping:
                return
        self.drain(0)
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._begun.set()
        self._thread.join()
        self._batch.close()

    @property
    def _busy(self) -> bool:
        return bool(self._batch.running or len(self._waiting) or self._beginning)

    def _order(self, order: Callable[[], object], *, wait: bool) -> None:
        """Have something done between two passes; at once where there is no thread to do it."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                order()
            except BaseException as error:
                done.set_exception(error)
                raise
            done.set_result(None)

        with self._changed:
            if not self._serving:
                run()
                return
            self._orders.append(run)
            self._changed.notify_all()
        if wait:
            done.result()

    def _run(self, make: Callable[[], Batch], made: "Future[Batch]") -> None:
        try:
            made.set_result(make())
        except Exception as error:
            made.set_exception(error)
            return
        self._begun.wait()
        try:
            while self._prepare():
                if self._batch.running:
                    self._batch.step()
        except BaseException as error:
            # Whoever waits is told, and nobody new is taken; a thread that died silently would hang them all.
            self.healthy = False
            failure = error if isinstance(error, Exception) else EngineStopped(repr(error), remedy="Start it again.")
            self._end_all(lambda _: True, "failed", error=failure)
        finally:
            with self._changed:
                self._serving = False
                while self._orders:
                    # Whoever waits for one that fails is told so.
                    with suppress(Exception):
                        self._follow_orders()
                self._end_all(lambda _: True, "shutdown")
                self._changed.notify_all()

    def _prepare(self) -> bool:
        """Do what was ordered and let waiting requests in; False when it is time to stop."""
        with self._changed:
            self._count()
            while not (self._orders or self._batch.running or len(self._waiting) or self._stopping):
                self._changed.wait()
        self._follow_orders()
        now = time.monotonic()
        self._end_all(lambda each: each.deadline <= now, "deadline")
        self._admit()
        with self._changed:
            self._count()
            return not self._stopping

    def _count(self) -> None:
        self.counters.waiting, self.counters.running = len(self._waiting), len(self._batch.running)
        self.counters.table_hits, self.counters.table_misses = self._batch.table.hits, self._batch.table.misses
        self._changed.notify_all()

    def _follow_orders(self) -> None:
        # One by one: should an order fail, the rest is still there to be followed.
        while True:
            with self._changed:
                if not self._orders:
                    return
                order = self._orders.popleft()
            order()

    def _admit(self) -> None:
        if not len(self._waiting) or len(self._batch.running) == self.limits.running:
            return
        shares = self._batch.shares()
        capacity = self._batch.capacity

        def may(owner: str, new: Running) -> bool:
            # Somebody else always finds room: nobody has more than one request and half of the places, or of the cache.
            share = shares[owner]
            return not share.requests or (
                share.requests < self.limits.running // 2 and share.places + places(new.request.tokens) <= capacity // 2
            )

        def fits(new: Running) -> bool:
            # With answers of full length, so that nothing that was read has to be thrown away for want of room.
            return sum(share.places for share in shares.values()) + places(new.request.tokens) <= capacity

        while len(self._batch.running) < self.limits.running:
            with self._changed:
                new = self._waiting.take(may, fits)
                self._beginning = new
            if new is None:
                return
            shares[new.request.owner].add(new.request)
            try:
                self._batch.begin(new)
            except Exception as error:
                # What is wrong with one request is told to whoever asked.
                self._batch.finish(new, "failed", error=error)
            finally:
                self._beginning = None

    def _end_all(self, leaves: Callable[[Running], bool], reason: Reason, *, error: Exception | None = None) -> int:
        """End every request that is to leave, waiting or running; returns how many."""
        with self._changed:
            gone = self._waiting.remove(leaves)
        for each in gone:
            self._batch.finish(each, reason, error=error)
        return len(gone) + self._batch.end(leaves, reason, error=error)


def _make(base: Base, limits: Limits, counters: Counters, format: str) -> Batch:
    show_exact(base, format=format)
    batch = Batch(base, limits, counters, format=format)
    batch.context = min(batch.context, steady_context(base))
    return batch
