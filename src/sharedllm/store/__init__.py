"""Adapters at rest: one contract, an SQLite file by default, and an in-memory one."""

from sharedllm.store.contract import (
    Erased,
    Event,
    EventKind,
    Release,
    ReleaseSummary,
    Store,
    UserState,
    UserSummary,
)
from sharedllm.store.opening import open_store

__all__ = [
    "Erased",
    "Event",
    "EventKind",
    "Release",
    "ReleaseSummary",
    "Store",
    "UserState",
    "UserSummary",
    "open_store",
]
