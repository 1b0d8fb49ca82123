"""Packed snapshots: every adapter of a base that is served, in files that a serving node can trust.

A node opens a snapshot in the time it takes to check a signature and hash an index. The store stays the authority: its
log of changes tells the node whose answer is no longer the one that was packed.
"""

from sharedllm.store.snapshots.forget import SnapshotFolder, forget_erased
from sharedllm.store.snapshots.read import Snapshot
from sharedllm.store.snapshots.snapshot_store import SnapshotStore
from sharedllm.store.snapshots.write import Packed, pack

__all__ = ["Packed", "Snapshot", "SnapshotFolder", "SnapshotStore", "forget_erased", "pack"]
