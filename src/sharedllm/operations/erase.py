"""Erasing a user: what the store holds of them, what their unfinished training left beside it, and the receipt."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm.errors import StoreError, UnknownUser
from sharedllm.operations.locks import not_in_training
from sharedllm.store.accounts import Erased
from sharedllm.store.contract import Store
from sharedllm.training.checkpoints import erase_checkpoints, find_checkpoints, report_folder

if TYPE_CHECKING:
    from sharedllm.store.evidence.receipts import Derived, Receipt, Removed


@dataclass(frozen=True)
class Erasure:
    """What an erasure removed, calls of it that were interrupted included.

    Attributes:
        store: from which, and where its receipt is kept.
        stored: from the store.
        checkpoints: of unfinished training.
        report: what a fleet's report had kept, theirs and everybody else's, was dropped.
        jobs: that were ended.
        before: the receipt, where the erasure was over before this call.
    """

    store: Store
    stored: Erased
    checkpoints: int
    report: bool = False
    jobs: int = 0
    before: "Receipt | None" = None

    def receipt(self, running: "Sequence[Removed]" = (), derived: "Sequence[Derived]" = ()) -> "Receipt":
        """The signed receipt, which the store keeps from here on. It does not name the user.

        Args:
            running: what was stopped of theirs beside what the erasure removed.
            derived: what became of that which was made from their adapter and others'.

        Raises:
            StoreError: the signing key cannot be read or made (see `signing_key`, to be called before the erasure), or
                the receipt cannot be kept. The same erasure asked for again goes on from there.
        """
        from sharedllm.store.evidence.receipts import Derived, Removed, make_receipt, receipt_of
        from sharedllm.store.evidence.signing import signing_key

        if self.before is not None:
            return self.before
        removed = [
            Removed("releases", "store", self.stored.releases),
            Removed("events", "store", self.stored.events),
            Removed("API keys", "store", self.stored.keys),
            Removed("encryption key", "vault", int(self.stored.key_destroyed)),
            Removed("checkpoints of training", "data folder", self.checkpoints),
        ]
        dropped = [Derived("readings of a fleet report, and its adapter for everybody", "data folder", "dropped")]
        derived = [*(dropped if self.report else []), *derived]
        made = make_receipt(self.stored.user, [*removed, *running], derived, self.stored.audit, signing_key())
        return receipt_of(self.store.keep_receipt(self.stored.user, made.as_dict()))


def erase_user(store: Store, folder: Path, user: str, jobs: int = 0) -> Erasure:
    """Erase a user from a store and from a folder of checkpoints, and drop what was made from many people's adapters.

    Somebody whose first training never ended has checkpoints and no place in the store, and can be erased too, and so
    can somebody who has an API key alone. Whatever interrupts it, the same call goes on from there and ends with the
    same receipt, also if it had ended: the store has an account of it before anything is removed.

    Args:
        store: where their releases are.
        folder: of checkpoints.
        user: who is erased.
        jobs: how many jobs of theirs were ended.

    Raises:
        InTraining: a run that may train them has the folder in hand; nothing was erased.
        UnknownUser: there is nothing of theirs in either, and never was an erasure.
        StoreBusy, DiskFull: see `Store.erase`; their checkpoints are gone.
    """
    with not_in_training(folder, user):
        report = _may_have_releases(store, user) and report_folder(folder).exists()
        found = {"checkpoints": len(find_checkpoints(folder, user)), "report": int(report), "jobs": jobs}
        account = store.note_erasure(user, found)
        if account.receipt is not None:
            return _over(store, user, account.receipt)
        erase_checkpoints(folder, user)
        if report:
            shutil.rmtree(report_folder(folder))
        try:
            stored = store.erase(user)
        except UnknownUser:
            # It has checkpoints or jobs alone.
            stored = Erased(user, 0, 0, 0)
        removed = store.note_erasure(user, found).removed
    total = replace(
        stored,
        releases=removed.get("releases", 0),
        events=removed.get("events", 0),
        keys=removed.get("keys", 0),
        key_destroyed=stored.key_destroyed or bool(removed.get("key")),
    )
    return Erasure(store, total, removed.get("checkpoints", 0), bool(removed.get("report")), removed.get("jobs", 0))


def _over(store: Store, user: str, receipt: Mapping[str, object]) -> Erasure:
    from sharedllm.store.evidence.receipts import receipt_of

    before = receipt_of(receipt)
    removed = {(each.what, each.where): each.count for each in before.removed}
    stored = Erased(
        user,
        releases=removed["releases", "store"],
        events=removed["events", "store"],
        keys=removed["API keys", "store"],
        key_destroyed=bool(removed["encryption key", "vault"]),
        audit=before.audit,
    )
    checkpoints = removed["checkpoints of training", "data folder"]
    return Erasure(store, stored, checkpoints, jobs=removed.get(("trainings", "server"), 0), before=before)


def _may_have_releases(store: Store, user: str) -> bool:
    try:
        store.user(user)
    except UnknownUser:
        return False
    except StoreError:
        # What is wrong with the store, or with what it holds of them, is for the erasure to say.
        return True
    return True
