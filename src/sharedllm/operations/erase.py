"""Erasing a user: whoever holds something of theirs forgets them, in one order, and one receipt says what each did."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from sharedllm.errors import InvalidInput, SharedLLMError, UnknownUser
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.operations.locks import not_in_training
from sharedllm.operations.priors import Priors
from sharedllm.store.contract import Store
from sharedllm.store.evidence.receipts import Receipt, make_receipt, receipt_of
from sharedllm.store.evidence.signing import check_signing_key, signing_key
from sharedllm.training.checkpoints import FleetReadings, UnfinishedTraining, checkpoint_folder

HOLDERS = ("uploads", "trainings", "checkpoints", "readings", "priors", "store", "requests", "snapshots")
"""Who forgets after whom, by `Holder.holds`.

First what would bring more into the store, then the store with its vault, and then what has taken something out of it,
or more would be taken out afterwards.
"""


def erase(store: Store, user: str, *, folder: Path | None = None, others: Sequence[Holder] = ()) -> Receipt:
    """Erase a user from a store, from a folder of checkpoints and from other holders; the signed receipt of it.

    Somebody whose first training never ended has checkpoints and no place in the store, and can be erased too, and so
    can somebody who has an API key alone. Whatever interrupts it, the same call goes on from there and ends with the
    same receipt, also if it had ended: the store has an account of it before anything is removed.

    Args:
        store: where their releases are, and where the receipt is kept.
        user: who is erased. The receipt does not name them.
        folder: of checkpoints; by default the one in the user's own data folder.
        others: who else may hold something of theirs.

    Raises:
        InvalidInput: one of the others has no place in `HOLDERS`; nothing was erased.
        InTraining: a run that may train them has the folder in hand; nothing was erased.
        UnknownUser: nobody holds anything of theirs, and there never was an erasure.
        StoreBusy, DiskFull: see `Store.erase`; the other holders have let go of them.
        StoreError: the signing key cannot be read or made, and nothing was erased; or the receipt cannot be kept.
    """
    for each in others:
        if getattr(each, "holds", None) not in HOLDERS:
            raise InvalidInput(
                f"Nothing says when {type(each).__name__} forgets a user: it holds {getattr(each, 'holds', None)!r}",
                remedy=f"Give it a place in HOLDERS ({__name__}).",
            )
    # Nobody is erased who could not be given a receipt, and for nobody a key is made whom nobody knows.
    check_signing_key()
    folder = checkpoint_folder() if folder is None else folder
    holders = sorted(
        [UnfinishedTraining(folder), FleetReadings(folder), Priors(folder), store, *others],
        key=lambda each: HOLDERS.index(each.holds),
    )
    with ExitStack() as stopped:
        for holder in holders:
            stopped.enter_context(holder.stopping(user))
        stopped.enter_context(not_in_training(folder, user))
        try:
            account = store.note_erasure(user, [each for holder in holders for each in holder.found(user)])
        except SharedLLMError:
            # The base may be answering them, of whom nothing is stored, or whom the store could not look for.
            _forget((each for each in holders if each.holds == "requests"), user)
            raise
        key = signing_key()
        if account.receipt is not None:
            # It was over. Somebody of that id may come into the store by now, but nothing is left of who they were.
            _forget(holders[holders.index(store) + 1 :], user)
            return receipt_of(account.receipt)
        done = _forget(holders, user)
        account = store.note_erasure(user, []).going_on(done)
        receipt = make_receipt(user, account.removed, account.derived, store.audit_head(), key)
        return receipt_of(store.keep_receipt(user, receipt.as_dict()))


def held(store: Store, user: str, *, folder: Path | None = None, others: Sequence[Holder] = ()) -> list[Removed]:
    """What is held of a user, as far as it can be told without erasing them, by whoever would forget it.

    Args:
        store: where their releases are.
        user: whose. Somebody of whom nothing is held is no error.
        folder: of checkpoints; by default the one in the user's own data folder.
        others: who else may hold something of theirs.

    Raises:
        StoreError: the store does not answer.
    """
    folder = checkpoint_folder() if folder is None else folder
    try:
        releases, events = sum(1 for _ in store.every_release(user)), len(store.events(user))
    except UnknownUser:
        releases = events = 0
    counts = [Removed("releases", "store", releases), Removed("events", "store", events)]
    for holder in (UnfinishedTraining(folder), *others):
        counts += [each for each in holder.found(user) if isinstance(each, Removed)]
    return counts


def _forget(holders: Iterable[Holder], user: str) -> list[Removed | Derived]:
    """Have all of them forget a user, also where one cannot."""
    done: list[Removed | Derived] = []
    failures: list[Exception] = []
    for holder in holders:
        try:
            done += holder.forget(user)
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return done
