"""One small file per user in training, so that a killed run resumes where each of them was."""

import errno
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from sharedllm.cache import data_dir
from sharedllm.errors import DiskFull, TrainingError
from sharedllm.files import keep_private, private_folder, replace_private
from sharedllm.training.recipes import Recipe

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class Progress:
    """Where one user's training stands.

    Attributes:
        step: steps taken.
        values, mean, square: the optimiser's row, ``[P]`` each.
        best: the row with the lowest validation loss so far.
        best_loss: that loss in nats per token; infinite before the first check.
        stale: checks since.
        losses: (step, validation loss) of every check.
    """

    step: int
    values: "torch.Tensor"
    mean: "torch.Tensor"
    square: "torch.Tensor"
    best: "torch.Tensor"
    best_loss: float
    stale: int
    losses: list[tuple[int, float]]


class Checkpoints:
    """A folder of checkpoints, keyed by what the training depends on: base, format, recipe, user and text."""

    def __init__(self, folder: Path, base: str) -> None:
        self._folder = folder
        self._base = base
        keep_private(folder)

    def save(self, user: str, text: str, recipe: Recipe, progress: Progress) -> None:
        """Replace the user's checkpoint; a crash leaves the earlier one or this one.

        Raises:
            DiskFull: there is no room for it.
            TrainingError: the folder cannot be written to.
        """
        from safetensors.torch import save

        # Clones, because the best row may be the current one, and safetensors refuses shared memory.
        tensors = {name: getattr(progress, name).clone().cpu() for name in ("values", "mean", "square", "best")}
        state = {
            "step": progress.step,
            "best_loss": progress.best_loss,
            "stale": progress.stale,
            "losses": progress.losses,
        }
        data = save(tensors, metadata={"progress": json.dumps(state)})
        path = self._path(user, text, recipe)
        try:
            private_folder(path.parent)
            replace_private(path, data)
        except OSError as error:
            what = f"A checkpoint cannot be written to {self._folder}: {error.strerror}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(
                    what, remedy="Free some space and run the same command again; training resumes."
                ) from error
            raise TrainingError(what, remedy="Make the folder writable, and run the same command again.") from error

    def load(self, user: str, text: str, recipe: Recipe) -> Progress | None:
        """The user's checkpoint, or None where there is none that can be read."""
        path = self._path(user, text, recipe)
        try:
            with safe_open(path, framework="pt") as stored:
                state = json.loads(stored.metadata()["progress"])
                tensors = {name: stored.get_tensor(name) for name in ("values", "mean", "square", "best")}
            return Progress(
                **tensors,
                step=state["step"],
                best_loss=state["best_loss"],
                stale=state["stale"],
                losses=[(step, loss) for step, loss in state["losses"]],
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def discard(self, user: str, text: str, recipe: Recipe) -> None:
        """Delete the user's checkpoint for this text and recipe, if there is one."""
        self._path(user, text, recipe).unlink(missing_ok=True)

    def _path(self, user: str, text: str, recipe: Recipe) -> Path:
        run = digest(json.dumps([self._base, text, recipe.as_dict()], sort_keys=True))
        return self._folder / f"{digest(user)}-{run}.safetensors"


def checkpoint_folder() -> Path:
    """Where the command line keeps checkpoints: in the user's own data folder."""
    return data_dir() / "training"


def report_folder(folder: Path) -> Path:
    """Where a fleet's report keeps what it made of everybody's text and adapters, beside the checkpoints in a folder.

    All of it can be made again, and all of it is dropped when anybody is erased.
    """
    return folder / "fleet"


def erase_checkpoints(folder: Path, user: str) -> int:
    """Delete every checkpoint of a user, whatever base, text and recipe it was for; returns how many there were."""
    # Also in the scratch folders that a killed process left.
    report = report_folder(folder)
    found = [path for path in folder.rglob(f"{digest(user)}-*.safetensors") if report not in path.parents]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def digest(value: str) -> str:
    """What stands for a user id, or for what a run depends on, in the name of a file: 32 hexadecimal digits."""
    return hashlib.sha256(value.encode()).hexdigest()[:32]
