"""A prior's gradients on workers: each step's people are shared out, and the sums of their parts added in one order.

A share is a run of people that depends on the step's people and the number of shares alone, not on who works. So a
worker that is lost changes no bit, and the number of workers nothing but rounding.
"""

import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm.base.loading import Base
from sharedllm.cluster.workers.executors import (
    FALSE_STARTS,
    STARTING_SECONDS,
    Executor,
    Halted,
    Lost,
    Over,
    Stepped,
    Worker,
    WorkerJob,
    check_base,
)
from sharedllm.errors import InvalidInput, TrainingError
from sharedllm.training.frame_gradients import FrameGradients, Gradients
from sharedllm.training.prior import PriorRecipe

if TYPE_CHECKING:
    import torch

_TRIES = 3
"""Workers that may be lost over one share."""

_PATIENCE, _LEAST_PATIENCE = 20.0, 120.0
"""A worker is taken to hang after so many times what the slowest answer took, and not before so many seconds."""

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class GradientJob(WorkerJob):
    """What all shares of a prior have in common.

    Attributes:
        base: name of the bare base, as `load_base` takes it, wherever the worker runs.
        fingerprint: of that base; a worker that loads another one refuses.
        rank: of the frames.
    """

    base: str
    fingerprint: str
    rank: int

    def worker(self) -> "GradientWorker":
        from sharedllm.base.loading import load_base

        base = load_base(self.base)
        check_base(base, self.base, self.fingerprint)
        return GradientWorker(base, self.rank)


@dataclass(frozen=True, eq=False)
class Share:
    """Some of a step's people, and the frames: what `FrameGradients.gradient` takes, as arrays."""

    number: int
    values: Array
    own: Array
    windows: npt.NDArray[np.int64]
    bound: float | None


@dataclass(frozen=True, eq=False)
class Sums:
    """What `FrameGradients.gradient` gives, as arrays, and the seconds that it took."""

    losses: Array
    of_values: Array
    of_own: Array
    seconds: float


class GradientWorker(Worker[Share, Sums]):
    """A base with frames, of which only gradients are taken."""

    def __init__(self, base: Base, rank: int) -> None:
        self._device, self._gradients = base.device, FrameGradients(base, rank)

    def do(self, work: Share, on_step: Callable[[str, int], Any] | None = None) -> Generator[Sums, None, None]:
        """The one answer to a share."""
        import torch

        began = time.monotonic()
        # Copies: what came through Ray's memory may not be written to.
        values, own = (torch.tensor(each, device=self._device) for each in (work.values, work.own))
        losses, of_values, of_own = self._gradients.gradient(values, own, np.array(work.windows), work.bound)
        yield Sums(
            losses.cpu().numpy(), of_values.cpu().numpy(), of_own.cpu().numpy(), seconds=time.monotonic() - began
        )


class SharedOut:
    """Gradients that workers compute; `gradient` is that of `FrameGradients`."""

    def __init__(self, executor: Executor[Share, Sums], recipe: PriorRecipe) -> None:
        """Nothing is handed out yet.

        Args:
            executor: where. Whoever made it closes it.
            recipe: how the prior is trained.

        Raises:
            InvalidInput: there are more workers than a step reads people.
        """
        self._executor, self._workers = executor, executor.idle
        if self._workers > recipe.people:
            raise InvalidInput(
                f"There are {self._workers} workers, and a step of a prior reads {recipe.people} people",
                remedy=f"Use at most {recipe.people} workers.",
            )
        self._handed_out = 0
        self._false_starts = 0
        self._slowest = 0.0

    def gradient(
        self, values: "torch.Tensor", own: "torch.Tensor", windows: npt.NDArray[np.int64], bound: float | None = None
    ) -> Gradients:
        """See `FrameGradients.gradient`.

        Raises:
            BaseError, WrongBase: the base does not load where a worker is, or is another one there.
            TrainingError: workers are lost again and again.
        """
        import torch

        sums = self._done(_shares(self._workers, values, own, windows, bound))
        total = torch.zeros_like(values)
        for each in sums:
            total += torch.tensor(each.of_values, device=values.device)
        losses = np.concatenate([np.zeros(0), *(each.losses for each in sums)])
        of_own = np.concatenate([np.zeros((0, own.shape[1])), *(each.of_own for each in sums)])
        return torch.from_numpy(losses).to(own), total, torch.from_numpy(of_own).to(own)

    def _done(self, shares: list[Share]) -> list[Sums]:
        """The answers to all shares, in their order, whoever is lost meanwhile."""
        first = self._handed_out
        self._handed_out += len(shares)
        waiting, sums = deque(range(len(shares))), dict[int, Sums]()
        tries = [0] * len(shares)
        while waiting or self._executor.busy:
            while waiting and self._executor.idle:
                place = waiting.popleft()
                self._executor.submit(replace(shares[place], number=first + place))
            event = self._executor.wait(self._patience)
            place = event.work - first
            match event.what:
                case Halted(error):
                    raise error
                case Lost() as lost:
                    tries[place] += 1
                    self._false_starts = 0 if lost.ready else self._false_starts + 1
                    self._check(tries[place], lost)
                    waiting.append(place)
                case Over() | Stepped():
                    pass
                case answer:
                    sums[place] = answer
                    self._false_starts = 0
                    self._slowest = max(self._slowest, answer.seconds)
        return [sums[place] for place in range(len(shares))]

    @property
    def _patience(self) -> float:
        return max(_LEAST_PATIENCE, _PATIENCE * self._slowest) if self._slowest else STARTING_SECONDS

    def _check(self, tries: int, lost: Lost) -> None:
        if self._false_starts == FALSE_STARTS:
            what = f"{FALSE_STARTS} workers in a row ended before they had loaded the base"
        elif tries == _TRIES:
            what = f"{_TRIES} workers were lost over the same people of one step"
        else:
            return
        raise TrainingError(
            f"{what}; the last: {lost.reason}",
            remedy="Check that every worker has memory for a base, or use fewer, and run the same command again: it"
            " goes on from the last checkpoint.",
        )


def _shares(
    count: int, values: "torch.Tensor", own: "torch.Tensor", windows: npt.NDArray[np.int64], bound: float | None
) -> list[Share]:
    """People in their order, as equally as can be; nobody gets none."""
    frames, coordinates = values.cpu().numpy(), own.cpu().numpy()
    each = len(windows) // max(len(own), 1)
    ends = np.linspace(0, len(own), min(count, len(own)) + 1).astype(int)
    return [
        Share(0, frames, coordinates[begin:end], windows[begin * each : end * each], bound)
        for begin, end in pairwise(ends)
    ]
