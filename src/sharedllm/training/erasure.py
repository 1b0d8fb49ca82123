"""Erasing a user: what the store holds of them, what their unfinished training left beside it, and the receipt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm.errors import UnknownUser
from sharedllm.store.contract import Erased, Store
from sharedllm.training.checkpoints import erase_checkpoints

if TYPE_CHECKING:
    from sharedllm.store.receipts import Derived, Receipt, Removed


@dataclass(frozen=True)
class Erasure:
    """What an erasure removed.

    Attributes:
        stored: from the store.
        checkpoints: of unfinished training.
    """

    stored: Erased
    checkpoints: int

    def receipt(self, running: "Sequence[Removed]" = (), derived: "Sequence[Derived]" = ()) -> "Receipt":
        """A signed receipt. It does not name the user.

        Args:
            running: what was stopped of theirs beside what the erasure removed.
            derived: what became of that which was made from their adapter and others'.

        Raises:
            StoreError: the signing key cannot be read or made; see `signing_key`, to be called before the erasure.
        """
        from sharedllm.store.receipts import Removed, make_receipt
        from sharedllm.store.signing import signing_key

        removed = [
            Removed("releases", "store", self.stored.releases),
            Removed("events", "store", self.stored.events),
            Removed("API keys", "store", self.stored.keys),
            Removed("encryption key", "vault", int(self.stored.key_destroyed)),
            Removed("checkpoints of training", "data folder", self.checkpoints),
        ]
        return make_receipt(self.stored.user, [*removed, *running], derived, self.stored.audit, signing_key())


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
