"""How a database keeps what is personal: whose rows are whose, and what is written in them."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from sharedllm.errors import StoreError
from sharedllm.store.contract import Release
from sharedllm.store.erasure import AuditHead, Written, no_audit_log
from sharedllm.store.release_format import Head, Record, id_sha256, unseal
from sharedllm.store.sql.database import ROWS_PER_PAGE, SqlRow
from sharedllm.store.sql.schema import vaults
from sharedllm.user_ids import check_user_id


@dataclass(frozen=True, eq=False)
class Owner(ABC):
    """A user as their rows know them.

    Attributes:
        user: the id.
        token: what their rows are found by, 32 bytes.
    """

    user: str
    token: bytes

    @abstractmethod
    def seal(self, text: str, *about: object) -> str:
        """A text as it is written; it opens only where ``about``, JSON values, is said again."""

    @abstractmethod
    def open(self, text: str, *about: object) -> str:
        """A text that `seal` wrote.

        Raises:
            CorruptStore: it is not what was written there.
        """

    @abstractmethod
    def row(self, record: Record) -> dict[str, Any]:
        """A release as a row of the releases, less ``user_key`` and ``passed``."""

    @abstractmethod
    def head(self, row: SqlRow) -> tuple[Head, int]:
        """A release without its values, and how many bytes those are; from a row with ``stored_bytes``.

        Raises:
            CorruptAdapter: it is not what was written there.
        """

    @abstractmethod
    def release(self, row: SqlRow) -> Release:
        """A release read back from its row.

        Raises:
            CorruptAdapter: it is not what was written there.
        """


@dataclass(frozen=True, eq=False)
class Note:
    """One thing to remember: what happened, to whom (None: to the store) and to which of their releases."""

    kind: str
    owner: Owner | None = None
    number: int | None = None


class Protection(ABC):
    """Who has rows in a database."""

    # Whether an erasure that failed on its way can be asked for again.
    remembers_erasures: bool
    # Whether the database itself can read ids, and so look for them.
    ids_readable: bool

    @abstractmethod
    def find(self, user: str) -> Owner:
        """The owner of a user's rows, if they have any.

        Raises:
            InvalidUserId: it cannot name a user.
            UnknownUser: they are known to have none.
        """

    @abstractmethod
    def take(self, users: Iterable[str]) -> dict[str, Owner]:
        """The owners of rows that are to be written, who need not have any yet. Afterwards ask who is `lost`."""

    @abstractmethod
    def lost(self, owners: Iterable[Owner]) -> list[Owner]:
        """Whom of them somebody has erased since they were taken. To be asked once their rows are stored for good."""

    @abstractmethod
    def of(self, rows: Mapping[bytes, str]) -> dict[bytes, Owner]:
        """The owners of rows, by token, from what is written there for their ids. Who was erased is left out.

        Raises:
            CorruptStore: an id is not what was written there.
        """

    @abstractmethod
    def leave(self, user: str) -> tuple[bytes, Owner | None]:
        """Begin an erasure, or go on with one. From now on nobody takes their rows, and whoever has is told `lost`.

        Returns:
            what finds their rows, and their owner, unless their key is destroyed already.

        Raises:
            InvalidUserId: it cannot name a user.
            UnknownUser: they are known to have no rows, and no erasure of theirs failed on its way.
        """

    @abstractmethod
    def destroy(self, token: bytes) -> bool:
        """Destroy the key of rows that are removed; whether there ever was one, without which no copy of them opens."""

    @abstractmethod
    def left(self, token: bytes) -> None:
        """End an erasure.

        Raises:
            StoreBusy, DiskFull: traces of the owner's key may remain; the next opening removes those.
        """

    @abstractmethod
    def interrupted(self) -> list[bytes]:
        """The tokens of erasures that began a while ago and never came to destroy the key."""

    @abstractmethod
    def person(self, user: str, salt: bytes) -> bytes:
        """What an erased user is found by, 32 bytes that nobody can tell them from who does not know their id.

        Raises:
            InvalidUserId: it cannot name a user.
        """

    @abstractmethod
    def hide(self, person: bytes, text: str) -> str:
        """What is kept of an erasure, as it is written."""

    @abstractmethod
    def show(self, person: bytes, text: str) -> str:
        """A text that `hide` wrote for the same person.

        Raises:
            CorruptStore: it is not what was written there.
        """

    @abstractmethod
    def note(self, connection: sa.Connection, notes: Sequence[Note]) -> None:
        """Write what happened into the audit log, in the caller's transaction, as the last thing that it does.

        To be called by whoever changes anything, also with nothing to note.

        Raises:
            AuditError: the log is not what was written there.
            StoreError: the database was encrypted since it was opened, and rows are not kept this way any more.
        """

    @abstractmethod
    def head(self) -> AuditHead | None:
        """How far the audit log goes; None where there is none."""

    @abstractmethod
    def newest(self, *, before: int | None, limit: int) -> list[Written]:
        """A page of the audit log, newest first.

        Raises:
            InvalidInput: there is none.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back files. Closing twice is safe."""


@dataclass(frozen=True, eq=False)
class PlainOwner(Owner):
    """A user whose rows anybody may read who may read the database."""

    def seal(self, text: str, *about: object) -> str:
        return text

    def open(self, text: str, *about: object) -> str:
        return text

    def row(self, record: Record) -> dict[str, Any]:
        row = vars(record.head) | {"deviations": record.deviations, "checksum": record.checksum}
        del row["user"]
        return row

    def head(self, row: SqlRow) -> tuple[Head, int]:
        return head_of(self.user, row), row.stored_bytes

    def release(self, row: SqlRow) -> Release:
        return unseal(Record(head_of(self.user, row), row.deviations, row.checksum))


class Plain(Protection):
    """Rows that are not encrypted, found by the hash of the id. There is no audit log."""

    remembers_erasures = False
    ids_readable = True

    def find(self, user: str) -> Owner:
        return PlainOwner(user, id_sha256(user))

    def take(self, users: Iterable[str]) -> dict[str, Owner]:
        return {user: self.find(user) for user in users}

    def lost(self, owners: Iterable[Owner]) -> list[Owner]:
        return []

    def of(self, rows: Mapping[bytes, str]) -> dict[bytes, Owner]:
        return {token: PlainOwner(user, token) for token, user in rows.items()}

    def leave(self, user: str) -> tuple[bytes, Owner | None]:
        owner = self.find(user)
        return owner.token, owner

    def destroy(self, token: bytes) -> bool:
        return False

    def left(self, token: bytes) -> None:
        """Nothing was remembered."""

    def interrupted(self) -> list[bytes]:
        return []

    def person(self, user: str, salt: bytes) -> bytes:
        # Ids are guessed sooner than keys, so that each guess is to take a moment and 16 MB.
        return hashlib.scrypt(check_user_id(user).encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)

    def hide(self, person: bytes, text: str) -> str:
        return text

    def show(self, person: bytes, text: str) -> str:
        return text

    def note(self, connection: sa.Connection, notes: Sequence[Note]) -> None:
        """See `Protection.note`; there is no audit log."""
        # A plain row in an encrypted store would be found by nobody, and removed by no erasure.
        if connection.execute(sa.select(vaults.c.id)).first():
            raise StoreError(
                "The store was encrypted after this process opened it, and nothing can be written to it this way",
                remedy="Start the process again, with the store's master key.",
            )

    def head(self) -> AuditHead | None:
        return None

    def newest(self, *, before: int | None, limit: int) -> list[Written]:
        raise no_audit_log()

    def close(self) -> None:
        """Nothing to give back."""


def owned(
    protection: Protection, rows: Iterator[SqlRow], *, token: str, stored: str
) -> Iterator[tuple[Owner | None, SqlRow]]:
    """Rows with their owners, None for a row without one, read as the iterator advances; who was erased is left out.

    Args:
        protection: knows the owners.
        rows: of any table.
        token: the column with what the owner's rows are found by.
        stored: the column with what is written there for the owner's id.
    """
    while page := list(islice(rows, ROWS_PER_PAGE)):
        owners = protection.of({getattr(row, token): getattr(row, stored) for row in page if getattr(row, token)})
        for row in page:
            owner = owners.get(getattr(row, token))
            if owner is not None or getattr(row, token) is None:
                yield owner, row


def head_of(user: str, row: SqlRow, **opened: str) -> Head:
    """What a row says of a release, with the fields that had to be opened for that."""
    found = {
        name: getattr(row, name) for name in ("id", "number", "format", "base", "provenance", "gate", "created_at")
    }
    return Head(user=user, **(found | opened))


def canonical(about: Sequence[object]) -> bytes:
    """A list of JSON values as bytes to seal, hash or sign; no two different lists are the same bytes."""
    return json.dumps(about, separators=(",", ":")).encode()
