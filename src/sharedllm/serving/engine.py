"""Everybody's requests in one batch, each token under its own request's row.

One thread owns the model. Others hand requests in and get events back; whatever is asked of a request (cancel it, end
its owner's) happens between two passes.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base
from sharedllm.errors import EngineStopped, InvalidInput
from sharedllm.serving.paging import Pager, Pass
from sharedllm.serving.request import Counters, Deliver, Finished, Limits, Reason, Request
from sharedllm.serving.running import Running
from sharedllm.serving.sampling import draw, scored
from sharedllm.serving.scoring import score
from sharedllm.serving.table import BASE_SLOT, Table
from sharedllm.serving.waiting import Waiting

if TYPE_CHECKING:
    import torch

_IDLE_SECONDS = 0.5
_BYTES_PER_VALUE = 2


class Engine:
    """Serves requests of many releases from one base. While it runs, nothing else may use the base's model.

    Attributes:
        base: the base model.
        layout: the sites that the values of a release belong to.
        limits: what it holds at once.
        counters: what it has done.
        width: how many values a release has, ``P``.
        context: tokens that a prompt and its answer may have together.
        healthy: False once its thread has failed; it takes no requests then.
    """

    def __init__(self, base: Base, limits: Limits | None = None) -> None:
        self.base, self.limits, self.counters = base, limits or Limits(), Counters()
        limits = self.limits
        self.healthy = True
        self.layout = layout_of(base, "norm")
        self._injection = Injection(base, self.layout)
        self.width = self._injection.layout.size
        row_bytes = self.width * _BYTES_PER_VALUE
        # A row for each running request has to fit, or none of them could be admitted.
        slots = max(limits.table_bytes // row_bytes, limits.running + 1)
        self._table = Table(self.width, slots, base.device)
        self._pager = Pager(
            base,
            running=limits.running,
            cache_tokens=limits.cache_tokens,
            batch_tokens=limits.batch_tokens,
            rows=self._rows,
            draw=self._draw,
        )
        context: int = base.model.config.get_text_config().max_position_embeddings
        self.context = min(context, self._pager.capacity)
        self._ends = _end_tokens(base)
        self._numbers = itertools.count(1)
        self._waiting: Waiting[Running] = Waiting(limits.waiting, limits.waiting_per_owner)
        self._running: dict[str, Running] = {}
        self._releases: dict[str, set[str]] = {}
        # Guards the queue, the orders and these flags; everything else is the thread's own.
        self._changed = threading.Condition()
        self._orders: list[Callable[[], object]] = []
        self._accepting, self._stopping, self._serving = True, False, False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._serving = True
        self._thread.start()

    def submit(self, request: Request, deliver: Deliver) -> int:
        """Queue a request; returns its number.

        Raises:
            InvalidInput: the prompt is empty or does not fit, or the values do not belong to a release.
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

        When it returns none of them runs and no row of theirs is on the device.
        """
        ended: list[int] = []

        def stop() -> None:
            ended.append(self._end_all(lambda each: each.request.owner == owner, "erased"))
            for release in self._releases.pop(owner, set()):
                self._table.forget(release)

        self._order(stop, wait=True)
        return ended[0]

    def drain(self, seconds: float) -> None:
        """Take nothing new, let what is there finish for so long, and end the rest with ``shutdown``."""
        until = time.monotonic() + seconds
        with self._changed:
            self._accepting = False
            while (self._running or len(self._waiting)) and self.healthy and (left := until - time.monotonic()) > 0:
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
        if self._thread.is_alive():
            self._thread.join()
        self._pager.close()
        self._injection.remove()

    def _order(self, order: Callable[[], object], *, wait: bool) -> None:
        """Have something done between two passes; at once where there is no thread to do it."""
        done = threading.Event()

        def run() -> None:
            order()
            done.set()

        with self._changed:
            if not self._serving:
                run()
                return
            self._orders.append(run)
            self._changed.notify_all()
        if wait:
            done.wait()

    def _run(self) -> None:
        try:
            while self._prepare():
                if self._running:
                    self._pager.step()
                    self._deliver()
        except Exception as error:
            # Whoever waits is told, and nobody new is taken; a thread that died silently would hang them all.
            self.healthy = False
            self._end_all(lambda _: True, "failed", error=f"{type(error).__name__}: {error}")
        finally:
            with self._changed:
                self._serving = False
                self._follow_orders()
                self._end_all(lambda _: True, "shutdown")
                self._changed.notify_all()

    def _prepare(self) -> bool:
        """Do what was ordered and let waiting requests in; False when it is time to stop."""
        with self._changed:
            self._count()
            while not (self._orders or self._running or len(self._waiting) or self._stopping):
                self._changed.wait()
        self._follow_orders()
        now = time.monotonic()
        self._end_all(lambda each: each.deadline <= now, "deadline")
        self._admit()
        with self._changed:
            self._count()
            return not self._stopping

    def _count(self) -> None:
        self.counters.waiting, self.counters.running = len(self._waiting), len(self._running)
        self.counters.table_hits, self.counters.table_misses = self._table.hits, self._table.misses
        self._changed.notify_all()

    def _follow_orders(self) -> None:
        with self._changed:
            orders, self._orders = self._orders, []
        for order in orders:
            order()

    def _admit(self) -> None:
        held: dict[str, int] = {}
        for each in self._running.values():
            held[each.request.owner] = held.get(each.request.owner, 0) + 1
        # Somebody else always finds a place: nobody holds more than half of them.
        most = max(1, self.limits.running // 2)
        while len(self._running) < self.limits.running:
            with self._changed:
                new = self._waiting.take(lambda owner: held.get(owner, 0) < most)
            if new is None:
                return
            try:
                self._begin(new)
            except InvalidInput as error:
                self._finish(new, "failed", error=str(error))
                continue
            held[new.request.owner] = held.get(new.request.owner, 0) + 1

    def _begin(self, new: Running) -> None:
        request = new.request
        if request.release is not None and request.values is not None:
            new.slot = self._table.acquire(request.release, request.values)
            self._releases.setdefault(request.owner, set()).add(request.release)
        self.counters.prompt_tokens += len(request.prompt)
        if request.score_prompt:
            rows = self._table.rows[[new.slot]]
            (scores,) = score(self.base, self._injection, rows, request.prompt, request.top_logprobs)
            new.read(scores)
        if not request.max_tokens:
            self._finish(new, "length")
            return
        self._running[new.name] = new
        ends = () if request.ignore_end else self._ends
        self._pager.add(new.name, request.prompt, max_tokens=request.max_tokens, ends=ends)

    @contextmanager
    def _rows(self, passed: Pass) -> Iterator[None]:
        import torch

        slots = [self._running[name].slot for name in passed.names]
        self.counters.batches += 1
        self.counters.owners = len(set(slots))
        # Zeros change nothing, so a batch of the base alone needs no rows.
        if set(slots) == {BASE_SLOT}:
            yield
            return
        # Gathered once for all sites, and rounded to what the sites compute in.
        rows = self._table.rows[slots].to(self.base.dtype)
        lengths = torch.tensor(passed.lengths, device=self.base.device)
        index = torch.arange(len(slots), device=self.base.device).repeat_interleave(lengths)
        with self._injection.rows(rows, index[None]):
            yield

    def _draw(self, names: list[str], logits: "torch.Tensor") -> list[int]:
        import torch

        running = [self._running[name] for name in names]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        tokens = draw(logits, [each.request.sampling for each in running], [len(each.new) for each in running])
        for each, found in zip(
            running, scored(logits, tokens, [each.request.top_logprobs for each in running]), strict=True
        ):
            each.add(found)
        self.counters.new_tokens += len(tokens)
        return tokens

    def _deliver(self) -> None:
        """Tell everybody what the last pass drew, and end who is done."""
        for name, drew in zip(self._pager.passed.names, self._pager.passed.draws, strict=True):
            each = self._running.get(name)
            if not drew or each is None:
                continue
            last = each.new[-1].id
            ends = last in self._ends and not each.request.ignore_end
            each.tell(shown=not ends)
            if ends or each.stopped:
                self._end(each, "stop")
            elif len(each.new) == each.request.max_tokens:
                self._end(each, "length")

    def _end_all(self, leaves: Callable[[Running], bool], reason: Reason, *, error: str | None = None) -> int:
        with self._changed:
            gone = self._waiting.remove(leaves)
        for each in gone:
            self._finish(each, reason, error=error)
        running = [each for each in self._running.values() if leaves(each)]
        for each in running:
            self._end(each, reason, error=error)
        return len(gone) + len(running)

    def _end(self, each: Running, reason: Reason, *, error: str | None = None) -> None:
        """End a running request."""
        del self._running[each.name]
        self._pager.drop(each.name)
        if each.request.glass_box and reason in ("stop", "length"):
            rows = self._table.rows[[BASE_SLOT, each.slot]]
            ids = [*each.request.prompt, *(token.id for token in each.new)]
            each.compare(*score(self.base, self._injection, rows, ids, 0))
        self._finish(each, reason, error=error)

    def _finish(self, each: Running, reason: Reason, *, error: str | None = None) -> None:
        if each.slot != BASE_SLOT and each.request.release is not None:
            self._table.give_back(each.request.release)
        self.counters.finished[reason] = self.counters.finished.get(reason, 0) + 1
        each.deliver(
            Finished(
                reason, each.end(), len(each.request.prompt), len(each.new), each.prompt_scores, each.glass_box, error
            )
        )


def _end_tokens(base: Base) -> tuple[int, ...]:
    ends = base.model.generation_config.eos_token_id
    if ends is None:
        return ()
    return (ends,) if isinstance(ends, int) else tuple(ends)
