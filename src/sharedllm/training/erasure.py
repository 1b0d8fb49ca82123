"""Erasing a user: what the store holds of them, and what their unfinished training left beside it."""

from dataclasses import dataclass
from pathlib import Path

from sharedllm.errors import UnknownUser
from sharedllm.store.contract import Erased, Store
from sharedllm.training.checkpoints import erase_checkpoints


@dataclass(frozen=True)
class Erasure:
    """What an erasure removed.

    Attributes:
        stored: from the store.
        checkpoints: of unfinished training.
    """

    stored: Erased
    checkpoints: int


def erase_user(store: Store, folder: Path, user: str) -> Erasure:
    """Erase a user from a store and from a folder of checkpoints. Nobody may be training them meanwhile.

    Somebody whose first training never ended has checkpoints and no place in the store, and can be erased too.

    Raises:
        UnknownUser: there is nothing of theirs in either.
        StoreBusy, DiskFull: see `Store.erase`; their checkpoints are gone.
    """
    checkpoints = erase_checkpoints(folder, user)
    try:
        stored = store.erase(user)
    except UnknownUser:
        if not checkpoints:
            raise
        stored = Erased(user, 0, 0, 0)
    return Erasure(stored, checkpoints)
