"""Who is erased from the store, out of a snapshot."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sharedllm.errors import SharedLLMError
from sharedllm.files import make_private, sync_folder
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.store.contract import Store
from sharedllm.store.evidence.signing import read_private, snapshot_key_file
from sharedllm.store.release_format import STORED
from sharedllm.store.snapshots.format import HASH_BYTES, INDEX_TENSORS, PLACES, File, Manifest, tensor_places
from sharedllm.store.snapshots.read import Snapshot, check_hash
from sharedllm.store.snapshots.snapshot_store import check_log
from sharedllm.store.snapshots.write import packing_lock, synced, write_manifest, write_tensors, writing_errors

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class SnapshotFolder(Holder):
    """A snapshot on this machine, to be signed again with this machine's key.

    Attributes:
        folder: where it is.
        failure: why it still holds who was erased last, if it does.
    """

    holds = "snapshots"

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self.folder = store, folder
        self.failure: SharedLLMError | None = None

    def forget(self, user: str) -> list[Removed | Derived]:
        """Sign it again without everybody whom the store has erased.

        What is in the way stands in the receipt as still to do, as by then they are erased from the store.
        """
        outcome, self.failure = "rebuilt without them", None
        try:
            forget_erased(self._store, self.folder, read_private(snapshot_key_file()))
        except SharedLLMError as error:
            outcome, self.failure = f"still to do: {error.message}", error
        return [Derived("packed snapshot", str(self.folder), outcome)]


def forget_erased(store: Store, folder: Path, key: "Ed25519PrivateKey") -> int:
    """Remove everybody from a snapshot who was erased from its store since it was packed.

    Their values and all else of them are zeros in new files, and the old files are deleted. Nodes that have the
    snapshot open, and do not serve these users since they were erased, keep the old files on the disk until they open
    it again; copies on other machines, and backups, are for whoever made them to replace. Interrupted, it leaves a
    whole snapshot; the same call finishes it.

    Returns:
        how many were removed.

    Raises:
        SnapshotError: it does not verify with this key, or is of another store.
        DiskFull, StoreError: the files cannot be written, or the store does not answer.
    """
    with writing_errors(folder), packing_lock(folder):
        snapshot = Snapshot(folder, key.public_key())
        check_log(snapshot.manifest, store.position(), snapshot.manifest.position)
        erased = {change.who for change in store.changes(snapshot.manifest.position) if change.kind == "erased"}
        return _forget(snapshot, erased, key)


def _forget(snapshot: Snapshot, erased: Collection[int], key: "Ed25519PrivateKey") -> int:
    folder, manifest = snapshot.folder, snapshot.manifest
    index = (folder / manifest.index.name).read_bytes()
    # Read again, and about to be signed again. Shards need no such check: the index says what each row must be.
    check_hash(folder, manifest.index, index)
    columns = {
        name: np.frombuffer(index, np.uint8, end - begin, begin).reshape(-1, HASH_BYTES)
        for name, (begin, end) in tensor_places(index).items()
    }
    places = columns["places"].view(PLACES).ravel()
    gone = np.isin(places["who"], np.fromiter(erased, np.uint64))
    if gone.any():
        serial = manifest.serial + 1
        shards = list(manifest.shards)
        for number in np.unique(places["shard"][gone]):
            mine = places[gone & (places["shard"] == number)]
            shards[number] = _without(folder, manifest, int(number), serial, mine)
        kept = {name: columns[name][~gone] for name in INDEX_TENSORS}
        written = write_tensors(folder / f"index-{serial}.safetensors", kept)
        manifest = replace(manifest, users=int((~gone).sum()), serial=serial, index=written, shards=tuple(shards))
        write_manifest(folder, manifest, key)
    # Also what an interrupted call left behind.
    current = {file.name for file in manifest.files}
    for path in folder.glob("*.safetensors"):
        if path.name not in current:
            path.unlink()
    sync_folder(folder)
    return int(gone.sum())


def _without(folder: Path, manifest: Manifest, number: int, serial: int, places: npt.NDArray[np.void]) -> File:
    """Write a shard again, with zeros for the rows at ``places`` and for their heads."""
    data = bytearray((folder / manifest.shards[number].name).read_bytes())
    for place in places:
        for at, count in (
            (int(place["values_at"]), manifest.parameters * STORED.itemsize),
            (int(place["head_at"]), int(place["head_bytes"])),
        ):
            data[at : at + count] = bytes(count)
    path = folder / f"shard-{number:05d}-{serial}.safetensors"
    make_private(path, anew=True)
    path.write_bytes(data)
    return synced(path)
