"""What a fleet's workers do: train and judge the users of a shard."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharedllm.base.loading import Base
from sharedllm.cluster.workers.executors import Worker, WorkerJob, check_base
from sharedllm.errors import TextError
from sharedllm.evaluation.gate import Gate
from sharedllm.operations.authors import tokenized
from sharedllm.operations.train import Judged, train_and_judge
from sharedllm.operations.workplace import Workplace
from sharedllm.store.contract import Stay
from sharedllm.text.reading import UserText
from sharedllm.text.windows import TokenizedText, text_windows
from sharedllm.training.recipes import Recipe


@dataclass(frozen=True)
class FleetJob(WorkerJob):
    """What all shards of a run have in common.

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

    def worker(self) -> "Trainer":
        return Trainer(self)


@dataclass(frozen=True, eq=False)
class ShardWork:
    """The texts of a shard, by the number that its events carry, and the stays in which their users' training began.

    The worker empties the list as it reads.
    """

    number: int
    texts: list[UserText]
    stays: Mapping[str, Stay] = field(default_factory=dict)


class Trainer(Worker[ShardWork, Judged]):
    """What a worker makes once and uses for every shard.

    It keeps a judged user's checkpoint until it is asked for the next one, so that what was not stored is there again.
    """

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
        check_base(self.workplace.base, job.base, job.fingerprint)
        self._general = text_windows(job.general, self.workplace.base.encode, job.recipe.window)

    def do(self, work: ShardWork, on_step: Callable[[str, int], Any] | None = None) -> Generator[Judged, None, None]:
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
        work.texts.reverse()
        while work.texts:
            text = work.texts.pop()
            try:
                yield tokenized(self.workplace, text.user, text.split(), self._job.recipe.window)
            except TextError as error:
                refused.append(Judged(text.user, None, None, error))
