"""A fleet of three in a store, and snapshots of it."""

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.store.samples import BETTER, WORSE, adapter

from sharedllm.store import open_store
from sharedllm.store.snapshots import Snapshot, pack

USERS = ["alice", "bob", "carol"]


@pytest.fixture
def key():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def store(tmp_path):
    """Alice, Bob and Carol are served; Dave was held back and Eve is revoked."""
    with open_store(tmp_path / "store.db") as store:
        for number, user in enumerate(USERS):
            store.publish(user, adapter(0.5, -0.25 * number, recipe="documented", seed=number), BETTER)
        store.publish("dave", adapter(), WORSE)
        store.publish("eve", adapter(), BETTER)
        store.revoke("eve", "contract ended")
        yield store


@pytest.fixture
def packed(tmp_path, store, key):
    """Pack a store, by default the three, into a new folder."""
    names = (tmp_path / f"snapshot-{number}" for number in itertools.count())

    def packed(of=store):
        folder = next(names)
        pack(of, folder, key, base="base-1", format="norm")
        return folder

    return packed


@pytest.fixture
def opened(packed, key):
    """Open a snapshot; by default one of the three."""

    def opened(folder=None):
        return Snapshot(folder or packed(), key.public_key())

    return opened


def read(snapshot, user):
    """What a snapshot holds for somebody; None for nobody."""
    found = snapshot.find(user)
    return None if found is None else snapshot.read(user, found)


def contents(folder):
    """All bytes of all files."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
