"""Everybody's requests in one batch, each token under its own request's row. The loop is `Engine.step`.

One thread owns the model. Others hand requests in and get events back; whatever is asked of a request (cancel it, end
its owner's) happens between two passes.
"""

import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT
from sharedllm.adapters.layouts import Layout
from sharedllm.base.context_length import exact_context, steady_context
from sharedllm.base.loading import Base
from sharedllm.errors import EngineStopped, InvalidInput
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.serving.request import Counters, Deliver, Limits, Request
from sharedllm.serving.runner import Logits, Runner
from sharedllm.serving.sampler import sample
from sharedllm.serving.scheduler import Scheduler
from sharedllm.serving.self_check import show_exact
from sharedllm.serving.sequence import Sequence

_IDLE_SECONDS = 0.5


class Computes(Protocol):
    """What runs the passes, as far as every engine needs it."""

    layout: Layout

    def forget(self) -> None:
        """Overwrite all that passes were given, computed and gave, but for rows, keys and values."""

    def close(self) -> None:
        """Let go of the base."""


Computing = TypeVar("Computing", bound=Computes)
Scheduling = TypeVar("Scheduling", bound=Scheduler)


class Serving(Holder, ABC, Generic[Computing, Scheduling]):
    """Serves requests of many releases from one base. Until it is closed, nothing else may use the base's model.

    Whatever computes, requests are handed in, ended and forgotten in the same way; an engine says what a pass is.

    Attributes:
        base: the base model.
        layout: the sites that the values of a release belong to.
        limits: what it holds at once.
        counters: what it has done.
        context: tokens that a prompt and its answer may have together.
        healthy: False once its thread has failed; it takes no requests then.
    """

    holds = "requests"

    def __init__(self, base: Base, limits: Limits | None = None, *, format: str = DEFAULT_FORMAT) -> None:
        self.base, self.limits, self.counters = base, limits or Limits(), Counters()
        self.healthy = True
        self._numbers = itertools.count(1)
        # Guards the orders and these flags; what waits has a guard of its own, and the rest is the thread's.
        self._changed = threading.Condition()
        self._orders: deque[Callable[[], object]] = deque()
        self._accepting, self._stopping, self._serving = True, False, False
        self._begun = threading.Event()
        # Made on the thread that computes with it: OpenMP would keep a second team of threads for whoever else did.
        made: Future[tuple[Computing, Scheduling, int]] = Future()
        self._thread = threading.Thread(target=self._run, args=(format, made), name="engine", daemon=True)
        self._thread.start()
        self._runner, self._scheduler, self.context = made.result()
        self.layout = self._runner.layout

    def start(self) -> None:
        """Begin to serve."""
        self._serving = True
        self._begun.set()

    def submit(self, request: Request, deliver: Deliver) -> int:
        """Queue a request; returns its number.

        Raises:
            InvalidInput: the prompt is empty or does not fit, it or what the request names for stopping or biasing has
                a token that the base has no embedding for, or the values do not belong to a release.
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
        self.base.tokens.check([*request.stop_ids, *(id for id, _ in request.sampling.logit_bias)])
        number = next(self._numbers)
        sequence = Sequence(self.base, number, request, deliver)
        with self._changed:
            if not (self._accepting and self.healthy):
                raise EngineStopped(
                    "The engine takes no more requests", remedy="Send it to another server, or try again later."
                )
            self._scheduler.submit(sequence)
            self._changed.notify_all()
        return number

    @abstractmethod
    def step(self) -> None:
        """One pass of the model over everybody, and its news to each."""

    def cancel(self, number: int) -> None:
        """End a request, waiting or running; one that is over already is left alone."""
        self._order(lambda: self._scheduler.end(lambda each: each.number == number, "cancelled"), wait=False)

    def forget(self, user: str) -> list[Removed | Derived]:
        """End all requests of a user, and overwrite the rows of their releases.

        When it returns none of them runs, and no row, key or value of theirs is on the device.

        Raises:
            Exception: what is on the device could not be overwritten, with which the engine has failed.
        """
        ended: list[int] = []

        def stop() -> None:
            ended.append(self._scheduler.end(lambda each: each.request.owner == user, "erased"))
            self._scheduler.forget(user)
            self._runner.forget()

        self._order(stop, wait=True)
        return [Removed("running requests", "server", ended[0])]

    def releases(self) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Owners and releases: those that answer a request, waiting or running, and those of which the device has more.

        That is their row, or keys and values of requests that have ended.
        """
        found: list[tuple[set[tuple[str, str]], set[tuple[str, str]]]] = []

        def look() -> None:
            asked = self._scheduler.requests()
            answered = {(request.owner, request.release) for request in asked if request.release is not None}
            found.append((answered, self._scheduler.releases))

        self._order(look, wait=True)
        return found[0]

    def drain(self, seconds: float) -> None:
        """Take nothing new, let what is there finish for so long, and end the rest with ``shutdown``."""
        until = time.monotonic() + seconds
        with self._changed:
            self._accepting = False
            while self._scheduler.busy and self.healthy and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(left, _IDLE_SECONDS))
        self._order(lambda: self._scheduler.end(lambda _: True, "shutdown"), wait=True)

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
        self._runner.close()

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

    def _run(self, format: str, made: "Future[tuple[Computing, Scheduling, int]]") -> None:
        try:
            made.set_result(self._make(format))
        except BaseException as error:
            # Whoever makes the engine waits for it, whatever a library ends with.
            made.set_exception(error)
            return
        self._begun.wait()
        try:
            while self._prepare():
                self.step()
        except BaseException as error:
            # Whoever waits is told, and nobody new is taken; a thread that died silently would hang them all.
            self.healthy = False
            failure = error if isinstance(error, Exception) else EngineStopped(repr(error), remedy="Start it again.")
            self._scheduler.end(lambda _: True, "failed", error=failure)
        finally:
            with self._changed:
                self._serving = False
                while self._orders:
                    # Whoever waits for one that fails is told so.
                    with suppress(Exception):
                        self._follow_orders()
                self._scheduler.end(lambda _: True, "shutdown")
                self._changed.notify_all()

    @abstractmethod
    def _make(self, format: str) -> tuple[Computing, Scheduling, int]:
        """On the engine's thread: what computes, who is let in, and the tokens of prompt and answer together."""

    def _prepare(self) -> bool:
        """Wait until there is something to do, and do what was ordered; False when it is time to stop."""
        with self._changed:
            self._scheduler.count()
            self._changed.notify_all()
            while not (self._orders or self._scheduler.busy or self._stopping):
                self._changed.wait()
        self._follow_orders()
        return not self._stopping

    def _follow_orders(self) -> None:
        # One by one: should an order fail, the rest is still there to be followed.
        while True:
            with self._changed:
                if not self._orders:
                    return
                order = self._orders.popleft()
            order()


AnyEngine = Serving[Any, Any]
"""Whatever computes."""


class Engine(Serving[Runner, Scheduler]):
    """`Serving` by the passes of this package.

    Raises:
        InvalidInput: another engine serves from the base.
        UnknownName, UnsupportedBase: see `layout_of` and `show_exact`.
    """

    def step(self) -> None:
        """One pass of the model over everybody, and its news to each."""
        plan = self._scheduler.next()
        if plan is not None:
            logits: Logits | None = self._runner.run(plan)
            while logits is not None:
                tokens = sample(logits)
                logits = logits.of(self._scheduler.take(tokens))

    def _make(self, format: str) -> tuple[Runner, Scheduler, int]:
        show_exact(self.base, format=format)
        original, exact = steady_context(self.base), exact_context(self.base)
        runner = Runner(self.base, self.limits, format=format)
        ends, rows, cache = self.base.end_tokens, runner.table, runner.cache
        scheduler = Scheduler(
            rows,
            cache,
            self.limits,
            self.counters,
            ends=ends,
            original=original,
            speculates=self._speculates(),
            shares=self.base.device.type == "cpu",
        )
        return runner, scheduler, min(exact, cache.tokens)

    def _speculates(self) -> bool:
        import torch

        if self.limits.deterministic:
            # Whether there is room for it depends on who else is there.
            return False
        if self.limits.speculates is not None:
            return self.limits.speculates
        # Elsewhere more tokens cost more, as in float32, or passes of single ones are replayed, as on a GPU.
        return self.base.device.type == "cpu" and self.base.dtype == torch.bfloat16
