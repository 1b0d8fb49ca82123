"""What an erasure removes, and its receipt: kept before anything goes, so that nothing on the way loses them."""

import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sharedllm.errors import CorruptStore, InvalidInput
from sharedllm.holder import Derived, Removed


@dataclass(frozen=True)
class AuditHead:
    """How far an audit log goes: to the entry at ``place``, 0 for an empty log, with that ``hash``, in hexadecimal."""

    place: int
    hash: str


@dataclass(frozen=True)
class Written:
    """An entry of an audit log: its place, when in UTC, what happened, to a user or the store, and to which release."""

    place: int
    at: datetime
    kind: str
    of_user: bool
    number: int | None


@dataclass(frozen=True)
class Erased:
    """How much an erasure removed from a store.

    Attributes:
        user: who they were.
        releases, events, keys: how many of their releases, events and API keys. What an earlier call had removed that
            failed later is not counted again.
        key_destroyed: whether what was encrypted for them, wherever it was copied to, cannot be read any more.
        audit: how far the store's audit log went then; None where it has none.
    """

    user: str
    releases: int
    events: int
    keys: int
    key_destroyed: bool = False
    audit: AuditHead | None = None

    @property
    def removed(self) -> list[Removed]:
        """The same as a receipt says it."""
        return [*rows_removed(self.releases, self.events, self.keys), key_removed(self.key_destroyed)]


def no_audit_log() -> InvalidInput:
    """The store keeps no audit log."""
    return InvalidInput("The store is not encrypted, and has no audit log", remedy="Look at `sharedllm users history`.")


def rows_removed(releases: int, events: int, keys: int = 0) -> list[Removed]:
    """The rows that a store has removed."""
    return [
        Removed("releases", "store", releases),
        Removed("events", "store", events),
        Removed("API keys", "store", keys),
    ]


def key_removed(destroyed: bool) -> Removed:
    """Whether a user's key went from the vault."""
    return Removed("encryption key", "vault", int(destroyed))


_EARLIER = {
    "releases": ("releases", "store"),
    "events": ("events", "store"),
    "keys": ("API keys", "store"),
    "key": ("encryption key", "vault"),
    "checkpoints": ("checkpoints of training", "data folder"),
    "jobs": ("trainings", "server"),
}
"""What was removed, by the names that version ad0dd21 counted it under."""

_EARLIER_REPORT = Derived("readings of a fleet report, and its adapter for everybody", "data folder", "dropped")


def has_any(found: Iterable[Removed | Derived]) -> bool:
    """Whether anything that was found is a user's own."""
    return any(isinstance(each, Removed) and each.count for each in found)


@dataclass(frozen=True)
class Account:
    """Of one erasure: what its receipt will say.

    Attributes:
        removed: rows of the store are counted in the transaction that removes them, all else before it goes.
        derived: of which holders have told.
        receipt: once it is signed, as JSON; the erasure is over then.
    """

    removed: tuple[Removed, ...] = ()
    derived: tuple[Derived, ...] = ()
    receipt: Mapping[str, Any] | None = None

    def going_on(self, found: Iterable[Removed | Derived]) -> "Account":
        """With what is there to be removed now; what an interrupted call had counted may be gone by now, or not."""
        return self._joined(found, max)

    def plus(self, removed: Iterable[Removed]) -> "Account":
        """With what was removed for good."""
        return self._joined(removed, operator.add)

    def _joined(self, new: Iterable[Removed | Derived], join: Callable[[int, int], int]) -> "Account":
        removed = {(each.what, each.where): each for each in self.removed}
        derived = {(each.what, each.where): each for each in self.derived}
        for each in new:
            place = each.what, each.where
            if isinstance(each, Derived):
                derived[place] = each
            else:
                before = removed.get(place)
                removed[place] = replace(each, count=join(before.count, each.count)) if before else each
        return Account(tuple(removed.values()), tuple(derived.values()))

    def to_json(self) -> str:
        """The account as text."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "Account":
        """An account that `to_json` wrote.

        Raises:
            CorruptStore: it is not.
        """
        try:
            kept = json.loads(text)
            if "derived" not in kept:
                return _earlier(kept["removed"], kept["receipt"])
            removed = tuple(Removed(**each) for each in kept["removed"])
            return Account(removed, tuple(Derived(**each) for each in kept["derived"]), kept["receipt"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise damaged_account() from None


def _earlier(counts: Mapping[str, int], receipt: Mapping[str, Any] | None) -> Account:
    """An account as version ad0dd21 wrote it."""
    removed = tuple(Removed(*_EARLIER[name], count) for name, count in counts.items() if name in _EARLIER)
    return Account(removed, (_EARLIER_REPORT,) if counts.get("report") else (), receipt)


def damaged_account() -> CorruptStore:
    """What is kept of an erasure is not what was written."""
    return CorruptStore(
        "What the store holds of an erasure is not what was written", remedy="Restore it from a backup."
    )


class Accounts(ABC):
    """Accounts of erasures in a store: found by whoever knows the id, and telling nobody else whose they are.

    Of each user there is the latest. It stays when the erasure is over, and the same call ends with the same receipt.
    """

    @abstractmethod
    def note_erasure(self, user: str, found: Sequence[Removed | Derived]) -> Account:
        """Begin an erasure or go on with one, before anything is removed.

        Args:
            user: who is erased.
            found: what holders beside the store are about to remove of theirs.

        Returns:
            what is known of it by now. With a receipt, it was over, and there is nothing of the user that it missed.

        Raises:
            UnknownUser: there is nothing of the user, here or there, and was no erasure.
        """

    @abstractmethod
    def keep_receipt(self, user: str, receipt: Mapping[str, Any]) -> Mapping[str, Any]:
        """End an erasure with its receipt, which is kept for good once this returns; the one that counts.

        Another call may have come first: then that is its receipt, and this one is to be given to nobody.
        """
