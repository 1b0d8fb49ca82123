"""A store that lasts as long as the process."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from secrets import randbits
from threading import RLock
from typing import Any

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import CorruptAdapter
from sharedllm.holder import Derived, Removed
from sharedllm.store import rules
from sharedllm.store.contract import (
    PEOPLE_PER_PAGE,
    RELEASES_PER_PAGE,
    Change,
    ChangeKind,
    Event,
    EventKind,
    Headcount,
    ListedUser,
    People,
    Position,
    Release,
    ReleaseSummary,
    Standing,
    Stay,
    Store,
    UserSummary,
)
from sharedllm.store.erasure import Account, Erased, has_any, rows_removed
from sharedllm.store.release_format import Draft, Record, check_reason, draft, now, seal, summarise, unseal
from sharedllm.user_ids import check_user_id


@dataclass
class _User:
    """All that is kept of one user."""

    key: int
    created_at: str
    count: int = 0
    records: dict[int, Record] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    served: int | None = None
    revoked: str | None = None

    @property
    def is_reset(self) -> bool:
        """Whether none is served any more."""
        return self.served is None and any(event.kind == "reset" for event in self.events)

    def record(self, user: str, number: int) -> Record:
        if not 1 <= number <= self.count:
            raise rules.unknown_release(user, number, self.count)
        if number not in self.records:
            raise rules.not_kept(user, number)
        return self.records[number]

    def newest_before(self) -> int | None:
        """The newest release before the served one, or of all where none is, that passed its gate."""
        earlier = (number for number in self.records if self.served is None or number < self.served)
        return max((each for each in earlier if _summary(self.records[each]).gate.passed), default=None)

    def prune(self) -> None:
        """Let go of the releases that are not kept any more, and of the events of their publication."""
        kept = {self.served, self.newest_before()}
        gone = {
            number for number in self.records if rules.is_old(number, self.count, self.served) and number not in kept
        }
        self.records = {number: record for number, record in self.records.items() if number not in gone}
        self.events = [
            event for event in self.events if event.kind not in ("published", "held_back") or event.number not in gone
        ]

    def note(self, kind: EventKind, number: int | None, reason: str, at: str) -> None:
        self.events.append(Event(kind, number, reason, datetime.fromisoformat(at)))


class MemoryStore(Store):
    """Keeps what a file would hold, bytes and checksums included, so that it behaves like one."""

    def __init__(self) -> None:
        self._users: dict[str, _User] = {}
        self._keys = count(1)
        self._log = randbits(63)
        self._changes: list[Change] = []
        self._stays: dict[str, Stay] = {}
        self._accounts: dict[str, Account] = {}
        self._lock = RLock()

    def begin(self, users: Iterable[str]) -> dict[str, Stay]:
        with self._lock:
            return {user: self._stays.setdefault(check_user_id(user), Stay(self._log, randbits(63))) for user in users}

    def erased_since(self, stays: Iterable[Stay]) -> set[Stay]:
        with self._lock:
            return set(stays).difference(self._stays.values())

    def publish(self, user: str, adapter: Adapter, gate: GateOutcome, stay: Stay | None = None) -> Release:
        new = draft(user, adapter, gate)
        with self._lock:
            self._check({} if stay is None else {user: stay})
            return unseal(self._append(new))

    def publish_many(
        self, items: Iterable[tuple[str, Adapter, GateOutcome]], *, stays: Mapping[str, Stay] | None = None
    ) -> list[ReleaseSummary]:
        drafts = [draft(user, adapter, gate) for user, adapter, gate in items]
        with self._lock:
            self._check({each.user: stays[each.user] for each in drafts if each.user in stays} if stays else {})
            return [_summary(self._append(each)) for each in drafts]

    def served(self, user: str) -> Release:
        with self._lock:
            entry = self._entry(user)
            if entry.revoked is not None:
                raise rules.revoked(user, entry.revoked)
            if entry.is_reset:
                raise rules.reset_to_base(user)
            if entry.served is None:
                newest = _summary(entry.records[entry.count])
                raise rules.held_back(user, newest.number, newest.gate.reason)
            return unseal(entry.records[entry.served])

    def release(self, user: str, number: int) -> Release:
        with self._lock:
            return unseal(self._entry(user).record(user, number))

    def releases(self, user: str, *, before: int | None = None, limit: int = RELEASES_PER_PAGE) -> list[ReleaseSummary]:
        rules.check_limit(limit, "releases")
        with self._lock:
            records = self._entry(user).records
            page = [number for number in records if before is None or number < before][-limit:]
            return [_summary(records[number]) for number in page]

    def events(self, user: str) -> list[Event]:
        with self._lock:
            return list(self._entry(user).events)

    def user(self, user: str) -> UserSummary:
        with self._lock:
            entry = self._entry(user)
            return UserSummary(
                user=user,
                state="active" if entry.revoked is None else "revoked",
                reason=entry.revoked,
                served=entry.served,
                releases=entry.count,
                created_at=datetime.fromisoformat(entry.created_at),
                updated_at=entry.events[-1].at,
            )

    def users(self) -> Iterator[UserSummary]:
        with self._lock:
            everybody = [self.user(user) for user in self._users]
        yield from everybody

    def people(
        self, *, state: Standing | None = None, search: str = "", after: int = 0, limit: int = PEOPLE_PER_PAGE
    ) -> People:
        rules.check_people(limit, search)
        with self._lock:
            found = [
                (entry, person)
                for user, entry in self._users.items()
                if entry.key > after and rules.is_found(user, search)
                if rules.stands((person := self._person(user, entry)).summary, state)
            ]
        page = found[:limit]
        return People([person for _, person in page], page[-1][0].key if len(found) > limit else None)

    def headcount(self) -> Headcount:
        with self._lock:
            everybody = [self.user(user) for user in self._users]
        return Headcount(
            people=len(everybody),
            revoked=sum(rules.stands(each, "revoked") for each in everybody),
            not_served=sum(rules.stands(each, "not_served") for each in everybody),
        )

    def answers(self) -> Iterator[tuple[int, Release | CorruptAdapter]]:
        with self._lock:
            served = [
                (entry.key, entry.records[entry.served])
                for entry in self._users.values()
                if entry.served is not None and entry.revoked is None
            ]
        for key, record in served:
            yield key, unseal(record)

    def arrival(self, who: int) -> datetime | None:
        with self._lock:
            found = [entry.created_at for entry in self._users.values() if entry.key == who]
        return datetime.fromisoformat(found[0]) if found else None

    def position(self) -> Position:
        with self._lock:
            return Position(self._log, len(self._changes))

    def changes(self, after: int) -> Iterator[Change]:
        with self._lock:
            found = self._changes[after:]
        yield from found

    def rollback(self, user: str, number: int | None = None, *, override_reason: str | None = None) -> ReleaseSummary:
        if override_reason is not None:
            check_reason(override_reason)
        with self._lock:
            entry = self._entry(user)
            if number is None:
                number = entry.newest_before()
            if number is None:
                raise rules.nothing_before(user, entry.served)
            target = _summary(entry.record(user, number))
            kind, reason = rules.rollback_event(
                user, number, target.gate, served=entry.served, override_reason=override_reason
            )
            entry.served = number
            entry.note(kind, number, reason, now())
            self._change(entry, kind)
            return target

    def reset(self, user: str) -> int | None:
        with self._lock:
            entry = self._entry(user)
            served = entry.served
            if not entry.is_reset:
                entry.served = None
                entry.note("reset", served, rules.reset_reason(served), now())
                self._change(entry, "reset")
            return served

    def revoke(self, user: str, reason: str) -> None:
        check_reason(reason)
        with self._lock:
            entry = self._entry(user)
            entry.revoked = reason
            entry.note("revoked", None, reason, now())
            self._change(entry, "revoked")

    def restore(self, user: str) -> None:
        with self._lock:
            entry = self._entry(user)
            if entry.revoked is not None:
                entry.note("restored", None, f"had been revoked: {entry.revoked}", now())
                entry.revoked = None
                self._change(entry, "restored")

    def erase(self, user: str) -> Erased:
        with self._lock:
            account = self._accounts.get(check_user_id(user), Account(receipt={}))
            if (self._stays.pop(user, None) or account.receipt is None) and user not in self._users:
                return Erased(user, releases=0, events=0, keys=0)
            entry = self._entry(user)
            del self._users[user]
            self._change(entry, "erased")
            if account.receipt is None:
                self._accounts[user] = account.plus(rows_removed(len(entry.records), len(entry.events)))
            return Erased(user, releases=len(entry.records), events=len(entry.events), keys=0)

    def note_erasure(self, user: str, found: Sequence[Removed | Derived]) -> Account:
        with self._lock:
            before = self._accounts.get(check_user_id(user))
            known = user in self._users or user in self._stays or has_any(found)
            if before is None and not known:
                raise rules.unknown_user(user)
            if before is not None and before.receipt is not None and not known:
                return before
            begun = Account() if before is None or before.receipt is not None else before
            self._accounts[user] = begun.going_on(found)
            return self._accounts[user]

    def keep_receipt(self, user: str, receipt: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._lock:
            account = self._accounts.get(check_user_id(user), Account())
            if account.receipt is None:
                account = self._accounts[user] = Account(receipt=receipt)
            return account.receipt or receipt

    def close(self) -> None:
        """Nothing to give back."""

    def _entry(self, user: str) -> _User:
        entry = self._users.get(check_user_id(user))
        if entry is None:
            raise rules.unknown_user(user)
        return entry

    def _person(self, user: str, entry: _User) -> ListedUser:
        served = None if entry.served is None else _summary(entry.records[entry.served])
        return ListedUser(self.user(user), _summary(entry.records[entry.count]), served)

    def _check(self, stays: Mapping[str, Stay]) -> None:
        for user, stay in stays.items():
            if self._stays.get(user) != stay:
                raise rules.erased_meanwhile(user)

    def _change(self, entry: _User, kind: ChangeKind) -> None:
        self._changes.append(Change(len(self._changes) + 1, entry.key, kind))

    def _append(self, new: Draft) -> Record:
        with self._lock:
            at = now()
            entry = self._users.get(new.user)
            if entry is None:
                entry = self._users[new.user] = _User(next(self._keys), at)
            entry.count += 1
            number = entry.count
            record = entry.records[number] = seal(new, number, at)
            if new.passed:
                entry.served = number
                if number > 1:
                    self._change(entry, "published")
            entry.note("published" if new.passed else "held_back", number, new.reason, at)
            entry.prune()
            return record


def _summary(record: Record) -> ReleaseSummary:
    return summarise(record.head, len(record.deviations))
