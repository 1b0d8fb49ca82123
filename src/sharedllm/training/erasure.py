"""Erasing a user: what the store holds of them, what their unfinished training left beside it, and the receipt."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm.errors import StoreError, UnknownUser
from sharedllm.store.contract import Erased, Store
from sharedllm.training.checkpoints import erase_checkpoints, report_folder
from sharedllm.training.holding import not_in_training

if TYPE_CHECKING:
    from sharedllm.store.receipts import Derived, Receipt, Removed


@dataclass(frozen=True)
class Erasure:
    """What an erasure removed.

    Attributes:
        stored: from the store.
        checkpoints: of unfinished training.
        report: what a fleet's report had kept, theirs and everybody else's, was dropped.
    """

    stored: Erased
    checkpoints: int
    report: bool = False

    def receipt(self, running: "Sequence[Removed]" = (), derived: "Sequence[Derived]" = ()) -> "Receipt":
        """A signed receipt. It does not name the user.

        Args:
            running: what was stopped of theirs beside what the erasure removed.
            derived: what became of that which was made from their adapter and others'.

        Raises:
            StoreError: the signing key cannot be read or made; see `signing_key`, to be called before the erasure.
        """
        from sharedllm.store.receipts import Derived, Removed, make_receipt
        from sharedllm.store.signing import signing_key

        removed = [
            Removed("releases", "store", self.stored.releases),
            Removed("events", "store", self.stored.events),
            Removed("API keys", "store", self.stored.keys),
            Removed("encryption key", "vault", int(self.stored.key_destroyed)),
            Removed("checkpoints of training", "data folder", self.checkpoints),
        ]
        dropped = [Derived("readings of a fleet report, and its adapter for everybody", "data folder", "dropped")]
        derived = [*(dropped if self.report else []), *derived]
        return make_receipt(self.stored.user, [*removed, *running], derived, self.stored.audit, signing_key())


def erase_user(store: Store, folder: Path, user: str) -> Erasure:
    """Erase a user from a store and from a folder of checkpoints, and drop what was made from many people's adapters.

    Somebody whose first training never ended has checkpoints and no place in the store, and can be erased too, and so
    can somebody who has an API key alone.

    Raises:
        InTraining: a run that may train them has the folder in hand; nothing was erased.
        UnknownUser: there is nothing of theirs in either.
        StoreBusy, DiskFull: see `Store.erase`; their checkpoints are gone.
    """
    with not_in_training(folder, user):
        checkpoints = erase_checkpoints(folder, user)
        # Before the store lets go of them: if that ends in an error, there may be no second time.
        report = _may_have_releases(store, user) and _drop(report_folder(folder))
        try:
            stored = store.erase(user)
        except UnknownUser:
            if not checkpoints:
                raise
            stored = Erased(user, 0, 0, 0)
    return Erasure(stored, checkpoints, report)


def _may_have_releases(store: Store, user: str) -> bool:
    try:
        store.user(user)
    except UnknownUser:
        return False
    except StoreError:
        # What is wrong with the store, or with what it holds of them, is for the erasure to say.
        return True
    return True


def _drop(folder: Path) -> bool:
    if not folder.exists():
        return False
    shutil.rmtree(folder)
    return True
