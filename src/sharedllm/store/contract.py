"""What every store promises. `tests/store/test_contract.py` runs this page against each implementation."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.closing import Closing
from sharedllm.errors import CorruptAdapter, UnknownUser
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.store.erasure import Accounts, AuditHead, Erased, Written, no_audit_log

KEPT_RELEASES = 20
"""Of each user, the newest. Beside them are kept the one that is served, and the one that a rollback goes back to."""

RELEASES_PER_PAGE = KEPT_RELEASES + 5

PEOPLE_PER_PAGE = 100

ENTRIES_PER_PAGE = 100

UserState = Literal["active", "revoked"]
Standing = Literal["active", "revoked", "not_served"]
"""What people can be looked for by. ``not_served`` are those who are active and whom no release of theirs answers."""
EventKind = Literal["published", "held_back", "rolled_back", "overridden", "revoked", "restored", "reset"]
ChangeKind = Literal["published", "rolled_back", "overridden", "revoked", "restored", "reset", "erased"]


@dataclass(frozen=True, eq=False)
class Release:
    """One stored version of a user's adapter. It never changes.

    Attributes:
        id: 32 hexadecimal digits, never used twice, not even after an erasure; what a cache may be keyed by.
        user: whose it is.
        number: 1, 2, 3, … within that user.
        adapter: as stored, so its values are the float16 deviations read back as float32, ``[P]`` and read-only.
        gate: what the gate found.
        created_at: when it was stored, in UTC.
    """

    id: str
    user: str
    number: int
    adapter: Adapter
    gate: GateOutcome
    created_at: datetime


@dataclass(frozen=True)
class ReleaseSummary:
    """A release without its values; ``parameters`` says how many there are."""

    id: str
    user: str
    number: int
    format: str
    base: str
    parameters: int
    provenance: Mapping[str, Any]
    gate: GateOutcome
    created_at: datetime


@dataclass(frozen=True)
class UserSummary:
    """Where one user stands.

    Attributes:
        user: the id.
        state: a revoked user is never served.
        reason: why they are revoked; None while they are active.
        served: number of the release that answers, or would after a `Store.restore`; None if none ever passed its gate.
        releases: how many were made, and so the number of the newest.
        created_at: when their first release was stored, in UTC.
        updated_at: when anything last happened to them, in UTC.
    """

    user: str
    state: UserState
    reason: str | None
    served: int | None
    releases: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ListedUser:
    """Somebody in a list.

    Attributes:
        summary: where they stand.
        newest: the release that was made last; None where it is damaged.
        served: the one that answers, or would after a `Store.restore`; None if none does, or where it is damaged.
    """

    summary: UserSummary
    newest: ReleaseSummary | None
    served: ReleaseSummary | None


@dataclass(frozen=True)
class People:
    """A page of people, in the order they arrived.

    Attributes:
        page: nobody twice, and perhaps nobody at all.
        next: what to ask for ``after`` to go on; None where this is the end.
    """

    page: list[ListedUser]
    next: int | None


@dataclass(frozen=True)
class Headcount:
    """How many people there are: in all, of them revoked, and of them active but served no release of their own."""

    people: int
    revoked: int
    not_served: int


@dataclass(frozen=True)
class Event:
    """Something that happened to a user: what, to which release (None: to all of them), why, and when in UTC."""

    kind: EventKind
    number: int | None
    reason: str
    at: datetime


@dataclass(frozen=True)
class Change:
    """Somebody may from now on be answered by another release than before, or by none.

    Attributes:
        number: rises from each change to the next that anybody can see; there may be gaps.
        who: their number in this store. Nobody else ever has it, themselves after an erasure included, and it tells
            nothing about them, so that the log of changes need not forget anybody.
        kind: what happened.
    """

    number: int
    who: int
    kind: ChangeKind


@dataclass(frozen=True)
class Position:
    """How far the log of changes has come: which store's log, by a random number, and its last change."""

    log: int
    number: int


@dataclass(frozen=True)
class Stay:
    """Somebody's time in a store, from the first thing that was begun for them to their erasure.

    Attributes:
        log: which store's, as in `Position.log`.
        number: a random one that nobody else has, themselves after an erasure included; it tells nothing about them.
    """

    log: int
    number: int


class Store(Accounts, Holder, Closing):
    """Adapters at rest, safe to use from several threads. After a fork, open another in the child.

    Whatever the implementation:

    - Releases are appended and never changed; ids and numbers are never reused.
    - Of each user the newest `KEPT_RELEASES` are kept, the served one, and the newest before it that passed its gate.
      What is older goes with the transaction that publishes the next, and its publication leaves the history with it.
    - A release is served only if its gate passed, or if someone overrode the gate and left their reason as an event.
    - What is read was written for that very user: values carry a checksum over themselves and whom they belong to.
    - Each call happens entirely or not at all, and once it has returned it survives a crash.
    - What was begun for somebody before they were erased is never stored: whoever works for a user takes a `Stay` with
      `begin` before anything else, and publishes with it. The store asks in the transaction that publishes.
    - Ids are compared code point by code point. Nothing is normalised, and an id is never a path.

    Every method that takes a user raises `InvalidUserId` for what cannot name one, and all but `begin`, `publish` and
    `publish_many` raise `UnknownUser` for somebody the store does not hold. Any may raise `StoreError` or its kinds.
    """

    holds = "store"

    @abstractmethod
    def begin(self, users: Iterable[str]) -> dict[str, Stay]:
        """Note that work for users begins, before what it is made from is read; each one's stay.

        They need not be in the store, and do not come into it by this. Their stay is the same for everything that is
        begun for them until they are erased, whatever becomes of it.
        """

    @abstractmethod
    def erased_since(self, stays: Iterable[Stay]) -> set[Stay]:
        """Those stays that are over, for their user was erased, or that are another store's."""

    @abstractmethod
    def publish(self, user: str, adapter: Adapter, gate: GateOutcome, stay: Stay | None = None) -> Release:
        """Append a release. It becomes the served one if its gate passed; otherwise whatever was served stays.

        A revoked user stays revoked. The release returned is the stored one, values rounded to float16.

        ``stay`` is what `begin` gave before the adapter was made; None where that began with this call.

        Raises:
            ErasedMeanwhile: the stay is over. Nothing was written.
            InvalidInput: values that are not a finite ``[P]`` row or that float16 cannot hold, or provenance or figures
                that are not JSON. Nothing was written.
        """

    @abstractmethod
    def publish_many(
        self, items: Iterable[tuple[str, Adapter, GateOutcome]], *, stays: Mapping[str, Stay] | None = None
    ) -> list[ReleaseSummary]:
        """`publish` each ``(user, adapter, gate)`` in order, all or none; with the stays of users who have one.

        ``items`` is drawn to its end before anybody is locked out, at two bytes a value of memory, so hand over a
        million users in pieces.
        """

    @abstractmethod
    def served(self, user: str) -> Release:
        """The release that answers for this user.

        Raises:
            NotServed: they are revoked, or no release of theirs passed its gate; the message says which and why.
            ResetToBase: they were put back to the base, and not revoked.
            CorruptAdapter: the release is damaged.
        """

    @abstractmethod
    def release(self, user: str, number: int) -> Release:
        """One release, served or not.

        Raises:
            UnknownName: no release has that number, or it is not kept any more.
            CorruptAdapter: the release is damaged.
        """

    @abstractmethod
    def releases(self, user: str, *, before: int | None = None, limit: int = RELEASES_PER_PAGE) -> list[ReleaseSummary]:
        """A page of the releases that are kept, oldest first. Values are not read, and damage to them is not noticed.

        Args:
            user: whose.
            before: only releases with a lower number; None for the newest page. Give the number of a page's first
                release for the page before that one; there is none where a page is empty.
            limit: how many at most, at least 1: the newest of those.

        Raises:
            InvalidInput: ``limit`` is below 1.
        """

    def every_release(self, user: str) -> Iterator[ReleaseSummary]:
        """All releases that are kept, newest first, read page by page as the iterator advances."""
        page = self.releases(user)
        yield from reversed(page)
        while len(page) == RELEASES_PER_PAGE:
            page = self.releases(user, before=page[0].number)
            yield from reversed(page)

    @abstractmethod
    def events(self, user: str) -> list[Event]:
        """All that happened to this user, oldest first."""

    @abstractmethod
    def user(self, user: str) -> UserSummary:
        """Where this user stands."""

    @abstractmethod
    def users(self) -> Iterator[UserSummary]:
        """Everybody, in the order they arrived, read as the iterator advances and without holding anyone else up."""

    @abstractmethod
    def people(
        self, *, state: Standing | None = None, search: str = "", after: int = 0, limit: int = PEOPLE_PER_PAGE
    ) -> People:
        """A page of people with their releases, without holding anyone else up, however many there are.

        Args:
            state: only those who stand so.
            search: only those whose id has this in it, where A to Z are taken for a to z.
            after: `People.next` of the page before; 0 for the first page.
            limit: how many at most, at least 1. Of many people a page that looks for some looks at a part, so that it
                may hold fewer, or none, and yet not be the last.

        Raises:
            InvalidInput: ``limit`` is below 1.
            InvalidUserId: ``search`` is too long, or has what no id has in it.
        """

    @abstractmethod
    def headcount(self) -> Headcount:
        """How many people there are."""

    @abstractmethod
    def answers(self) -> Iterator[tuple[int, Release | CorruptAdapter]]:
        """What `served` gives for everybody whom it serves, and their number as in `Change.who`, in bulk.

        Read as the iterator advances, as `users` is. The error stands in for a release that is damaged.
        """

    @abstractmethod
    def arrival(self, who: int) -> datetime | None:
        """When somebody's first release was stored, by their number as in `Change.who`; None if nobody has it now."""

    @abstractmethod
    def position(self) -> Position:
        """Where the log of changes ends now. All that happens after this call comes after it in `changes`."""

    @abstractmethod
    def changes(self, after: int) -> Iterator[Change]:
        """Whose answer may have changed, in order, read as the iterator advances.

        Somebody's first release is left out, and so is one that is held back: before and after that, whoever does not
        know the user has to ask the store.

        Args:
            after: `number` of a `Position` or a `Change`; what came up to it is left out.
        """

    @abstractmethod
    def rollback(self, user: str, number: int | None = None, *, override_reason: str | None = None) -> ReleaseSummary:
        """Serve another release: ``number``, or the newest one before the served one that passed its gate.

        Where none is served, after a `reset`, it is the newest one that passed.

        One that failed its gate is served only with an ``override_reason``, which becomes an event.

        Raises:
            UnknownName: no release has that number, or it is not kept any more.
            NotServed: there is nothing to go back to, or it failed its gate and nobody gave a reason. Nothing changed.
        """

    @abstractmethod
    def reset(self, user: str) -> int | None:
        """Serve none of the user's releases: the base answers, until a release passes its gate or a `rollback`.

        The releases are kept. Resetting again changes nothing.

        Returns:
            the number of the release that had been served; None if none was.
        """

    @abstractmethod
    def revoke(self, user: str, reason: str) -> None:
        """Serve nothing for this user until `restore`. Revoking again replaces the reason."""

    @abstractmethod
    def restore(self, user: str) -> None:
        """Undo `revoke`. Does nothing to an active user."""

    @abstractmethod
    def erase(self, user: str) -> Erased:
        """Remove the user so that no byte of their id, values, history or API keys is left in the store's files.

        Whatever was begun for them is void, also where nothing of it was stored yet.

        On a file this rewrites the file, and takes as long as copying it. A PostgreSQL server keeps deleted bytes in
        its files until other rows come to lie there, or someone runs ``VACUUM FULL``, and in its log and backups;
        nothing that it answers shows them. In an encrypted store the user's key goes, too, and what is left anywhere,
        backups included, cannot be read any more.

        Raises:
            StoreBusy, DiskFull: the message says whether the user is still there, or is gone but for traces in the
                file; opening the store again removes those. In an encrypted store the same call goes on from there.
        """

    def forget(self, user: str) -> list[Removed | Derived]:
        """`erase` as a holder, with the user's key in the vault, which goes between their rows and traces of those."""
        try:
            return [*self.erase(user).removed]
        except UnknownUser:
            # Others hold something of theirs, or an earlier call has erased them.
            return [*Erased(user, releases=0, events=0, keys=0).removed]

    def audit_head(self) -> AuditHead | None:
        """How far the audit log goes; None where there is none."""
        return None

    def audit_log(self, *, before: int | None = None, limit: int = ENTRIES_PER_PAGE) -> list[Written]:
        """A page of what happened in the store, newest first, which names nobody and is not verified by this.

        Args:
            before: `Written.place` of the last entry of the page before; None for the newest page.
            limit: how many at most, at least 1.

        Raises:
            InvalidInput: there is no audit log, or ``limit`` is below 1.
        """
        raise no_audit_log()
