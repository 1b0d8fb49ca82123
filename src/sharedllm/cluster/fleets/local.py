"""A fleet on this machine: worker processes, so that one that is killed takes nobody along."""

import contextlib
import multiprocessing
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from sharedllm.cluster.fleets.executors import (
    Executor,
    FleetJob,
    Halted,
    Lost,
    Over,
    ShardEvent,
    ShardWork,
    Stepped,
    Trainer,
)
from sharedllm.errors import SharedLLMError
from sharedllm.operations.train import Judged

_STEPS_EVERY_SECONDS = 1.0
_SECONDS_TO_STOP = 60.0


@dataclass(frozen=True)
class _Listening:
    """The worker's process has started, and takes what it is sent at once."""


@dataclass(frozen=True)
class _Ready:
    """The worker has loaded the base."""


@dataclass(eq=False)
class _Worker:
    """A process, and its first work until it listens: a pipe holds less than a shard, and sending would wait for it."""

    process: SpawnProcess
    connection: Connection
    first: ShardWork | None
    ready: bool = False


class LocalExecutor(Executor):
    """Processes started when there is work for them, each with a base of its own and its share of the cores.

    Each waits for an answer to every judged user, which the next `wait` gives: until then the checkpoint stays.
    """

    def __init__(self, job: FleetJob, workers: int = 1) -> None:
        self._job, self._workers = job, workers
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, int]] = {}
        self._unanswered: Connection | None = None

    @property
    def idle(self) -> int:
        return self._workers - len(self._busy)

    @property
    def busy(self) -> int:
        return len(self._busy)

    def submit(self, work: ShardWork) -> None:
        if self._idle:
            worker = self._idle.pop()
            _send(worker.connection, work)
        else:
            worker = self._start(work)
        self._busy[worker.connection] = worker, work.number

    def wait(self) -> ShardEvent:
        while True:
            self._answer()
            heard = wait(list(self._busy))
            connection = next(each for each in self._busy if each in heard)
            worker, number = self._busy[connection]
            try:
                what = connection.recv()
            except (EOFError, OSError):
                what = Lost(_how_it_ended(worker.process), worker.ready)
            if isinstance(what, _Listening):
                _send(connection, (self._job, worker.first))
                worker.first = None
                continue
            if isinstance(what, _Ready):
                worker.ready = True
                continue
            if isinstance(what, Judged):
                self._unanswered = connection
            elif isinstance(what, Over):
                del self._busy[connection]
                self._idle.append(worker)
            elif isinstance(what, Lost | Halted):
                del self._busy[connection]
                connection.close()
                worker.process.join(_SECONDS_TO_STOP)
            return ShardEvent(number, what)

    def close(self) -> None:
        workers = [worker for worker, _ in self._busy.values()] + self._idle
        self._busy, self._idle = {}, []
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            # Ending the pipe as well ends one that is waiting to say something.
            worker.connection.close()
            worker.process.join(_SECONDS_TO_STOP)
            worker.process.kill()

    def _start(self, work: ShardWork) -> _Worker:
        # Forking would copy a process that may have threads and database connections.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._workers), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, work)

    def _answer(self) -> None:
        if self._unanswered is not None:
            connection, self._unanswered = self._unanswered, None
            _send(connection, None)


def _send(connection: Connection, what: tuple[FleetJob, ShardWork | None] | ShardWork | None) -> None:
    # A worker that is gone meanwhile is noticed by `wait`, as one that goes later would be.
    with contextlib.suppress(ConnectionError):
        connection.send(what)


def _how_it_ended(process: SpawnProcess) -> str:
    process.join(_SECONDS_TO_STOP)
    code = process.exitcode
    if code is not None and code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker ended with status {code}"


def _work(connection: Connection, workers: int) -> None:
    """The life of a worker: load the base, then train what comes until the driver is gone or says to stop."""
    # An interrupt from the keyboard reaches the whole group; the driver decides, and asks for an end with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(connection, workers)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        # Whatever was in training has its checkpoints by now.
        return


def _serve(connection: Connection, workers: int) -> None:
    import torch

    ready = False
    try:
        connection.send(_Listening())
        # The work before the base: loading that takes a while, and the driver would wait as long to be rid of it.
        job, work = connection.recv()
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
        trainer = Trainer(job)
        ready = True
        connection.send(_Ready())
        while True:
            steps = _Steps(connection)
            with contextlib.closing(trainer.train(work, steps.count)) as training:
                for judged in training:
                    connection.send(judged)
                    connection.recv()
            connection.send(Over())
            work = connection.recv()
    except SharedLLMError as error:
        connection.send(Halted(error))
    except (EOFError, ConnectionError):
        raise
    except Exception as error:
        connection.send(Lost(f"{type(error).__name__}: {error}", ready))


class _Steps:
    """Tells the driver now and then how many steps were taken, and so notices when it is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._steps, self._told_at = 0, time.monotonic()

    def count(self, user: str, step: int) -> None:
        self._steps += 1
        if time.monotonic() - self._told_at > _STEPS_EVERY_SECONDS:
            self._connection.send(Stepped(self._steps))
            self._steps, self._told_at = 0, time.monotonic()
