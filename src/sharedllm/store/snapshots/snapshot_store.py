"""A store whose answers come from a packed snapshot, as long as they are the ones that the store would give.

with SnapshotStore(Snapshot(folder, key), open_store(url)) as store:
    store.served("alice")
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Event as Signal
from threading import Thread
from typing import Any

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import CorruptAdapter, SharedLLMError, SnapshotError
from sharedllm.holder import Derived, Removed
from sharedllm.store.contract import (
    ENTRIES_PER_PAGE,
    PEOPLE_PER_PAGE,
    RELEASES_PER_PAGE,
    Change,
    Event,
    Headcount,
    People,
    Position,
    Release,
    ReleaseSummary,
    Standing,
    Stay,
    Store,
    UserSummary,
)
from sharedllm.store.erasure import Account, AuditHead, Erased, Written
from sharedllm.store.snapshots.format import Manifest
from sharedllm.store.snapshots.read import Snapshot

POLL_SECONDS = 0.2
FRESH_SECONDS = 1.0
"""A log that was last seen longer ago vouches for nothing: the store itself is asked then."""


class SnapshotStore(Store):
    """A snapshot for whoever has not changed since it was packed, and the live store for all else.

    A thread follows the store's log of changes. Whatever was confirmed a second ago, in whichever process, holds here:
    a change that the log has shown sends its user's requests to the live store, and so does a log that has not been
    seen for `FRESH_SECONDS`, for everybody. So when the store is away nobody is served from the snapshot after that
    second; they get the store's own error, rather than an adapter that may have been revoked or erased.
    """

    def __init__(self, snapshot: Snapshot, live: Store) -> None:
        """Read the log from where the snapshot was packed, and go on following it. Takes over ``live``, to close it.

        Raises:
            SnapshotError: the snapshot was packed from another store, or the store has lost changes since.
            StoreError: the store does not answer.
        """
        self._snapshot = snapshot
        self._live = live
        self._changed: set[int] = set()
        self._position = snapshot.manifest.position
        self._seen = 0.0
        self._catch_up()
        self._check_newest()
        self._closing = Signal()
        self._thread = Thread(target=self._follow, name="snapshot-log", daemon=True)
        self._thread.start()

    def served(self, user: str) -> Release:
        if time.monotonic() - self._seen <= FRESH_SECONDS:
            found = self._snapshot.find(user)
            if found is not None and found.who not in self._changed:
                return self._snapshot.read(user, found)
        return self._live.served(user)

    def begin(self, users: Iterable[str]) -> dict[str, Stay]:
        return self._live.begin(users)

    def erased_since(self, stays: Iterable[Stay]) -> set[Stay]:
        return self._live.erased_since(stays)

    def publish(self, user: str, adapter: Adapter, gate: GateOutcome, stay: Stay | None = None) -> Release:
        self._leave(user)
        return self._live.publish(user, adapter, gate, stay)

    def publish_many(
        self, items: Iterable[tuple[str, Adapter, GateOutcome]], *, stays: Mapping[str, Stay] | None = None
    ) -> list[ReleaseSummary]:
        """See `Store.publish_many`. Unlike other changes made here, it may take a second to count here, too."""
        return self._live.publish_many(items, stays=stays)

    def rollback(self, user: str, number: int | None = None, *, override_reason: str | None = None) -> ReleaseSummary:
        self._leave(user)
        return self._live.rollback(user, number, override_reason=override_reason)

    def reset(self, user: str) -> int | None:
        self._leave(user)
        return self._live.reset(user)

    def revoke(self, user: str, reason: str) -> None:
        self._leave(user)
        self._live.revoke(user, reason)

    def restore(self, user: str) -> None:
        self._leave(user)
        self._live.restore(user)

    def erase(self, user: str) -> Erased:
        self._leave(user)
        return self._live.erase(user)

    def forget(self, user: str) -> list[Removed | Derived]:
        """See `Store.forget`. The snapshot's files are for whoever packed it to change, so it is told by name alone."""
        removed = super().forget(user)
        if self._snapshot.find(user) is None:
            return removed
        name = self._snapshot.folder.resolve().name
        return [*removed, Derived("packed snapshot", name, "still to do: sharedllm fleet forget")]

    def audit_head(self) -> AuditHead | None:
        return self._live.audit_head()

    def audit_log(self, *, before: int | None = None, limit: int = ENTRIES_PER_PAGE) -> list[Written]:
        return self._live.audit_log(before=before, limit=limit)

    def note_erasure(self, user: str, found: Sequence[Removed | Derived]) -> Account:
        return self._live.note_erasure(user, found)

    def keep_receipt(self, user: str, receipt: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._live.keep_receipt(user, receipt)

    def release(self, user: str, number: int) -> Release:
        return self._live.release(user, number)

    def releases(self, user: str, *, before: int | None = None, limit: int = RELEASES_PER_PAGE) -> list[ReleaseSummary]:
        return self._live.releases(user, before=before, limit=limit)

    def events(self, user: str) -> list[Event]:
        return self._live.events(user)

    def user(self, user: str) -> UserSummary:
        return self._live.user(user)

    def users(self) -> Iterator[UserSummary]:
        return self._live.users()

    def people(
        self, *, state: Standing | None = None, search: str = "", after: int = 0, limit: int = PEOPLE_PER_PAGE
    ) -> People:
        return self._live.people(state=state, search=search, after=after, limit=limit)

    def headcount(self) -> Headcount:
        return self._live.headcount()

    def answers(self) -> Iterator[tuple[int, Release | CorruptAdapter]]:
        return self._live.answers()

    def arrival(self, who: int) -> datetime | None:
        return self._live.arrival(who)

    def position(self) -> Position:
        return self._live.position()

    def changes(self, after: int) -> Iterator[Change]:
        return self._live.changes(after)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._live.close()

    def _leave(self, user: str) -> None:
        """Leave somebody whom this process is about to change to the live store, so that it counts here at once."""
        found = self._snapshot.find(user)
        if found is not None:
            self._changed.add(found.who)

    def _check_newest(self) -> None:
        """Refuse a store in which somebody who was packed has not arrived, as first releases are not in the log.

        Raises:
            SnapshotError: it was put back to an earlier state, whatever has happened in it since.
        """
        newest = self._snapshot.manifest.newest
        if newest is None or newest.who in self._changed:
            return
        found = self._live.arrival(newest.who)
        if found is None or found.isoformat(timespec="microseconds") != newest.at:
            raise SnapshotError(
                f"The snapshot {self._snapshot.folder} is newer than the store, which does not have everybody in it",
                remedy="If the store was restored from a backup, pack it again and start the node with that.",
            )

    def _follow(self) -> None:
        while not self._closing.wait(POLL_SECONDS):
            # Seen too long ago, `served` asks the store, and whoever asks is told what is wrong with it.
            with suppress(SharedLLMError):
                self._catch_up()

    def _catch_up(self) -> None:
        """Read what is new in the log.

        Raises:
            SnapshotError: it is not the log that the snapshot belongs to.
        """
        began = time.monotonic()
        end = check_log(self._snapshot.manifest, self._live.position(), self._position)
        if end.number > self._position:
            for change in self._live.changes(self._position):
                self._changed.add(change.who)
                self._position = change.number
        self._seen = began


def check_log(manifest: Manifest, end: Position, seen: int) -> Position:
    """Return ``end`` if it is an end of the log that the snapshot belongs to.

    Args:
        manifest: the snapshot's.
        end: where the log of a store ends.
        seen: the last change that was seen of it, or that the snapshot takes account of.

    Raises:
        SnapshotError: it is the log of another store, or of one that was put back to an earlier state.
    """
    if end.log != manifest.log:
        raise SnapshotError("The snapshot was packed from another store", remedy="Name its store, or pack this one.")
    if end.number < seen:
        raise SnapshotError(
            f"The store's log ends at change {end.number}, and change {seen} has been seen",
            remedy="If the store was restored from a backup, pack it again and start the node with that.",
        )
    return end
