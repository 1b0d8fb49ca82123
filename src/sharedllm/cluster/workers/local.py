"""Workers on this machine: processes, so that one that is killed takes nobody along."""

import contextlib
import multiprocessing
import os
import signal
import socket
import struct
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic

from sharedllm.cluster.workers.executors import (
    A,
    Executor,
    Halted,
    Lost,
    Over,
    Stepped,
    W,
    WorkerEvent,
    WorkerJob,
    check_workers,
    in_time,
    overdue,
)
from sharedllm.errors import SharedLLMError

_STEPS_EVERY_SECONDS = 1.0
_SECONDS_TO_STOP = 60.0
_SECONDS_TO_PASS_ON = 60
"""How long either end of a pipe may leave the other one waiting in the middle of a message."""


@dataclass(frozen=True)
class _Listening:
    """The worker's process has started, and takes what it is sent at once."""


@dataclass(frozen=True)
class _Ready:
    """The worker has loaded the base."""


@dataclass(eq=False)
class _Worker(Generic[W]):
    """A process, its first work until it listens, and when it was last heard of or given something.

    A pipe holds less than a shard, and sending the first one at once would wait for the process.
    """

    process: SpawnProcess
    connection: Connection
    first: W | None
    ready: bool = False
    heard: float = field(default_factory=time.monotonic)

    def send(self, what: Any) -> None:
        self.heard = time.monotonic()
        try:
            self.connection.send(what)
        except ConnectionError:
            # One that is gone meanwhile is noticed by `wait`, as one that goes later would be.
            pass
        except OSError:
            # It does not take what it is sent. Half a message is no use to it.
            self.process.kill()

    def overdue(self, patience: float | None) -> float | None:
        return overdue(self.heard, self.ready, patience, time.monotonic())


class LocalExecutor(Executor[W, A]):
    """Processes started when there is work for them, each with a base of its own and its share of the cores.

    Each waits for a reply to every answer, which the next `wait` gives.
    """

    def __init__(self, job: WorkerJob, workers: int = 1) -> None:
        """Nobody is started yet.

        Raises:
            InvalidInput: fewer than one worker.
        """
        check_workers(workers)
        self._job, self._workers = job, workers
        self._idle: list[_Worker[W]] = []
        self._busy: dict[Connection, tuple[_Worker[W], int]] = {}
        self._unanswered: _Worker[W] | None = None

    @property
    def idle(self) -> int:
        return self._workers - len(self._busy)

    @property
    def busy(self) -> int:
        return len(self._busy)

    def submit(self, work: W) -> None:
        if self._idle:
            worker = self._idle.pop()
            worker.send(work)
        else:
            worker = self._start(work)
        self._busy[worker.connection] = worker, work.number

    def wait(self, patience: float | None = None) -> WorkerEvent[A]:
        while True:
            self._reply()
            left = {each: worker.overdue(patience) for each, (worker, _) in self._busy.items()}
            heard = wait(list(left), in_time(list(left.values())))
            if not heard:
                late = min(left, key=lambda each: left[each] or 0.0)
                worker, number = self._busy[late]
                silent = time.monotonic() - worker.heard
                return WorkerEvent(number, self._lose(worker, f"its worker said nothing for {silent:,.0f} seconds"))
            connection = next(each for each in self._busy if each in heard)
            worker, number = self._busy[connection]
            try:
                what = connection.recv()
            except (EOFError, ConnectionError):
                return WorkerEvent(number, self._lose(worker))
            except OSError:
                return WorkerEvent(number, self._lose(worker, "its worker stopped in the middle of an answer"))
            worker.heard = time.monotonic()
            if isinstance(what, _Listening):
                worker.send((self._job, worker.first))
                worker.first = None
                continue
            if isinstance(what, _Ready):
                worker.ready = True
                continue
            if isinstance(what, Over):
                del self._busy[connection]
                self._idle.append(worker)
            elif isinstance(what, Lost | Halted):
                self._lose(worker)
            elif not isinstance(what, Stepped):
                self._unanswered = worker
            return WorkerEvent(number, what)

    def _lose(self, worker: "_Worker[W]", reason: str | None = None) -> Lost:
        """Be rid of one that ended, or that is to be ended for a reason."""
        del self._busy[worker.connection]
        worker.connection.close()
        if reason is not None:
            worker.process.kill()
        worker.process.join(_SECONDS_TO_STOP)
        return Lost(reason or _how_it_ended(worker.process), worker.ready)

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

    def _start(self, work: W) -> "_Worker[W]":
        # Forking would copy a process that may have threads and database connections.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        _bound(ours)
        process = context.Process(target=_work, args=(theirs, self._workers), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours, work)

    def _reply(self) -> None:
        if self._unanswered is not None:
            worker, self._unanswered = self._unanswered, None
            worker.send(None)


def _bound(connection: Connection) -> None:
    """Have this end of a pipe raise where the other one stops in the middle of a message."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _SECONDS_TO_PASS_ON, 0))


def _how_it_ended(process: SpawnProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker ended with status {code}"


def _work(connection: Connection, workers: int) -> None:
    """The life of a worker: load the base, then do what comes until the driver is gone or says to stop."""
    # An interrupt from the keyboard reaches the whole group; the driver decides, and asks for an end with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(connection, workers)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        # Whatever was at work has left its checkpoints by now.
        return


def _serve(connection: Connection, workers: int) -> None:
    import torch

    ready = False
    try:
        connection.send(_Listening())
        # The work before the base: loading that takes a while, and the driver would wait as long to be rid of it.
        job, work = connection.recv()
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
        doing = job.worker()
        ready = True
        connection.send(_Ready())
        while True:
            steps = _Steps(connection)
            with contextlib.closing(doing.do(work, steps.count)) as answers:
                for answer in answers:
                    connection.send(answer)
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
