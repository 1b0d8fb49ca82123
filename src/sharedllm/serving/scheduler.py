"""Who runs next: requests that wait, those that run, and what each pass reads of whom."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedllm.serving.cache import Cache, places
from sharedllm.serving.fair_queue import FairQueue
from sharedllm.serving.prefixes import Prefixes
from sharedllm.serving.request import Counters, Limits, Reason, Request, Scored
from sharedllm.serving.sequence import Chunk, Plan, Sequence
from sharedllm.serving.table import BASE_SLOT, Table

if TYPE_CHECKING:
    from sharedllm.serving.sampler import Sampled

_FEW_TOKENS = 6
"""A pass of so many, proposed ones among them, takes hardly longer than one of a single token."""
_LEAST_PROPOSED = 2
"""oneDNN multiplies two tokens more slowly than three to six."""
_LEAST_READ = 128
"""Tokens of prompts that a pass reads at least, whoever else draws."""


@dataclass
class _Share:
    """What the running requests of one owner hold: how many they are, and the tokens of the cache kept for them."""

    requests: int = 0
    places: int = 0

    def add(self, request: Request) -> None:
        self.requests += 1
        self.places += places(request.tokens)


class Scheduler:
    """Lets requests in, hands out rows and pages, and says what each pass reads.

    `submit` and `busy` are safe from any thread, the rest belongs to the one that runs the passes.

    Attributes:
        running: requests that were let in, by number.
        capacity: tokens of the cache that are promised to those that run.
        ends: tokens that end an answer.
    """

    def __init__(
        self,
        table: Table,
        cache: Cache,
        limits: Limits,
        counters: Counters,
        *,
        ends: Collection[int],
        original: int,
        speculates: bool = False,
        shares: bool = False,
    ) -> None:
        """Nothing waits or runs.

        Args:
            table: of the rows on the device.
            cache: of keys and values.
            limits: what may wait and run at once.
            counters: kept up to date.
            ends: see above.
            original: texts of more tokens are read otherwise from their first token on, and in passes of their own.
            speculates: whether passes of few tokens read others beside them that may come next, see `Proposals`.
            shares: whether what is read of prompts leaves time to those who draw beside them: for where a pass takes
                longer the more tokens it has.
        """
        self._table, self._cache, self._limits, self._counters = table, cache, limits, counters
        self._original, self._speculates, self._shares = original, speculates, shares
        # How a text is read would depend on what was read before it.
        self._prefixes = Prefixes(cache, keeps=not limits.deterministic)
        self.ends, self.capacity = ends, cache.tokens
        self.running: dict[int, Sequence] = {}
        # Guards what waits, and the step from there to what runs.
        self._lock = threading.Lock()
        self._waiting: FairQueue[Sequence] = FairQueue(limits.waiting, limits.waiting_per_owner)
        # Readings that have not had a turn yet, and those that have; both in their order.
        self._pending: list[Sequence] = []
        self._reading: dict[int, Sequence] = {}
        # Whether the last pass was of texts beyond the original context.
        self._far = False

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        with self._lock:
            return bool(self.running or len(self._waiting))

    def submit(self, sequence: Sequence) -> None:
        """Have a request wait for its turn.

        Raises:
            QueueFull: too many wait already, of its owner or in all.
        """
        with self._lock:
            self._waiting.put(sequence.request.owner, sequence)
            self._counters.waiting = len(self._waiting)

    def requests(self) -> list[Request]:
        """All that wait or run."""
        with self._lock:
            return [each.request for each in (*self._waiting, *self.running.values())]

    def next(self) -> Plan | None:
        """Let in whoever there is room for; what the next pass reads, or None if nothing runs."""
        now = time.monotonic()
        self.end(lambda each: each.deadline <= now, "deadline")
        self._admit()
        self.count()
        self._hand_in()
        there = self._with_pages()
        # Texts that are read otherwise have passes of their own, in turn.
        if {each.far for each in there} != {self._far}:
            self._far = not self._far
        chunks = self._chunks([each for each in there if each.far == self._far], there)
        if not chunks:
            return None
        self._counters.batches += 1
        self._counters.owners = len({chunk.sequence.slot for chunk in chunks})
        self._counters.proposed_tokens += sum(len(chunk.proposed) for chunk in chunks)
        return Plan(chunks, self._original + 1 if self._far else 0)

    def take(self, sampled: "Sampled") -> dict[int, Chunk]:
        """Tell everybody what a pass has made of their chunks, and go on with whoever is not done.

        Returns:
            By the number of a chunk what is left of it, from which the token after the next is to be drawn: where the
            next turned out as it was proposed.
        """
        left = {}
        self._counters.new_tokens += len(sampled.drawn)
        for number, chunk in enumerate(sampled.plan.chunks):
            error, drawn = sampled.failed.get(number), sampled.drawn.get(number)
            if error is None:
                try:
                    self._take(chunk, sampled.scores.get(number, ()), drawn)
                except Exception as unexpected:
                    error = unexpected
            if error is not None:
                self._end(chunk.sequence, "failed", error)
            elif drawn is not None and drawn.id in chunk.proposed[:1]:
                self._counters.accepted_tokens += 1
                chunk.sequence.proposals.accept()
                if chunk.sequence.number in self.running and chunk.sequence.draws:
                    left[number] = chunk.rest
        return left

    def end(self, leaves: Callable[[Sequence], bool], reason: Reason, *, error: Exception | None = None) -> int:
        """End every request that is to leave, waiting or running; returns how many."""
        with self._lock:
            leaving = self._waiting.remove(leaves)
        leaving += [each for each in self.running.values() if leaves(each)]
        for each in leaving:
            self._end(each, reason, error)
        return len(leaving)

    def forget(self, owner: str) -> None:
        """Overwrite an owner's rows, and all keys and values but those of requests that go on."""
        self._table.forget(owner)
        self._prefixes.forget(owner)
        held = ((each.places, each.read) for each in self.running.values())
        self._cache.wipe(places[read:] for places, read in held if places is not None)

    @property
    def releases(self) -> set[tuple[str, str]]:
        """Owners and releases of which there is a row on the device, or keys and values without a request."""
        return self._table.releases | self._prefixes.releases

    def count(self) -> None:
        """Bring the counters up to date."""
        self._counters.waiting, self._counters.running = len(self._waiting), len(self.running)
        self._counters.table_hits, self._counters.table_misses = self._table.hits, self._table.misses
        self._counters.table_rows, self._counters.table_room = len(self._table), self._table.room
        self._counters.cache_tokens, self._counters.cache_room = self._cache.held, self._cache.tokens

    def _admit(self) -> None:
        if not len(self._waiting) or len(self.running) == self._limits.running:
            return
        shares: defaultdict[str, _Share] = defaultdict(_Share)
        for each in self.running.values():
            shares[each.request.owner].add(each.request)

        def may(owner: str, new: Sequence) -> bool:
            # Somebody else always finds room: nobody has more than one request and half of the places, or of the cache.
            share = shares[owner]
            return not share.requests or (
                share.requests < self._limits.running // 2
                and share.places + places(new.request.tokens) <= self.capacity // 2
            )

        def fits(new: Sequence) -> bool:
            # With answers of full length, so that nothing that was read has to be thrown away for want of room.
            return sum(share.places for share in shares.values()) + places(new.request.tokens) <= self.capacity

        while len(self.running) < self._limits.running:
            with self._lock:
                new = self._waiting.take(may, fits)
                if new is None:
                    return
                self.running[new.number] = new
            shares[new.request.owner].add(new.request)
            try:
                self._begin(new)
            except Exception as error:
                # What is wrong with one request is told to whoever asked.
                self._end(new, "failed", error)

    def _begin(self, new: Sequence) -> None:
        """Give a request its row; one that neither draws nor scores ends at once."""
        request = new.request
        if request.release is not None and request.values is not None:
            new.slot = new.own_slot = self._table.acquire(request.release, request.owner, request.values)
        self._counters.prompt_tokens += len(request.prompt)
        if request.max_tokens or request.score_prompt:
            self._read(new)
        else:
            self._end(new, "length")

    def _read(self, sequence: Sequence) -> None:
        """Have all that is known of a sequence read from the first token on, when it is its turn."""
        sequence.far = len(sequence.ids) > self._original
        self._reading.pop(sequence.number, None)
        self._pending.append(sequence)

    def _hand_in(self) -> None:
        """Give turns to readings that have had none.

        So that everybody is soon read, nobody's next tokens follow while those that they have there fill a pass.
        """
        if not self._pending:
            return
        unread: Counter[str] = Counter()
        for each in self._reading.values():
            # Whoever has no pages fills no pass, and may be waiting for those of one that is pending.
            if each.places is not None:
                unread[each.request.owner] += each.unread
        pending, self._pending = self._pending, []
        for each in pending:
            if unread[each.request.owner] >= self._limits.pass_tokens:
                self._pending.append(each)
            else:
                unread[each.request.owner] += each.unread
                self._reading[each.number] = each

    def _with_pages(self) -> list[Sequence]:
        """Readings whose sequences have pages, which are handed out in order."""
        for each in self._reading.values():
            if each.places is None:
                self._prefixes.begin(each)
                self._counters.cached_tokens += each.cached
                if each.places is None:
                    break
        return [each for each in self._reading.values() if each.places is not None]

    def _chunks(self, reading: list[Sequence], there: list[Sequence]) -> list[Chunk]:
        """Of those whose pass it is, who reads how many tokens: whoever draws one each, and then the others."""
        unread = [each for each in reading if each.unread]
        chunks = self._drawing([each for each in reading if not each.unread], sum(each.unread for each in unread))
        most = self._limits.pass_tokens
        if self._limits.deterministic:
            return chunks + self._apart(unread, most)
        left = most - sum(chunk.end - chunk.begin for chunk in chunks)
        if self._shares and not all(each.unread for each in there):
            # By heads: where many wait they are soon read, and a long prompt of one holds up many others little.
            left = min(left, max(_LEAST_READ, most * len(unread) // len(there)))
        return chunks + self._together(unread, left)

    @staticmethod
    def _apart(unread: list[Sequence], left: int) -> list[Chunk]:
        """Chunks whose lengths depend on nobody else, in order, as far as whole ones are room for."""
        chunks = []
        most = left
        for each in unread:
            whole = min(each.unread, most)
            if whole > left:
                break
            chunks.append(each.chunk(whole))
            left -= whole
        return chunks

    @staticmethod
    def _together(unread: list[Sequence], left: int) -> list[Chunk]:
        """Chunks of so many tokens in all: half for whoever came first, so that nobody waits for ever.

        The rest is for the shortest, whose answers begin soonest; of the same length, for whoever came first.
        """
        lengths = Counter({each.number: min(each.unread, left - left // 2) for each in unread[:1]})
        left -= lengths.total()
        for each in sorted(unread, key=lambda each: each.unread):
            more = min(each.unread - lengths[each.number], left)
            lengths[each.number] += more
            left -= more
        return [each.chunk(lengths[each.number]) for each in unread if lengths[each.number]]

    def _drawing(self, drawing: list[Sequence], unread: int) -> list[Chunk]:
        """Of each its last token, and what may come after it where that and what others have unread are few tokens."""
        share = min(_FEW_TOKENS - unread, self._limits.pass_tokens) // max(len(drawing), 1) - 1
        if share < _LEAST_PROPOSED or not self._speculates:
            return [each.chunk(1) for each in drawing]
        # Beyond the original context everything would be read otherwise.
        return [each.speculative(share if each.far else min(share, self._original - len(each.ids))) for each in drawing]

    def _take(self, chunk: Chunk, scores: Iterable[Scored], drawn: Scored | None) -> None:
        sequence = chunk.sequence
        ends = sequence.take(chunk.known, scores, drawn)
        if drawn is not None:
            self._tell(sequence)
        elif ends and sequence.ended:
            self._compare(sequence, sequence.ended)
        elif ends:
            self._end(sequence, "length")

    def _tell(self, sequence: Sequence) -> None:
        """Tell the token that was drawn, and what comes of it."""
        request, last = sequence.request, sequence.new[-1].id
        over = last in request.stop_ids or (last in self.ends and not request.ignore_end)
        sequence.tell(shown=not over)
        if over or sequence.stopped:
            self._answered(sequence, "stop")
        elif len(sequence.new) == request.max_tokens:
            self._answered(sequence, "length")
        elif len(sequence.ids) > self._original and not sequence.far:
            sequence.begin_again()
            self._read(sequence)

    def _answered(self, sequence: Sequence, reason: Reason) -> None:
        """End a request whose answer is complete, once it is compared where that was asked for."""
        if sequence.request.glass_box:
            self._compare(sequence, reason)
        else:
            self._end(sequence, reason)

    def _compare(self, sequence: Sequence, reason: Reason) -> None:
        if sequence.compare(reason):
            self._read(sequence)
        else:
            self._end(sequence, reason)

    def _end(self, sequence: Sequence, reason: Reason, error: Exception | None = None) -> None:
        """Tell the end of a request, and let others have its row and its pages."""
        self.running.pop(sequence.number, None)
        self._reading.pop(sequence.number, None)
        if sequence in self._pending:
            self._pending.remove(sequence)
        self._prefixes.end(sequence, reason)
        if sequence.own_slot != BASE_SLOT and sequence.request.release is not None:
            self._table.give_back(sequence.request.release)
        finished = sequence.finish(reason, error)
        self._counters.finished[finished.reason] = self._counters.finished.get(finished.reason, 0) + 1
        # Whoever cannot be told is not there to be told of it.
        with suppress(Exception):
            sequence.deliver(finished)
