"""What an erasure removes, and its receipt: kept before anything goes, so that nothing on the way loses them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sharedllm.errors import CorruptStore


@dataclass(frozen=True)
class AuditHead:
    """How far an audit log goes: to the entry at ``place``, 0 for an empty log, with that ``hash``, in hexadecimal."""

    place: int
    hash: str


@dataclass(frozen=True)
class Erased:
    """How much an erasure removed.

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


@dataclass(frozen=True)
class Account:
    """Of one erasure.

    Attributes:
        removed: how many of what, by names that whoever erases gives; ``key`` is 1 where an encryption key goes, and
            ``releases``, ``events`` and ``keys`` are counted in the transaction that removes them.
        receipt: once it is signed, as JSON; the erasure is over then.
    """

    removed: Mapping[str, int]
    receipt: Mapping[str, Any] | None = None

    def going_on(self, removed: Mapping[str, int]) -> "Account":
        """With what is there to be removed now; what an interrupted call had counted may be gone by now, or not."""
        names = self.removed.keys() | removed.keys()
        return Account({name: max(self.removed.get(name, 0), removed.get(name, 0)) for name in sorted(names)})

    def plus(self, removed: Mapping[str, int]) -> "Account":
        """With what was removed for good."""
        names = self.removed.keys() | removed.keys()
        return Account({name: self.removed.get(name, 0) + removed.get(name, 0) for name in sorted(names)})

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
            return Account(**json.loads(text))
        except (TypeError, ValueError):
            raise damaged_account() from None


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
    def note_erasure(self, user: str, removed: Mapping[str, int]) -> Account:
        """Begin an erasure or go on with one, before anything is removed.

        Args:
            user: who is erased.
            removed: what is about to be removed of theirs outside the store.

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
