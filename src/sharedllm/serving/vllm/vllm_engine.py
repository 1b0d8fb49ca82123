"""Everybody's requests in vLLM's batch: who is let in, what is asked of vLLM for them, and what they are told of it."""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sharedllm.adapters.layouts import layout_of
from sharedllm.base.context_length import steady_context
from sharedllm.errors import InvalidInput, RequestFailed
from sharedllm.serving.cache import Cache, places
from sharedllm.serving.engine import Serving
from sharedllm.serving.request import Counters, Deliver, Limits, Reason, Request, RequestEvent, Scored
from sharedllm.serving.scheduler import Scheduler
from sharedllm.serving.self_check import show_same
from sharedllm.serving.sequence import Chunk, Sequence
from sharedllm.serving.table import Table
from sharedllm.serving.vllm.passes import Passes

_BYTES_PER_VALUE = 2
_ROUNDINGS = 16
"""For `show_same`: vLLM's kernels approximate what ours compute, by 5.4 roundings on SmolLM2-135M in float32."""


class VllmEngine(Serving[Passes, "VllmScheduler"]):
    """Serves requests of many releases from one base with vLLM, which computes and draws.

    Until it is closed nothing else may use the base's model.

    Raises:
        InvalidInput: the limits ask for what vLLM cannot do, or the base holds its weights in int8.
        MissingExtra, UnknownName, UnsupportedBase: see `Passes`, `layout_of` and `show_same`.
    """

    def submit(self, request: Request, deliver: Deliver) -> int:
        """See `Serving.submit`.

        Raises:
            InvalidInput: also of a request whose answer is to be held to a grammar.
        """
        if request.grammar is not None:
            raise InvalidInput(
                "Answers are not held to a schema or a grammar by the vLLM engine",
                remedy="Leave it out, or ask a server that runs the engine of this package.",
            )
        return super().submit(request, deliver)

    def step(self) -> None:
        """One pass of vLLM over everybody, and its news to each."""
        self._scheduler.let_in()
        if self._runner.busy:
            self._scheduler.hear(self._runner.step())

    def _make(self, format: str) -> "tuple[Passes, VllmScheduler, int]":
        if self.limits.deterministic:
            raise InvalidInput(
                "The vLLM engine reads requests together", remedy="Leave out --deterministic, or use this package's."
            )
        if self.base.weights != "plain":
            raise InvalidInput(
                f"The vLLM engine loads the base's weights itself, and not in {self.base.weights}",
                remedy="Load the base with plain weights (leave out --weights), or use this package's engine.",
            )
        layout = layout_of(self.base, format)
        # A longer text would change how the others of its pass are read.
        context = min(steady_context(self.base), places(self.limits.cache_tokens))
        slots = max(self.limits.table_bytes // (layout.size * _BYTES_PER_VALUE), self.limits.running + 1)
        runner = Passes(self.base, layout, self.limits, slots=slots, context=context)
        try:
            show_same(self.base, layout, partial(_serve, self, runner, Counters()), roundings=_ROUNDINGS)
        except BaseException:
            runner.close()
            raise
        # One less, so that there is room for the token that vLLM draws in any case where a whole answer is only scored.
        return runner, VllmScheduler(runner, self.limits, self.counters, ends=self.base.end_tokens), context - 1


def _serve(
    engine: VllmEngine, runner: Passes, counters: Counters, asked: Callable[[], list[Request]]
) -> list[list[RequestEvent]]:
    """Run a few requests together, before anybody else's."""
    requests = asked()
    news: list[list[RequestEvent]] = [[] for _ in requests]
    scheduler = VllmScheduler(runner, engine.limits, counters, ends=engine.base.end_tokens)
    for number, request in enumerate(requests):
        scheduler.submit(Sequence(engine.base, number, request, news[number].append))
    while scheduler.busy:
        scheduler.let_in()
        if runner.busy:
            scheduler.hear(runner.step())
    for request in requests:
        scheduler.forget(request.owner)
    return news


class WorkersTable(Table):
    """The table that vLLM's workers have, and what is where in it; here is no copy of it."""

    def __init__(self, runner: Passes) -> None:
        super().__init__(runner.layout.size, runner.slots, torch.device("meta"))
        self._runner = runner

    def _copy(self, slot: int, release: str, values: npt.NDArray[np.float16]) -> None:
        self._runner.write(slot, release, values)

    def _clear(self, release: str) -> None:
        slot = self._slots[release]
        super()._clear(release)
        self._runner.clear(slot)


class WorkersCache(Cache):
    """The cache that vLLM has, which hands out its places itself."""

    def __init__(self, tokens: int, runner: Passes) -> None:
        super().__init__(tokens)
        self._runner = runner

    def wipe(self, unwritten: "Iterable[torch.Tensor]") -> None:
        """Overwrite all keys and values; what runs is read again."""
        self._runner.wipe()


@dataclass(eq=False)
class _Reading:
    """What vLLM was asked for a sequence, and has told of its text so far.

    Attributes:
        name: what vLLM calls it.
        sequence: whose it is.
        told: of each token of the text that was read, the likeliest and itself; nothing of the first.
    """

    name: str
    sequence: Sequence
    told: list[dict[int, Any] | None] = field(default_factory=list)


class VllmScheduler(Scheduler):
    """Lets requests in as the engine of this package does, and has vLLM plan the passes."""

    def __init__(self, runner: Passes, limits: Limits, counters: Counters, *, ends: Iterable[int]) -> None:
        cache = WorkersCache(limits.cache_tokens, runner)
        super().__init__(WorkersTable(runner), cache, limits, counters, ends=tuple(ends), original=sys.maxsize)
        self._runner = runner
        self._named: dict[str, _Reading] = {}
        self._of: dict[int, _Reading] = {}
        # Whose keys and values vLLM may have kept.
        self._read_for: set[tuple[str, str]] = set()

    @property
    def releases(self) -> set[tuple[str, str]]:
        """Owners and releases of which there is a row in the workers, or keys and values."""
        return super().releases | self._read_for

    def let_in(self) -> None:
        """End who has waited too long, and let in whoever there is room for."""
        now = time.monotonic()
        self.end(lambda each: each.deadline <= now, "deadline")
        self._admit()
        self.count()

    def hear(self, outputs: Iterable[Any]) -> None:
        """Tell everybody what vLLM says of a pass, and go on with whoever is not done."""
        self._counters.batches += 1
        self._counters.owners = len({each.slot for each in self.running.values()})
        for output in outputs:
            # Whoever has left meanwhile is told nothing.
            reading = self._named.get(output.request_id)
            if reading is None:
                continue
            try:
                self._hear(reading, output)
            except Exception as error:
                self._end(reading.sequence, "failed", error)

    def count(self) -> None:
        """Bring the counters up to date."""
        super().count()
        self._counters.cache_tokens = sum(places(len(each.ids)) for each in list(self.running.values()))

    def forget(self, owner: str) -> None:
        """Overwrite an owner's rows, and everybody's keys and values; what runs is read again."""
        super().forget(owner)
        running = {(each.request.owner, each.release) for each in self.running.values()}
        self._read_for = {(owner, release) for owner, release in running if release is not None}

    def _read(self, sequence: Sequence) -> None:
        self._leave(sequence)
        request, compares = sequence.request, sequence.ended is not None
        reading = _Reading(f"{sequence.number}-{'answer' if not compares else sequence.slot}", sequence)
        if sequence.release is not None:
            self._read_for.add((request.owner, sequence.release))
        self._runner.begin(
            reading.name,
            sequence.ids,
            request.sampling,
            owner=request.owner,
            slot=sequence.slot,
            release=sequence.release,
            # vLLM draws at least one, which where nothing is to be drawn nobody hears of.
            max_tokens=1 if compares else max(request.max_tokens, 1),
            tops=None if compares else request.top_logprobs,
            prompt_tops=sequence.tops if len(sequence.scored) else None,
        )
        self._named[reading.name] = self._of[sequence.number] = reading

    def _hear(self, reading: _Reading, output: Any) -> None:
        sequence = reading.sequence
        reading.told += output.prompt_logprobs or []
        (new,) = output.outputs
        for place, id in enumerate(new.token_ids):
            scores = self._scores(reading)
            draws = sequence.draws
            drawn = _scored(id, new.logprobs and new.logprobs[place], sequence.tops) if draws else None
            if draws and not sequence.new:
                sequence.cached = output.num_cached_tokens or 0
                self._counters.cached_tokens += sequence.cached
            self._counters.new_tokens += draws
            end = len(sequence.ids)
            self._take(Chunk(sequence, sequence.read, end, range(0), draws), scores, drawn)
            if self._named.get(reading.name) is not reading:
                return
        if output.finished:
            raise RequestFailed(
                f"vLLM ended the request before its answer was ({new.finish_reason})", remedy="Ask again."
            )

    def _scores(self, reading: _Reading) -> list[Scored]:
        """What is told of the text's own tokens, once."""
        sequence, told = reading.sequence, reading.told
        reading.told = []
        if not told:
            return []
        return [_scored(sequence.ids[place + 1], told[place + 1], sequence.tops) for place in sequence.scored]

    def _end(self, sequence: Sequence, reason: Reason, error: Exception | None = None) -> None:
        self._leave(sequence)
        super()._end(sequence, reason, error)

    def _leave(self, sequence: Sequence) -> None:
        reading = self._of.pop(sequence.number, None)
        if reading is not None:
            del self._named[reading.name]
            self._runner.end(reading.name)


def _scored(id: int, told: dict[int, Any] | None, tops: int) -> Scored:
    if not told:
        return Scored(id, None)
    likeliest = sorted((each.rank, other, each.logprob) for other, each in told.items() if each.rank <= tops)
    return Scored(id, told[id].logprob, tuple((other, logprob) for _, other, logprob in likeliest))
