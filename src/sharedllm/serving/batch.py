"""The requests that run together: from their rows and prompts to their tokens, one pass after the other.

Nothing here is safe to call from two threads; `engine.py` gives it one of its own.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.context import context_of
from sharedllm.base.loading import Base
from sharedllm.base.products import Prepacked
from sharedllm.errors import InvalidInput
from sharedllm.serving.paging import Pager
from sharedllm.serving.parts import Part, Parts
from sharedllm.serving.request import Counters, Finished, Limits, Reason, Scored
from sharedllm.serving.rows import Rows
from sharedllm.serving.running import Running, Share
from sharedllm.serving.sampling import draw, scored
from sharedllm.serving.scoring import Reading
from sharedllm.serving.table import BASE_SLOT, Table

if TYPE_CHECKING:
    import torch

_BYTES_PER_VALUE = 2

_taking = threading.Lock()
_taken: "WeakSet[Any]" = WeakSet()
"""Models that requests run on."""


class Batch:
    """Running requests, their keys and values, and everybody's rows.

    Raises:
        InvalidInput: another batch is on the base.
        UnknownName, UnsupportedBase: see `layout_of` and `Pager`.

    Attributes:
        layout: the sites that the values of a release belong to.
        table: the rows on the device.
        context: tokens that a prompt and its answer may have together.
        capacity: tokens whose keys and values fit the cache.
        ends: tokens that end an answer.
        running: by number.
    """

    def __init__(self, base: Base, limits: Limits, counters: Counters, *, format: str) -> None:
        with ExitStack() as undo:
            undo.enter_context(_alone(base))
            self.layout = layout_of(base, format)
            # A row for each running request has to fit, or none of them could be admitted.
            slots = max(limits.table_bytes // (self.layout.size * _BYTES_PER_VALUE), limits.running + 1)
            self.table = Table(self.layout.size, slots, base.device)
            self.ends = base.end_tokens
            self.running: dict[int, Running] = {}
            self._base, self._counters = base, counters
            self._injection = Injection(base, self.layout)
            undo.callback(self._injection.remove)
            self._rows = Rows(self._injection, self.table, base.dtype, lambda name: self._parts[name])
            self._pager = Pager(
                base,
                running=limits.running,
                cache_tokens=limits.cache_tokens,
                batch_tokens=limits.pass_tokens,
                apart=limits.deterministic,
                rows=self._rows,
                draw=self._draw,
            )
            undo.callback(self._pager.close)
            self._parts = Parts(self._pager, pass_tokens=limits.pass_tokens)
            self.capacity = self._pager.capacity
            self.context = min(context_of(base), self.capacity)
            self._products = Prepacked(base)
            undo.callback(self._products.remove)
            # What leaves the base as it was if any of this fails does so in the end, too.
            self._undo = undo.pop_all()

    def shares(self) -> defaultdict[str, Share]:
        """What each owner's running requests hold."""
        shares: defaultdict[str, Share] = defaultdict(Share)
        for each in self.running.values():
            shares[each.request.owner].add(each.request)
        return shares

    def begin(self, new: Running) -> None:
        """Let a request in; one that neither draws nor scores ends at once.

        Raises:
            InvalidInput: the values are not those of a stored release.
        """
        request = new.request
        reading = Reading(request.prompt, top=request.top_logprobs or 0) if request.score_prompt else None
        if request.release is not None and request.values is not None:
            new.slot = self.table.acquire(request.release, request.owner, request.values)
        self._counters.prompt_tokens += len(request.prompt)
        self.running[new.number] = new
        if request.max_tokens or reading is not None:
            self._parts.enter(Part(new, new.slot, request.max_tokens > 0, reading))
        else:
            self._end(new, "length")

    def step(self) -> None:
        """One pass of the model over everybody, and its news to each."""
        self._parts.hand_in()
        if self._pager.step():
            self._counters.batches += 1
            self._counters.owners = len(set(self._rows.slots(self._pager.passed)))
            for name, error in self._pager.failed.items():
                self._end(self._parts[name].each, "failed", error=error)
            self._tell()

    def end(self, leaves: Callable[[Running], bool], reason: Reason, *, error: Exception | None = None) -> int:
        """End every running request that is to leave; returns how many."""
        leaving = [each for each in self.running.values() if leaves(each)]
        for each in leaving:
            self._end(each, reason, error=error)
        return len(leaving)

    def finish(self, each: Running, reason: Reason, *, error: Exception | None = None) -> None:
        """Tell the end of a request that does not run, or no longer."""
        if each.slot != BASE_SLOT and each.request.release is not None:
            self.table.give_back(each.request.release)
        try:
            text = each.end()
        except Exception as undecoded:
            text, reason, error = "", "failed", error or undecoded
        self._counters.finished[reason] = self._counters.finished.get(reason, 0) + 1
        # Whoever cannot be told is not there to be told of it.
        with suppress(Exception):
            each.deliver(
                Finished(
                    reason, text, len(each.request.prompt), len(each.new), each.prompt_scores, each.glass_box, error
                )
            )

    def forget(self, owner: str) -> None:
        """Overwrite an owner's rows, and whatever was read or computed for requests that have ended."""
        self.table.forget(owner)
        self._rows.forget()
        self._products.forget()
        self._pager.wipe()

    def close(self) -> None:
        """Leave the base as it was. Closing twice is safe."""
        self._undo.close()

    def _draw(self, names: list[str], logits: "torch.Tensor") -> list[int]:
        import torch

        running = [self._parts[name].each for name in names]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        tokens = draw(logits, [each.request.sampling for each in running], [len(each.new) for each in running])
        # To normalise everybody's logits takes a while, and few ask for it.
        tops = {row: top for row, each in enumerate(running) if (top := each.request.top_logprobs) is not None}
        told = iter(scored(logits[list(tops)], [tokens[row] for row in tops], list(tops.values())))
        for row, each in enumerate(running):
            each.add(next(told) if row in tops else Scored(tokens[row], None))
        self._counters.new_tokens += len(tokens)
        return tokens

    def _tell(self) -> None:
        """Tell everybody what the last pass drew, and go on with whoever was read to the end or is done."""
        for name, ended in zip(self._pager.passed.names, self._pager.passed.ends, strict=True):
            if not ended or name not in self._parts:
                continue
            part = self._parts[name]
            try:
                self._tell_part(part)
            except Exception as error:
                self._end(part.each, "failed", error=error)

    def _tell_part(self, part: Part) -> None:
        if part.reading is not None:
            self._take_over(part.each, part.reading)
        if part.draws:
            self._tell_token(part.each)
        else:
            self._go_on(part.each)

    def _tell_token(self, each: Running) -> None:
        last = each.new[-1].id
        ends = last in self.ends and not each.request.ignore_end
        each.tell(shown=not ends)
        if ends or each.stopped:
            self._look_back(each, "stop")
        elif len(each.new) == each.request.max_tokens:
            self._look_back(each, "length")

    def _look_back(self, each: Running, reason: Reason) -> None:
        """End a request whose answer is complete, once it is compared where that was asked for."""
        if not each.request.glass_box:
            self._end(each, reason)
            return
        self._parts.leave(each)
        each.ended = reason
        self._compare(each, reason)

    def _compare(self, each: Running, reason: Reason) -> None:
        """Score the answer under the base, then under the row that answered, and end the request."""
        slots = sorted({BASE_SLOT, each.slot})
        if len(each.compared) == len(slots):
            each.compare()
            self._end(each, reason)
            return
        prompt = each.request.prompt
        ids = [*prompt, *(token.id for token in each.new)]
        self._parts.enter(Part(each, slots[len(each.compared)], False, Reading(ids, first=len(prompt))))

    def _take_over(self, each: Running, reading: Reading) -> None:
        """Keep what was scored."""
        if each.ended is not None:
            each.compared.append(reading.scores)
        elif len(each.new) <= 1:
            each.read(reading.scores)

    def _go_on(self, each: Running) -> None:
        """Go on with a request of which something was read to the end that draws nothing."""
        if each.ended is None:
            self._end(each, "length")
        else:
            self._parts.leave(each)
            self._compare(each, each.ended)

    def _end(self, each: Running, reason: Reason, *, error: Exception | None = None) -> None:
        """End a running request."""
        self._parts.leave(each)
        del self.running[each.number]
        self.finish(each, reason, error=error)


@contextmanager
def _alone(base: Base) -> Iterator[None]:
    """Keep others off the base's model: each would apply its rows in the other's passes, too."""
    with _taking:
        if base.model in _taken:
            raise InvalidInput(
                f"Another engine serves from this {base.name} already",
                remedy="Close it first, or load the base once more.",
            )
        _taken.add(base.model)
    try:
        yield
    finally:
        with _taking:
            _taken.discard(base.model)
