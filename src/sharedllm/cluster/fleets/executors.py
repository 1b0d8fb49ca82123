"""What every way of running a fleet's shards promises, and the work itself, which is the same on all of them."""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sharedllm.base.conversations import learned_ids
from sharedllm.base.loading import Base
from sharedllm.closing import Closing
from sharedllm.errors import SharedLLMError, TextError, WrongBase
from sharedllm.evaluation.gate import Gate
from sharedllm.operations.train import Judged, train_and_judge
from sharedllm.operations.workplace import Workplace
from sharedllm.store.contract import Stay
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.reading import UserText
from sharedllm.text.splits import split_passages
from sharedllm.text.windows import TokenizedText, text_windows
from sharedllm.training.recipes import Recipe


@dataclass(frozen=True)
class FleetJob:
    """What all shards of a run have in common. It travels to every worker once.

    Attributes:
        base: name of the base, as `load_base` takes it, wherever the worker runs.
        fingerprint: of that base; a worker that loads another one refuses.
        recipe: how to train.
        general: general text, for the gate.
        checkpoints: the folder of unfinished training.
        gate: what an adapter must show.
    """

    base: str
    fingerprint: str
    recipe: Recipe
    general: str
    checkpoints: Path
    gate: Gate

    @staticmethod
    def of(workplace: Workplace, recipe: Recipe) -> "FleetJob":
        """What is to be done at a workplace, whose base is not loaded for it.

        Raises:
            BaseError, UnknownName, DownloadError: the base or general text cannot be had.
        """
        general, folder = workplace.general_text("validation"), workplace.folder.absolute()
        return FleetJob(workplace.name, workplace.fingerprint, recipe, general, folder, Gate())


@dataclass(frozen=True, eq=False)
class ShardWork:
    """The texts of a shard, by the number that its events carry, and the stays in which their users' training began.

    The worker empties the list as it reads.
    """

    number: int
    texts: list[UserText]
    stays: Mapping[str, Stay] = field(default_factory=dict)


@dataclass(frozen=True)
class Stepped:
    """So many training steps of single users were taken since the last time."""

    steps: int


@dataclass(frozen=True)
class Over:
    """The work is done: every user of it was judged."""


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
    """An error that would meet every user: no base, no room for checkpoints."""

    error: SharedLLMError


@dataclass(frozen=True, eq=False)
class ShardEvent:
    """Something that happened to a piece of work, by its number."""

    work: int
    what: Judged | Stepped | Over | Lost | Halted


class Executor(Closing):
    """Workers that train, somewhere; used from one thread.

    A worker keeps a judged user's checkpoint until `wait` is called again, so that what was not stored is there again.
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
    def submit(self, work: ShardWork) -> None:
        """Give work to an idle worker."""

    @abstractmethod
    def wait(self) -> ShardEvent:
        """The next thing that happens; there must be work."""

    @abstractmethod
    def close(self) -> None:
        """Have everyone at work write checkpoints, and end them all. Closing twice is safe."""


class Trainer:
    """What a worker makes once and uses for every piece of work of a job."""

    def __init__(self, job: FleetJob, base: "str | Base | None" = None) -> None:
        """Load the base.

        Args:
            job: what all work has in common.
            base: by default the job's; one that is loaded already need not be again.

        Raises:
            BaseError, UnknownName: see `load_base`.
            WrongBase: the name means another base here than where the run was started.
        """
        self._job, self.workplace = job, Workplace(base or job.base, folder=job.checkpoints)
        fingerprint = self.workplace.base.fingerprint
        if fingerprint != job.fingerprint:
            raise WrongBase(
                f"{job.base} is {fingerprint[:12]} on this worker, and {job.fingerprint[:12]} where the run began",
                remedy="Give every machine the same base.",
            )
        self._general = text_windows(job.general, self.workplace.base.encode, job.recipe.window)

    def train(self, work: ShardWork, on_step: Callable[[str, int], Any] | None = None) -> Generator[Judged, None, None]:
        """Train and judge every user of some work; one whose text is too short comes with that error.

        Closing the iterator writes checkpoints of everyone who is not done, among them the one just judged.

        Raises:
            DiskFull, TrainingError: a checkpoint cannot be written.
        """
        refused: deque[Judged] = deque()
        # It holds off erasures for itself: a worker whose driver was killed writes checkpoints on its way out.
        training = train_and_judge(
            self.workplace,
            self._tokenized(work, refused),
            self._job.recipe,
            gate=self._job.gate,
            general=self._general,
            stays=work.stays,
            on_step=on_step,
        )
        with closing(training):
            for judged in training:
                while refused:
                    yield refused.popleft()
                yield judged
        yield from refused

    def _tokenized(self, work: ShardWork, refused: deque[Judged]) -> Iterator[TokenizedText]:
        tokens = self.workplace.base.tokens
        converse = partial(learned_ids, tokens)
        work.texts.reverse()
        while work.texts:
            text = work.texts.pop()
            try:
                split = split_passages(text.passages, user=text.user)
                window = self._job.recipe.window
                yield tokenize_to_train(text.user, split, tokens.encode, converse=converse, window=window)
            except TextError as error:
                refused.append(Judged(text.user, None, None, error))
