"""Who has a folder of checkpoints in hand: any number of runs may train there, or else somebody is erased from it.

An erasure beside a run that trains the same person would be undone by the run's next checkpoint or release, after its
receipt was signed. So both hold empty files in the folder, locked, which are deleted by whoever holds them last; the
system lets go of those of a process that is killed. A lock holds on one machine; runs elsewhere know nothing of it.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sharedllm.errors import InTraining, StoreError, TrainingError
from sharedllm.files import private_folder, refused
from sharedllm.store.contract import Store
from sharedllm.training.checkpoints import digest, forget_erased

_EVERYBODY = "everybody"

_PATIENCE_SECONDS = 1.0
"""Other erasures, and runs that end just now, have a folder for a moment; a run that goes on has it for longer."""


@contextmanager
def in_training(folder: Path, *users: str) -> Iterator[None]:
    """Hold off the erasure of whoever is trained in a folder, until the block is left.

    Args:
        folder: of checkpoints; it is made if it is not there.
        users: who is trained. One alone holds off only their own erasure; several, or none named, everybody's.

    Raises:
        InTraining: somebody is being erased.
        DiskFull, TrainingError: the folder cannot be locked.
    """
    with _locked(folder, users[0] if len(users) == 1 else None, fcntl.LOCK_SH):
        yield


@contextmanager
def training_into(store: Store, folder: Path, *users: str) -> Iterator[None]:
    """Hold off erasures as `in_training` does, and keep no checkpoint of whoever is erased from another machine.

    Raises:
        InTraining, DiskFull, TrainingError: as for `in_training`.
        StoreError: the store does not answer.
    """
    with in_training(folder, *users):
        forget_erased(store, folder)
        try:
            yield
        finally:
            # Whoever was erased from another machine meanwhile may have been written since.
            with suppress(StoreError):
                forget_erased(store, folder)


@contextmanager
def not_in_training(folder: Path, user: str) -> Iterator[None]:
    """Hold off every run that may train a user in a folder, until the block is left.

    Raises:
        InTraining: such a run is under way.
        DiskFull, TrainingError: the folder cannot be locked.
    """
    with _locked(folder, None, fcntl.LOCK_EX), _locked(folder, user, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(folder: Path, user: str | None, mode: int) -> Iterator[None]:
    path = folder / f"{_EVERYBODY if user is None else digest(user)}.lock"
    try:
        private_folder(folder)
        file = _lock(path, mode)
    except BlockingIOError:
        raise _in_use(folder, mode) from None
    except OSError as error:
        raise refused(
            error,
            f"{folder}, which is kept for training, cannot be locked",
            TrainingError,
            remedy="Make it writable, on a file system that has locks.",
        ) from error
    try:
        yield
    finally:
        # Of several who hold it only the last can have it alone, and so knows that nobody needs the file.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                path.unlink()
        os.close(file)


def _lock(path: Path, mode: int) -> int:
    """Open and lock a file; the descriptor.

    Raises:
        BlockingIOError: others hold it, and go on holding it.
        OSError: the file cannot be made, or not be locked.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
            # A file that was deleted meanwhile holds nobody off: whoever comes next makes another.
            if _is_at(file, path):
                return file
        except OSError as error:
            if not isinstance(error, BlockingIOError) or time.monotonic() > until:
                os.close(file)
                raise
        os.close(file)
        time.sleep(0.01)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _in_use(folder: Path, mode: int) -> InTraining:
    if mode == fcntl.LOCK_SH:
        # Also told to users of a server, whom its folders do not concern.
        return InTraining("Somebody is being erased here", remedy="Do the same again once that is done.")
    return InTraining(
        f"A run is under way in {folder} that may train them, and would undo the erasure",
        remedy="End it (train, fleet train, fleet report or base adapt), erase them, and run it again without their"
        " text; it goes on from where it was.",
    )
