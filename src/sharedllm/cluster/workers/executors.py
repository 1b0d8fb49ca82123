"""What every way of having work done elsewhere promises: on processes of this machine, or on a cluster."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sharedllm.base.loading import Base
from sharedllm.closing import Closing
from sharedllm.errors import InvalidInput, SharedLLMError, WrongBase

FALSE_STARTS = 3
"""Workers in a row that may be lost before they have loaded the base."""


class NumberedWork(Protocol):
    """What is handed to a worker at once."""

    @property
    def number(self) -> int:
        """What its events carry."""


W = TypeVar("W", bound=NumberedWork)
A = TypeVar("A")


class Worker(ABC, Generic[W, A]):
    """What a process makes once and uses for every piece of work."""

    @abstractmethod
    def do(self, work: W, on_step: Callable[[str, int], Any] | None = None) -> Generator[A, None, None]:
        """The answers to some work, one by one; closing the iterator ends it.

        Args:
            work: what is to be done.
            on_step: told now and then of whom steps are taken, and how many; may raise to end the work.
        """


class WorkerJob(ABC):
    """What all pieces of work have in common. It travels to every worker once."""

    @abstractmethod
    def worker(self) -> "Worker[Any, Any]":
        """Load what the work needs, where the work is done.

        Raises:
            SharedLLMError: it cannot be done at all.
        """


def check_base(base: Base, name: str, fingerprint: str) -> None:
    """See that a worker has the base that the run began with.

    Raises:
        WrongBase: the name means another base here.
    """
    if base.fingerprint != fingerprint:
        raise WrongBase(
            f"{name} is {base.fingerprint[:12]} on this worker, and {fingerprint[:12]} where the run began",
            remedy="Give every machine the same base.",
        )


def check_workers(workers: int) -> None:
    """See that there is somebody to work.

    Raises:
        InvalidInput: there is nobody.
    """
    if workers < 1:
        raise InvalidInput(f"{workers} workers are none to hand work to", remedy="Use at least 1.")


@dataclass(frozen=True)
class Stepped:
    """So many steps were taken since the last time, of what takes more than one."""

    steps: int


@dataclass(frozen=True)
class Over:
    """The work is done: every answer to it was given."""


@dataclass(frozen=True)
class Lost:
    """The worker is gone, or failed on something that is not an error of ours.

    Attributes:
        reason: what is known about it.
        ready: whether it had loaded the base before, so that what it worked on may be to blame.
    """

    reason: str
    ready: bool


@dataclass(frozen=True)
class Halted:
    """An error that would meet all work: no base, no room for checkpoints."""

    error: SharedLLMError


@dataclass(frozen=True, eq=False)
class WorkerEvent(Generic[A]):
    """Something that happened to a piece of work, by its number."""

    work: int
    what: A | Stepped | Over | Lost | Halted


class Executor(Closing, Generic[W, A]):
    """Workers, somewhere; used from one thread.

    A worker waits with an answer given until `wait` is called again, so that it can keep what was not taken.
    """

    @property
    @abstractmethod
    def idle(self) -> int:
        """Workers without work."""

    @property
    @abstractmethod
    def busy(self) -> int:
        """Pieces of work that are not over, lost or halted."""

    @abstractmethod
    def submit(self, work: W) -> None:
        """Give work to an idle worker."""

    @abstractmethod
    def wait(self, patience: float | None = None) -> WorkerEvent[A]:
        """The next thing that happens; there must be work.

        Args:
            patience: seconds after which a worker that has loaded its base and says nothing is ended, and lost; one
                that has not has half an hour at least. None waits for ever.
        """

    @abstractmethod
    def close(self) -> None:
        """Have everyone at work end it, and end them all. Closing twice is safe."""


STARTING_SECONDS = 1800.0
"""What a worker may take to load a base, or to be given a place to do it."""


def overdue(since: float, ready: bool, patience: float | None, now: float) -> float | None:
    """Seconds until a worker who last said something at ``since`` has said nothing for too long; None is never."""
    if patience is None:
        return None
    return since + (patience if ready else max(patience, STARTING_SECONDS)) - now


def in_time(seconds: "list[float | None]") -> float | None:
    """How long to wait for workers that are overdue in so many seconds."""
    given = [each for each in seconds if each is not None]
    return max(0.0, min(given)) if given else None
