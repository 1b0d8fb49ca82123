"""One small file per user in training, so that a killed run resumes where each of them was."""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from sharedllm.adapters.adapter import Adapter
from sharedllm.cache_folder import data_dir
from sharedllm.errors import TrainingError
from sharedllm.files import keep_private, private_folder, refused, replace_private
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.store.contract import Position, Stay, Store
from sharedllm.training.recipes import Recipe

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class Progress:
    """Where one user's training stands.

    Attributes:
        step: steps taken.
        values, mean, square: the optimiser's row, ``[P]`` each; of a text in folds theirs before it, ``[rows, P]``.
        best: the row with the lowest validation loss so far, ``[P]``.
        best_loss: that loss in nats per token; infinite before the first check.
        stale: checks since.
        losses: (step, validation loss) of every check.
        sites: hash of the sites that the row acts at, and of the curvature if one is taken; None if an earlier version
            began it.
        read: of a text in folds, what its blocks were read with so far: float64 ``[candidates, windows]``, in nats.
    """

    step: int
    values: "torch.Tensor"
    mean: "torch.Tensor"
    square: "torch.Tensor"
    best: "torch.Tensor"
    best_loss: float
    stale: int
    losses: list[tuple[int, float]]
    sites: str | None = None
    read: "torch.Tensor | None" = None


class Checkpoints:
    """A folder of checkpoints, keyed by what the training depends on: base, format, recipe, user, text and start."""

    def __init__(self, folder: Path, base: str, stays: Mapping[str, Stay] | None = None) -> None:
        """A folder, for training on a base.

        Args:
            folder: made when it is needed.
            base: the base's fingerprint.
            stays: in which the training of users began: a checkpoint of an earlier stay is of somebody who was erased
                since, and counts for nothing. None, or nothing for a user, where nothing is published.
        """
        self._folder = folder
        self._base = base
        self._stays = stays or {}
        keep_private(folder)

    def save(self, user: str, text: str, recipe: Recipe, progress: Progress, start: Adapter | None = None) -> None:
        """Replace the user's checkpoint; a crash leaves the earlier one or this one.

        Raises:
            DiskFull: there is no room for it.
            TrainingError: the folder cannot be written to.
        """
        from safetensors.torch import save

        # Clones, because the best row may be the current one, and safetensors refuses shared memory.
        tensors = {name: getattr(progress, name).clone().cpu() for name in ("values", "mean", "square", "best")}
        if progress.read is not None:
            tensors["read"] = progress.read
        state = {
            "step": progress.step,
            "best_loss": progress.best_loss,
            "stale": progress.stale,
            "losses": progress.losses,
            "sites": progress.sites,
            "stay": astuple(self._stays[user]) if user in self._stays else None,
        }
        data = save(tensors, metadata={"progress": json.dumps(state)})
        keep(
            self._path(user, text, recipe, start),
            data,
            f"A checkpoint cannot be written to {self._folder}",
            "training resumes",
        )

    def load(self, user: str, text: str, recipe: Recipe, start: Adapter | None = None) -> Progress | None:
        """The user's checkpoint, or None where there is none that can be read."""
        path = self._path(user, text, recipe, start)
        try:
            with safe_open(path, framework="pt") as stored:
                state = json.loads(stored.metadata()["progress"])
                if not self._counts(user, state.get("stay")):
                    return None
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            return Progress(
                **tensors,
                step=state["step"],
                best_loss=state["best_loss"],
                stale=state["stale"],
                losses=[(step, loss) for step, loss in state["losses"]],
                sites=state.get("sites"),
            )
        except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError):
            return None

    def discard(self, user: str, text: str, recipe: Recipe, start: Adapter | None = None) -> None:
        """Delete the user's checkpoint for this text, recipe and start, if there is one."""
        self._path(user, text, recipe, start).unlink(missing_ok=True)

    def _counts(self, user: str, stay: Sequence[int] | None) -> bool:
        # Checkpoints of before there were stays say none.
        began = self._stays.get(user)
        return stay is None or began is None or Stay(*stay) == began

    def _path(self, user: str, text: str, recipe: Recipe, start: Adapter | None) -> Path:
        begun = [] if start is None else [hashlib.sha256(start.values.tobytes()).hexdigest()]
        run = digest(json.dumps([self._base, text, recipe.as_dict(), *begun], sort_keys=True))
        return self._folder / f"{digest(user)}-{run}.safetensors"


def checkpoint_folder() -> Path:
    """Where the command line keeps checkpoints: in the user's own data folder."""
    return data_dir() / "training"


def report_folder(folder: Path) -> Path:
    """Where a fleet's report keeps what it made of everybody's text and adapters, beside the checkpoints in a folder.

    All of it can be made again, and all of it is dropped when anybody is erased.
    """
    return folder / "fleet"


class UnfinishedTraining(Holder):
    """Every checkpoint in a folder, whatever base, text and recipe it was for."""

    holds = "checkpoints"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def found(self, user: str) -> list[Removed | Derived]:
        return [Removed("checkpoints of training", "data folder", len(self._of(user)))]

    def forget(self, user: str) -> list[Removed | Derived]:
        found = self.found(user)
        for path in self._of(user):
            path.unlink(missing_ok=True)
        return found

    def _of(self, user: str) -> list[Path]:
        # Also in the scratch folders that a killed process left.
        report = report_folder(self._folder)
        return [path for path in self._folder.rglob(f"{digest(user)}-*.safetensors") if report not in path.parents]


class FleetReadings(Holder):
    """What a fleet's report has made of everybody's text and adapters: all of it owes something to each of them."""

    holds = "readings"

    def __init__(self, folder: Path) -> None:
        self._report = report_folder(folder)

    def found(self, user: str) -> list[Removed | Derived]:
        what = "readings of a fleet report, and its adapter for everybody"
        return [Derived(what, "data folder", "dropped")] if self._report.exists() else []

    def forget(self, user: str) -> list[Removed | Derived]:
        found = self.found(user)
        if found:
            shutil.rmtree(self._report)
        return found


def forget_erased(store: Store, folder: Path) -> int:
    """Delete the checkpoints of those who were erased from a store since, on whichever machine; how many there were.

    To be called where training begins and where it has ended: what was written meanwhile is of those, too.

    Raises:
        StoreError: the store does not answer.
    """
    written: defaultdict[Stay, list[Path]] = defaultdict(list)
    for path in folder.rglob("*.safetensors"):
        stay = _stay_of(path)
        if stay is not None:
            written[stay].append(path)
    if not written:
        return 0
    log = store.position().log
    gone = store.erased_since(stay for stay in written if stay.log == log)
    for path in chain.from_iterable(written[stay] for stay in gone):
        path.unlink(missing_ok=True)
    return sum(len(written[stay]) for stay in gone)


def begin_report(store: Store, folder: Path) -> None:
    """Drop what an earlier report made of everybody's adapters, if anybody was erased since, on whichever machine.

    To be called before anything is read for a report.

    Raises:
        StoreError: the store does not answer.
        OSError: the report's folder cannot be written to.
    """
    report, end = report_folder(folder), store.position()
    mark = report / "position.json"
    try:
        began = Position(**json.loads(mark.read_bytes()))
    except (OSError, TypeError, ValueError):
        began = end
    erased = (change.kind == "erased" for change in store.changes(began.number))
    if report.exists() and (began.log != end.log or any(erased)):
        shutil.rmtree(report)
    if not mark.exists():
        private_folder(report)
        replace_private(mark, json.dumps(asdict(end)).encode())


def _stay_of(path: Path) -> Stay | None:
    try:
        with safe_open(path, framework="np") as stored:
            return Stay(*json.loads(stored.metadata()["progress"])["stay"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def keep(path: Path, data: bytes, what: str, next_time: str) -> None:
    """Write what an interrupted run will want again, whole or not at all, where only its owner may look.

    Args:
        path: where.
        data: what.
        what: cannot be done, if it cannot.
        next_time: what the same command does then.

    Raises:
        DiskFull: there is no room.
        TrainingError: the folder cannot be written.
    """
    try:
        private_folder(path.parent)
        replace_private(path, data)
    except OSError as error:
        raise refused(
            error,
            what,
            TrainingError,
            remedy="Make the folder writable, and run the same command again.",
            room=f"Free some space and run the same command again; {next_time}.",
        ) from error


def digest(value: str) -> str:
    """What stands for a user id, or for what a run depends on, in the name of a file: 32 hexadecimal digits."""
    return hashlib.sha256(value.encode()).hexdigest()[:32]
