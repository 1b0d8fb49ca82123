"""Workers on a Ray cluster, or on this machine through Ray. The only file that imports ray."""

import contextlib
import logging
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from sharedllm.base.threads import WAITING
from sharedllm.cluster.workers.executors import (
    A,
    Executor,
    Halted,
    Lost,
    Over,
    Stepped,
    W,
    Worker,
    WorkerEvent,
    WorkerJob,
    check_workers,
    in_time,
    overdue,
)
from sharedllm.cluster.workers.placement import Machine, place
from sharedllm.errors import InvalidInput, SharedLLMError, TrainingError
from sharedllm.extras import need

_STEPS_EVERY_SECONDS = 5.0
_SECONDS_TO_STOP = 60.0
_ATTEMPTS = 3


@dataclass(eq=False)
class _Worker:
    """An actor, the call that returns once it has loaded the base, its work in Ray's memory, and the number of that.

    It was last heard of or given something at ``heard``, and had loaded the base then if it ``was_ready``.
    """

    actor: Any
    ready: Any
    work: Any = None
    number: int = 0
    heard: float = field(default_factory=time.monotonic)
    was_ready: bool = False


class RayExecutor(Executor[W, A]):
    """One Ray actor a worker, which loads the base once and answers every call with the next judged user.

    Ray retries nothing itself: a lost actor is reported, whoever handed out its work makes it good, and the next work
    starts another. Texts travel through Ray's memory, which Ray spills to disk when it is full. To resume what was
    trained on a machine that is gone, all machines have to see one folder of checkpoints.
    """

    def __init__(self, job: WorkerJob, address: str | None = None, workers: int | None = None) -> None:
        """Connect to a cluster, or start one on this machine.

        Args:
            job: what all work has in common.
            address: of a cluster, such as ``ray://head:10001`` or ``auto``; None starts one here.
            workers: how many work at once, each with an equal share of the cores; see `place`.

        Raises:
            MissingExtra: ray is not installed.
            InvalidInput: there are fewer cores than workers, or no workers.
            TrainingError: no cluster answers.
        """
        if workers is not None:
            check_workers(workers)
        self._ray = _connect(address)
        try:
            placed = place([_machine(node) for node in self._ray.nodes() if node["Alive"]], workers)
        except InvalidInput:
            self._ray.shutdown()
            raise
        self._workers, self._threads = placed.workers, placed.cores
        self._actor = self._ray.remote(
            num_cpus=placed.cores,
            num_gpus=placed.gpus,
            # One call that works, and beside it one that tells of its steps and one that stops it.
            max_concurrency=3,
            runtime_env={"env_vars": WAITING},
        )(_Actor)
        self._job = self._ray.put(job)
        self._idle: list[_Worker] = []
        self._busy: dict[Any, _Worker] = {}
        self._telling: dict[Any, _Worker] = {}
        self._unanswered: _Worker | None = None

    @property
    def idle(self) -> int:
        return self._workers - self.busy

    @property
    def busy(self) -> int:
        return len(self._busy) + (self._unanswered is not None)

    def submit(self, work: W) -> None:
        worker = self._idle.pop() if self._idle else self._start()
        self._begin(worker, self._ray.put(work), work.number)

    def wait(self, patience: float | None = None) -> WorkerEvent[A]:
        if self._unanswered is not None:
            self._unanswered.heard = time.monotonic()
            self._busy[self._unanswered.actor.next.remote()] = self._unanswered
            self._unanswered = None
        self._take_over()
        while True:
            left = {each: self._overdue(worker, patience) for each, worker in self._busy.items()}
            answers, _ = self._ray.wait([*left, *self._telling], num_returns=1, timeout=in_time(list(left.values())))
            if not answers:
                return self._lose(min(left, key=lambda each: left[each] or 0.0))
            (answer,) = answers
            if answer in self._busy:
                return self._heard(answer)
            worker = self._telling.pop(answer)
            # A worker that is lost says so in answer to its work.
            with contextlib.suppress(self._ray.exceptions.RayError):
                stepped = self._ray.get(answer)
                self._ask_for_steps(worker)
                if stepped.steps:
                    worker.heard = time.monotonic()
                    return WorkerEvent(worker.number, stepped)

    def _overdue(self, worker: _Worker, patience: float | None) -> float | None:
        if patience is not None and not worker.was_ready and self._is_ready(worker):
            worker.was_ready, worker.heard = True, time.monotonic()
        return overdue(worker.heard, worker.was_ready, patience, time.monotonic())

    def _lose(self, answer: Any) -> WorkerEvent[A]:
        worker = self._busy.pop(answer)
        self._ray.kill(worker.actor)
        silent = time.monotonic() - worker.heard
        return WorkerEvent(worker.number, Lost(f"its worker said nothing for {silent:,.0f} seconds", worker.was_ready))

    def _heard(self, answer: Any) -> WorkerEvent[A]:
        worker = self._busy.pop(answer)
        try:
            what = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            what = Lost(_what_happened(error), self._is_ready(worker))
        if isinstance(what, Over):
            worker.work = None
            self._idle.append(worker)
        elif isinstance(what, Lost | Halted):
            self._ray.kill(worker.actor)
        else:
            self._unanswered = worker
        return WorkerEvent(worker.number, what)

    def close(self) -> None:
        at_work = [*self._busy.values(), *([self._unanswered] if self._unanswered else [])]
        self._busy, self._telling, self._idle, self._unanswered = {}, {}, [], None
        stopping = [worker.actor.stop.remote() for worker in at_work]
        if stopping:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.wait(stopping, num_returns=len(stopping), timeout=_SECONDS_TO_STOP)
        self._ray.shutdown()

    def _start(self) -> _Worker:
        actor = self._actor.remote(self._job, self._threads)
        worker = _Worker(actor, actor.ready.remote())
        self._ask_for_steps(worker)
        return worker

    def _begin(self, worker: _Worker, work: Any, number: int) -> None:
        worker.work, worker.number, worker.heard = work, number, time.monotonic()
        self._busy[worker.actor.begin.remote(work)] = worker

    def _take_over(self) -> None:
        """Give the work of those who have no base yet to whoever is idle while nothing else is left to hand out.

        They may wait for ever: a machine that is gone has no room for them, nor have cores that others hold.
        """
        for answer, worker in list(self._busy.items()):
            if self._idle and not self._is_ready(worker):
                del self._busy[answer]
                self._ray.kill(worker.actor)
                self._begin(self._idle.pop(), worker.work, worker.number)

    def _ask_for_steps(self, worker: _Worker) -> None:
        self._telling[worker.actor.steps.remote(_STEPS_EVERY_SECONDS)] = worker

    def _is_ready(self, worker: _Worker) -> bool:
        try:
            self._ray.get(worker.ready, timeout=0)
        except self._ray.exceptions.RayError:
            return False
        return True


def _connect(address: str | None) -> Any:
    need("ray")
    import ray

    quietly = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        for left in reversed(range(_ATTEMPTS)):
            try:
                ray.init(address=address or "local", **quietly)
                break
            # The cluster is there, and could not start a server for this client, as a busy one cannot at once.
            except ConnectionAbortedError:
                if not left:
                    raise
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"No Ray cluster can be used at {address or 'this machine'}: {str(error).rstrip('.')}",
            remedy="Check the address, or leave it out to start Ray on this machine.",
        ) from error
    return ray


def _machine(node: dict[str, Any]) -> Machine:
    resources = node["Resources"]
    return Machine(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def _what_happened(error: Exception) -> str:
    """The error inside a call that failed, or what Ray says became of the worker."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return f"{type(cause).__name__}: {cause}"
    return f"its worker was lost ({type(error).__name__})"


class _Stopped(BaseException):
    """Raised inside the work when the run is to end; nothing that handles errors may catch it."""


class _Actor:
    """A worker's process. Errors of ours are answers, because Ray would dress them up."""

    def __init__(self, job: WorkerJob, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._answers: Generator[Any, None, None] | None = None
        self._turn = threading.Lock()
        self._stopping = False
        self._taken = self._told = 0
        self._worker: Worker[Any, Any] | SharedLLMError
        try:
            self._worker = job.worker()
        except SharedLLMError as error:
            self._worker = error

    def ready(self) -> None:
        """Returns once the base is loaded."""

    def begin(self, work: Any) -> Any:
        if isinstance(self._worker, SharedLLMError):
            return Halted(self._worker)
        self._answers = self._worker.do(work, self._go_on)
        return self.next()

    def next(self) -> Any:
        with self._turn:
            try:
                return next(self._answers, Over()) if self._answers else Over()
            except SharedLLMError as error:
                return Halted(error)
            except _Stopped:
                return Over()

    def steps(self, seconds: float) -> Stepped:
        """Those taken since the last time, told after so many seconds, so that asking again at once is no hurry."""
        time.sleep(seconds)
        taken, told = self._taken, self._told
        self._told = taken
        return Stepped(taken - told)

    def stop(self) -> None:
        """Returns once checkpoints are written."""
        self._stopping = True
        with self._turn:
            if self._answers is not None:
                self._answers.close()

    def _go_on(self, user: str, step: int) -> None:
        self._taken += 1
        if self._stopping:
            raise _Stopped
