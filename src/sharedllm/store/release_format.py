"""A release as what is written: float16 little-endian deviations, canonical JSON, and a checksum over all of it."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.provenance import as_read
from sharedllm.errors import CorruptAdapter, CorruptStore, InvalidInput
from sharedllm.store.contract import Release, ReleaseSummary
from sharedllm.user_ids import check_user_id

STORED = np.dtype("<f2")
"""How exact a stored value has to be is decided by Bet 63; see docs/bets/63.md."""


@dataclass(frozen=True)
class Draft:
    """A release that may be stored, before it has a number: checked, packed, nothing left that can be refused."""

    user: str
    format: str
    base: str
    provenance: str
    gate: str
    passed: bool
    reason: str
    deviations: bytes


@dataclass(frozen=True)
class Head:
    """All of a stored release but its values."""

    id: str
    user: str
    number: int
    format: str
    base: str
    provenance: str
    gate: str
    created_at: str


@dataclass(frozen=True)
class Record:
    """One stored release."""

    head: Head
    deviations: bytes
    checksum: str


def draft(user: str, adapter: Adapter, gate: GateOutcome) -> Draft:
    """Check and pack what is to be published.

    Raises:
        InvalidInput: the user id, a text, the values or the JSON cannot be stored.
    """
    return Draft(
        user=check_user_id(user),
        format=check_text("The format", adapter.format),
        base=check_text("The base fingerprint", adapter.base),
        provenance=_canonical(f"The provenance of {user!r}'s adapter", dict(adapter.provenance)),
        gate=_canonical(
            f"The gate outcome of {user!r}'s adapter",
            {"passed": gate.passed, "reason": gate.reason, "figures": dict(gate.figures)},
        ),
        passed=gate.passed,
        reason=check_text("The gate's reason", gate.reason),
        deviations=_pack(user, adapter.values),
    )


def seal(draft: Draft, number: int, at: str) -> Record:
    """Number and date a draft, and give it an id and a checksum."""
    head = Head(
        id=uuid4().hex,
        user=draft.user,
        number=number,
        format=draft.format,
        base=draft.base,
        provenance=draft.provenance,
        gate=draft.gate,
        created_at=at,
    )
    return Record(head, draft.deviations, _checksum(head, draft.deviations))


def unseal(record: Record) -> Release:
    """Read a release back.

    Raises:
        CorruptAdapter: the record is not what was sealed for this user under this number.
    """
    head = record.head
    # Damage can change a field's type, so the database may hand over something that is not bytes.
    if not isinstance(record.deviations, bytes) or _checksum(head, record.deviations) != record.checksum:
        raise corrupt(head.user, head.number)
    return reveal(head, record.deviations)


def reveal(head: Head, deviations: bytes) -> Release:
    """A release from parts that are known to be what was stored."""
    values = np.frombuffer(deviations, STORED).astype(np.float32)
    values.flags.writeable = False
    return Release(
        id=head.id,
        user=head.user,
        number=head.number,
        adapter=Adapter(head.format, head.base, values, _provenance(head)),
        gate=GateOutcome(**json.loads(head.gate)),
        created_at=datetime.fromisoformat(head.created_at),
    )


def outlined(release: Release) -> ReleaseSummary:
    """A release without its values, which were verified with the rest of it."""
    adapter = release.adapter
    return ReleaseSummary(
        id=release.id,
        user=release.user,
        number=release.number,
        format=adapter.format,
        base=adapter.base,
        parameters=adapter.values.size,
        provenance=adapter.provenance,
        gate=release.gate,
        created_at=release.created_at,
    )


def summarise(head: Head, stored_bytes: int) -> ReleaseSummary:
    """Describe a release whose values, ``stored_bytes`` of them, were not read and so not verified.

    Raises:
        CorruptAdapter: the description itself cannot be read.
    """
    try:
        return ReleaseSummary(
            id=head.id,
            user=head.user,
            number=head.number,
            format=head.format,
            base=head.base,
            parameters=stored_bytes // STORED.itemsize,
            provenance=_provenance(head),
            gate=GateOutcome(**json.loads(head.gate)),
            created_at=datetime.fromisoformat(head.created_at),
        )
    except (TypeError, ValueError):
        raise corrupt(head.user, head.number) from None


def corrupt(user: str, number: object) -> CorruptAdapter:
    """The error for a release whose bytes are not the ones that were written."""
    return CorruptAdapter(
        f"Release {number} of {user!r} is damaged in the store",
        remedy="Roll the user back to another release, or train them again.",
    )


def now() -> str:
    """The current time as it is stored: ISO 8601 in UTC, to the microsecond, so that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def read_time(text: str) -> datetime:
    """A time that `now` wrote.

    Raises:
        CorruptStore: it is not one.
    """
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise CorruptStore(f"The store holds {text!r} for a time", remedy="Restore it from a backup.") from None


def id_sha256(user: str) -> bytes:
    """What a user is found by.

    Raises:
        InvalidUserId: it cannot name one.
    """
    return hashlib.sha256(check_user_id(user).encode()).digest()


def check_text(what: str, text: str) -> str:
    """Return ``text`` if every database can store it.

    Raises:
        InvalidInput: it holds a NUL or an unpaired surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        storable = False
    else:
        storable = "\0" not in text
    if not storable:
        raise InvalidInput(
            f"{what} {text!a} is not valid Unicode text", remedy="Remove NUL characters and unpaired surrogates."
        )
    return text


def check_reason(reason: str) -> str:
    """Return ``reason`` if it says something.

    Raises:
        InvalidInput: it is blank or cannot be stored.
    """
    if not reason.strip():
        raise InvalidInput("The reason is empty", remedy="Say why, for whoever reads the history later.")
    return check_text("The reason", reason)


def _pack(user: str, values: npt.NDArray[np.float32]) -> bytes:
    if values.ndim != 1 or not values.size:
        raise InvalidInput(
            f"The values of {user!r}'s adapter have shape {list(values.shape)}",
            remedy="Give one row of at least one number.",
        )
    if not np.isfinite(values).all():
        where = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidInput(
            f"The values of {user!r}'s adapter are not all finite: value {where} is {values[where]}",
            remedy="Train again with a lower learning rate.",
        )
    with np.errstate(over="ignore"):
        stored = values.astype(STORED)
    if not np.isfinite(stored).all():
        where = int(np.flatnonzero(~np.isfinite(stored))[0])
        raise InvalidInput(
            f"Value {where} of {user!r}'s adapter is {values[where]:.6g}, too large for float16",
            remedy=f"Deviations must stay within ±{np.finfo(STORED).max}; train again with a lower learning rate.",
        )
    return stored.tobytes()


def _canonical(what: str, value: dict[str, Any]) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{what} is not JSON: {error}", remedy="Use plain, finite numbers, strings, lists and dicts."
        ) from None


def _provenance(head: Head) -> dict[str, Any]:
    try:
        return as_read(json.loads(head.provenance))
    except RecursionError:
        return as_read(None)


def _checksum(head: Head, deviations: bytes) -> str:
    # A JSON list keeps the fields apart: no two different heads are the same text. `default` is for fields whose type
    # damage has changed.
    digest = hashlib.sha256(json.dumps(list(vars(head).values()), default=repr).encode())
    digest.update(deviations)
    return digest.hexdigest()
