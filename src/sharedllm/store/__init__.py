"""Adapters at rest: one contract; an SQLite file by default, a PostgreSQL database at scale, or memory."""

from sharedllm.store.contract import Event, EventKind, Release, ReleaseSummary, Stay, Store, UserState, UserSummary
from sharedllm.store.erasure import Erased
from sharedllm.store.opening import open_keys, open_store

__all__ = [
    "Erased",
    "Event",
    "EventKind",
    "Release",
    "ReleaseSummary",
    "Stay",
    "Store",
    "UserState",
    "UserSummary",
    "open_keys",
    "open_store",
]
