"""The driver of a fleet: hands shards to workers, publishes what comes back, and finds out whom workers die of."""

import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from typing import Literal, TypeVar

from sharedllm.adapters.formats.registry import check_reaches_others
from sharedllm.cluster.fleets.job import FleetJob, ShardWork
from sharedllm.cluster.fleets.shards import Shard, ShardPlan
from sharedllm.cluster.workers.executors import FALSE_STARTS, Executor, Halted, Lost, Over, Stepped
from sharedllm.errors import (
    CorruptAdapter,
    CorruptStore,
    OutcomeUnknown,
    SharedLLMError,
    StoreBusy,
    StoreUnreachable,
    TrainingError,
)
from sharedllm.operations.known import already_trained
from sharedllm.operations.locks import training_into
from sharedllm.operations.train import Judged, store_judged
from sharedllm.store.contract import Release, ReleaseSummary, Stay, Store
from sharedllm.store.rules import erased_meanwhile
from sharedllm.text.reading import UserText
from sharedllm.text.splits import sha256_of
from sharedllm.training.checkpoints import Checkpoints

FleetState = Literal["served", "held back", "failed"]

_LARGEST_WORK = 256_000_000
"""Characters of text handed over at once; what is more waits for the next worker."""

_BEGUN_AT_ONCE = 1_000
"""Users whose stays are taken in one transaction, so that nobody else waits for long to write."""

_STORE_TRIES = 60
"""Times that a store is asked which does not answer or which another process is writing, a second apart."""

_PASSING = (StoreBusy, StoreUnreachable, OutcomeUnknown)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Result:
    """What became of one user.

    Attributes:
        user: the user id.
        state: ``served`` if the gate passed.
        release: its number; None where they failed.
        reason: the gate's, or why they failed.
        before: the store had the release when the run began.
    """

    user: str
    state: FleetState
    release: int | None
    reason: str
    before: bool = False


def train_fleet(
    store: Store, plan: ShardPlan, job: FleetJob, executor: Executor[ShardWork, Judged], *, origin: str
) -> Generator[Result | Stepped, None, None]:
    """Train every user of a plan who has no release of their text, recipe and base yet; one result each.

    Releases are published here, by this process alone, before the result is yielded. A user whose text cannot be used,
    whose training diverges, whom two workers die of or who is erased meanwhile fails; everyone else is trained.
    Closing the iterator, an interrupt or an error has the workers write checkpoints, and the same call goes on there.

    Args:
        store: where releases go.
        plan: the fleet.
        job: what all shards have in common.
        executor: where they are trained. It is closed at the end.
        origin: where the text came from, kept as provenance of every release.

    Raises:
        FormatError: workers do not know the recipe's format.
        InTraining: somebody is being erased here.
        DiskFull: there is no room for a release or a checkpoint.
        TrainingError: workers cannot start, or a checkpoint cannot be written.
        BaseError: the base does not load.
        StoreError: the store cannot be written.
        ManifestError: the manifest has changed.
    """
    check_reaches_others(job.recipe.method)
    # Workers know nothing of the store: what they had in hand is written, and looked through, once they have ended.
    with executor, training_into(store, job.checkpoints), executor:
        yield from _Driver(store, plan, job, executor, origin).run()


@dataclass(eq=False)
class _InHand:
    """A shard that a worker has, and the lines of those in it who are not done."""

    shard: Shard
    waiting: dict[str, int]


class _Driver:
    def __init__(
        self, store: Store, plan: ShardPlan, job: FleetJob, executor: Executor[ShardWork, Judged], origin: str
    ) -> None:
        self._store, self._plan, self._job, self._executor = store, plan, job, executor
        self._origin = [origin]
        self._checkpoints = Checkpoints(job.checkpoints, job.fingerprint)
        self._shards = plan.shards()
        self._again: deque[Shard] = deque()
        self._in_hand: dict[int, _InHand] = {}
        self._submitted = 0
        self._false_starts = 0
        self._log, self._stays = self._begin()

    def _begin(self) -> tuple[int, "array[int]"]:
        """Begin for everybody before any text is read: who is erased after that is not to come back by this run."""
        log, numbers, users = self._store.position().log, array("q"), self._plan.users()
        while page := list(islice(users, _BEGUN_AT_ONCE)):
            stays = _patiently(partial(self._store.begin, page))
            numbers.extend(stays[user].number for user in page)
        return log, numbers

    def _stay(self, line: int) -> Stay:
        return Stay(self._log, self._stays[bisect_left(self._plan.lines, line)])

    def run(self) -> Iterator[Result | Stepped]:
        while True:
            while self._executor.idle and (shard := self._next()) is not None:
                yield from self._hand_out(shard)
            if not self._executor.busy:
                return
            event = self._executor.wait()
            match event.what:
                case Stepped():
                    self._false_starts = 0
                    yield event.what
                case Judged() as judged:
                    self._false_starts = 0
                    stay = self._stay(self._in_hand[event.work].waiting[judged.user])
                    yield self._publish(judged, stay)
                    del self._in_hand[event.work].waiting[judged.user]
                case Over():
                    del self._in_hand[event.work]
                case Lost() as lost:
                    yield from self._make_good(self._in_hand.pop(event.work), lost)
                case Halted(error):
                    raise error

    def _next(self) -> Shard | None:
        return self._again.popleft() if self._again else next(self._shards, None)

    def _hand_out(self, shard: Shard) -> Iterator[Result]:
        """Submit those of a shard who are still to be trained; the results of the others."""
        texts: list[UserText] = []
        waiting: dict[str, int] = {}
        room = _LARGEST_WORK
        erased = _patiently(partial(self._store.erased_since, [self._stay(line) for line in shard.lines]))
        for line, user, text in self._plan.read(shard):
            if self._stay(line) in erased:
                yield Result(user, "failed", None, str(erased_meanwhile(user)))
                continue
            if isinstance(text, SharedLLMError):
                yield Result(user, "failed", None, str(text))
                continue
            sha256 = sha256_of(text.passages)
            try:
                known = _patiently(partial(self._known, user, sha256))
            except (CorruptAdapter, CorruptStore) as error:
                yield Result(user, "failed", None, str(error))
                continue
            if known is not None:
                yield _result_of(known, before=True)
                continue
            if room < len(text.text) and texts:
                left = shard.lines[shard.lines.index(line) :]
                self._again.appendleft(replace(shard, lines=left))
                break
            room -= len(text.text)
            texts.append(text)
            waiting[user] = line
        if texts:
            self._submitted += 1
            self._in_hand[self._submitted] = _InHand(replace(shard, lines=tuple(waiting.values())), waiting)
            stays = {user: self._stay(line) for user, line in waiting.items()}
            self._executor.submit(ShardWork(self._submitted, texts, stays))

    def _known(self, user: str, sha256: str) -> ReleaseSummary | None:
        known = already_trained(self._store, self._job.fingerprint, user, sha256, self._job.recipe)
        if known is not None:
            # A worker that was killed between the release and this could not do it.
            self._checkpoints.discard(user, sha256, self._job.recipe)
        return known

    def _publish(self, judged: Judged, stay: Stay) -> Result:
        tries = count()
        return _patiently(lambda: self._try_to_publish(judged, stay, again=next(tries) > 0))

    def _try_to_publish(self, judged: Judged, stay: Stay, *, again: bool) -> Result:
        if judged.adapter is not None:
            # Another run of the same fleet may have come first, or a try of ours whose confirmation was lost.
            known = self._known(judged.user, judged.adapter.provenance["text_sha256"])
            if known is not None:
                return _result_of(known, before=not again)
        outcome = store_judged(self._store, judged, self._origin, stay)
        if outcome.release is None:
            return Result(judged.user, "failed", None, str(outcome.error))
        return _result_of(outcome.release, before=False)

    def _make_good(self, in_hand: _InHand, lost: Lost) -> Iterator[Result]:
        """Put a lost worker's shard back: whole the first time, then in halves, until one user is left to blame."""
        left = tuple(in_hand.waiting.values())
        shard = replace(in_hand.shard, lines=left)
        if not left:
            return
        self._false_starts = 0 if lost.ready else self._false_starts + 1
        if not lost.ready:
            if self._false_starts == FALSE_STARTS:
                raise TrainingError(
                    f"{FALSE_STARTS} workers in a row ended before they had loaded the base; the last: {lost.reason}",
                    remedy="Check that this machine has memory for the base, and run the same command again.",
                )
            self._again.append(shard)
        elif not shard.suspected:
            self._again.append(replace(shard, suspected=True))
        elif len(left) > 1:
            middle = len(left) // 2
            self._again.extend(replace(shard, lines=half) for half in (left[:middle], left[middle:]))
        else:
            (user,) = in_hand.waiting
            yield Result(user, "failed", None, f"training ended without a result more than once: {lost.reason}")


def _patiently(ask: Callable[[], _T]) -> _T:
    """Hours of training should not end because a database restarts, or because an erasure rewrites a file."""
    for _ in range(_STORE_TRIES - 1):
        try:
            return ask()
        except _PASSING:
            time.sleep(1)
    return ask()


def _result_of(release: Release | ReleaseSummary, *, before: bool) -> Result:
    state: FleetState = "served" if release.gate.passed else "held back"
    return Result(release.user, state, release.number, release.gate.reason, before)
