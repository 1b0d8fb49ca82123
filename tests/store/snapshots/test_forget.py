"""Whoever is erased from the store is removed from the snapshot, and everybody else is still served from it."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.store.samples import BETTER, adapter

from sharedllm.errors import SnapshotError
from sharedllm.store import open_store
from sharedllm.store.release_format import id_sha256
from sharedllm.store.snapshots import forget, forget_erased, pack, write

from .conftest import USERS, contents, read

VALUES = tuple(float(number) / 64 for number in range(33, 97))
TRACE = adapter(*VALUES).values.astype("<f2").tobytes()


@pytest.fixture
def folder(tmp_path, store, key, monkeypatch):
    """A snapshot of Alice, Bob and Carol with long rows, two in a shard; Bob's values can be told."""
    monkeypatch.setattr(write, "SHARD_BYTES", 2 * len(TRACE))
    for number, user in enumerate(USERS):
        store.publish(user, adapter(*(VALUES if user == "bob" else [number] * len(VALUES)), secret="c0ffee"), BETTER)
    pack(store, tmp_path / "snapshot", key, base="base-1", format="norm")
    return tmp_path / "snapshot"


def test_nothing_of_an_erased_user_is_left_in_the_files(folder, store, key):
    id = store.served("bob").id.encode()
    traces = [TRACE, id, id_sha256("bob")]
    assert all(trace in contents(folder) for trace in traces)
    store.erase("bob")
    assert forget_erased(store, folder, key) == 1
    assert not any(trace in contents(folder) for trace in traces)


def test_the_others_are_read_as_before(folder, store, key, opened):
    store.erase("bob")
    forget_erased(store, folder, key)
    snapshot = opened(folder)
    snapshot.verify()
    assert (snapshot.manifest.users, snapshot.manifest.serial) == (2, 1)
    assert snapshot.find("bob") is None
    assert read(snapshot, "alice").id == store.served("alice").id
    assert read(snapshot, "carol").id == store.served("carol").id


def test_shards_without_an_erased_user_stay_as_they_are(folder, store, key):
    before = {path.name for path in folder.glob("shard-*")}
    store.erase("carol")
    forget_erased(store, folder, key)
    after = {path.name for path in folder.glob("shard-*")}
    assert len(before & after) == 1
    assert len(after) == 2


def test_everybody_may_go_one_after_the_other(folder, store, key, opened):
    for left, user in zip((2, 1, 0), USERS, strict=True):
        store.erase(user)
        assert forget_erased(store, folder, key) == 1
        assert opened(folder).manifest.users == left
        assert opened(folder).find(user) is None


def test_somebody_who_came_back_is_forgotten_as_they_were(folder, store, key):
    store.erase("bob")
    store.publish("bob", adapter(*([1.0] * len(VALUES))), BETTER)
    assert forget_erased(store, folder, key) == 1
    assert TRACE not in contents(folder)


def test_revoked_users_stay(folder, store, key):
    before = contents(folder)
    store.revoke("bob", "left")
    assert forget_erased(store, folder, key) == 0
    assert contents(folder) == before


def test_a_node_that_has_it_open_goes_on(folder, store, key, opened):
    node = opened(folder)
    store.erase("bob")
    forget_erased(store, folder, key)
    assert read(node, "alice").user == "alice"


def test_interrupted_before_the_manifest_it_is_whole_and_the_same_call_finishes(
    folder, store, key, opened, monkeypatch
):
    store.erase("bob")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forget, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            forget_erased(store, folder, key)
    opened(folder).verify()
    assert forget_erased(store, folder, key) == 1
    assert TRACE not in contents(folder)


def test_interrupted_after_the_manifest_the_same_call_removes_the_old_files(folder, store, key, monkeypatch):
    store.erase("bob")
    write_manifest = forget.write_manifest

    def killed(*arguments):
        write_manifest(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forget, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            forget_erased(store, folder, key)
    assert TRACE in contents(folder)
    assert forget_erased(store, folder, key) == 0
    assert TRACE not in contents(folder)


def test_another_key_and_another_store_change_nothing(folder, store, key):
    before = contents(folder)
    store.erase("bob")
    with pytest.raises(SnapshotError, match="not signed with this key"):
        forget_erased(store, folder, Ed25519PrivateKey.generate())
    with open_store(":memory:") as other, pytest.raises(SnapshotError, match="another store"):
        forget_erased(other, folder, key)
    assert contents(folder) == before


def test_files_that_are_not_the_snapshots_stay(folder, store, key):
    (folder / "README").write_text("packed on Monday")
    store.erase("bob")
    forget_erased(store, folder, key)
    assert (folder / "README").read_text() == "packed on Monday"


def test_nobody_else_may_read_a_snapshot(folder, store, key, opened, umask):
    def modes():
        return {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}

    assert (oct(folder.stat().st_mode & 0o777), modes()) == ("0o700", {"0o600"})
    store.erase("bob")
    forget_erased(store, folder, key)
    assert modes() == {"0o600"}
    # As an earlier version made them.
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    opened(folder)
    assert (oct(folder.stat().st_mode & 0o777), modes()) == ("0o700", {"0o600"})
