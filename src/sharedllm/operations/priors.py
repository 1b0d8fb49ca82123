"""Whose texts are in the priors that were made here, or are being made."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sharedllm.base.frames import PRIOR, read_prior
from sharedllm.base.made import made_bases
from sharedllm.errors import BaseError, StoreError
from sharedllm.files import refused, replace_private
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.training.checkpoints import digest, keep

TO_BE_REBUILT = "to_be_rebuilt"
"""What the file of a prior says once somebody was erased whose text is in it."""

_REBUILD = "to be rebuilt: sharedllm base adapt"
_PEOPLE = "people.json"


def training_folder(folder: Path, name: str) -> Path:
    """Where the training of a prior is kept until the prior is there.

    Args:
        folder: of checkpoints.
        name: of the base to be.
    """
    return folder / "priors" / name


def note_people(training: Path, users: Sequence[str], run: str) -> None:
    """Say who is in a training before there is anything else of them in its folder; another run's is dropped.

    Args:
        training: what `training_folder` gave.
        users: everybody.
        run: what the training depends on.

    Raises:
        DiskFull, TrainingError: it cannot be written.
    """
    noted = {"run": digest(run), "people": [digest(user) for user in users]}
    try:
        if json.loads((training / _PEOPLE).read_bytes()) == noted:
            return
    except (OSError, ValueError):
        pass
    for left in training.iterdir() if training.is_dir() else ():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    data = json.dumps(noted).encode()
    keep(training / _PEOPLE, data, f"The training cannot be kept in {training}", "it is begun then")


def made_priors() -> dict[str, dict[str, Any]]:
    """What every prior that was made here says of itself, by its base's name; or, as ``damaged``, why it does not."""
    return {
        name: {"damaged": about.message} if isinstance(about, BaseError) else dict(about) for name, about in _made()
    }


class Priors(Holder):
    """Every prior that was made here, and every unfinished training of one.

    A finished one goes on answering, since everybody's adapters belong to it, and says that it is to be rebuilt without
    whoever was erased; it does not name them any more. An unfinished one is dropped.
    """

    holds = "priors"

    def __init__(self, folder: Path) -> None:
        """All that there are.

        Args:
            folder: of checkpoints.
        """
        self._folder = folder

    def found(self, user: str) -> list[Removed | Derived]:
        unreadable = [
            Derived("prior", name, f"still to do: {error.message}")
            for name, about in _made()
            if isinstance(error := about, BaseError)
        ]
        made = [Derived("prior", name, _REBUILD) for name, _, _ in self._with(user)]
        unfinished = [Derived("unfinished prior", path.name, "dropped") for path in self._unfinished(user)]
        count = len(made) + len(unfinished)
        own = [Removed("contributions to priors", "data folder", count)] if count else []
        return [*own, *made, *unfinished, *unreadable]

    def forget(self, user: str) -> list[Removed | Derived]:
        found = self.found(user)
        for training in self._unfinished(user):
            shutil.rmtree(training)
        for name, folder, about in self._with(user):
            left = [{"erased": True} if _is(each, user) else each for each in about["contributors"]]
            data = json.dumps({**about, "contributors": left, TO_BE_REBUILT: True}, indent=1).encode() + b"\n"
            try:
                replace_private(folder / PRIOR, data)
            except OSError as error:
                raise refused(error, f"The prior {name} cannot be marked as to be rebuilt", StoreError) from error
        return found

    def _with(self, user: str) -> list[tuple[str, Path, dict[str, Any]]]:
        return [
            (name, made_bases()[name], about)
            for name, about in _made()
            if not isinstance(about, BaseError) and any(_is(each, user) for each in about["contributors"])
        ]

    def _unfinished(self, user: str) -> list[Path]:
        return [path.parent for path in (self._folder / "priors").glob(f"*/{_PEOPLE}") if _may_be_in(path, user)]


def _made() -> Iterator[tuple[str, dict[str, Any] | BaseError]]:
    for name, folder in made_bases().items():
        try:
            about = read_prior(folder)
        except BaseError as error:
            yield name, error
        else:
            if about is not None:
                yield name, about


def _is(contributor: Any, user: str) -> bool:
    return isinstance(contributor, dict) and contributor.get("user") == user


def _may_be_in(path: Path, user: str) -> bool:
    try:
        return digest(user) in json.loads(path.read_bytes())["people"]
    except (OSError, ValueError, KeyError, TypeError):
        # Nobody can tell, so nobody's is kept.
        return True
