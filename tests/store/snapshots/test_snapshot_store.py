"""A node on a snapshot: the store's word counts within a second, and without it nobody is served for long."""

import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from tests.store.samples import BETTER, WORSE, adapter

from sharedllm.errors import (
    CorruptAdapter,
    CorruptStore,
    NotServed,
    ResetToBase,
    SnapshotError,
    StoreBusy,
    StoreUnreachable,
    UnknownUser,
)
from sharedllm.store import open_store
from sharedllm.store.encryption.migrate import encryption_state
from sharedllm.store.encryption.vault import Vault
from sharedllm.store.snapshots import SnapshotStore, snapshot_store
from sharedllm.store.sql.sql_store import SQLStore
from sharedllm.store.sql.sqlite import SQLite

from .conftest import USERS


@pytest.fixture
def elsewhere(tmp_path, store):
    """The same store as another process has it."""
    with open_store(tmp_path / "store.db") as elsewhere:
        yield elsewhere


@pytest.fixture
def asked(store, monkeypatch):
    """Whom the live store was asked for."""
    asked = []
    served = store.served
    monkeypatch.setattr(store, "served", lambda user: asked.append(user) or served(user))
    return asked


@pytest.fixture
def node(opened, store):
    node = SnapshotStore(opened(), store)
    yield node
    node.close()


@pytest.fixture
def still(monkeypatch):
    """No thread follows the log, and time stands still; the test does both."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(snapshot_store, "time", clock)
    monkeypatch.setattr(SnapshotStore, "_follow", lambda node: None)
    return clock


def eventually(happens):
    """Wait for what the following thread brings; the suite's own time limit ends a wait for what never comes."""
    while not happens():
        time.sleep(0.01)


def refused(node, user, error):
    try:
        node.served(user)
    except error:
        return True
    return False


def test_those_who_did_not_change_are_answered_without_the_store(still, node, asked):
    for number, user in enumerate(USERS):
        assert node.served(user).adapter.values.tolist() == [0.5, -0.25 * number]
    assert asked == []


def test_those_who_are_not_in_the_snapshot_get_the_stores_answer(node, elsewhere):
    with pytest.raises(NotServed, match="held back"):
        node.served("dave")
    with pytest.raises(NotServed, match="contract ended"):
        node.served("eve")
    with pytest.raises(UnknownUser):
        node.served("mallory")
    elsewhere.publish("mallory", adapter(7, 7), BETTER)
    assert node.served("mallory").adapter.values.tolist() == [7, 7]


def test_a_revocation_elsewhere_arrives(node, elsewhere):
    elsewhere.revoke("bob", "left")
    eventually(lambda: refused(node, "bob", NotServed))
    assert node.served("alice").user == "alice"
    elsewhere.restore("bob")
    assert node.served("bob").number == 1


def test_a_reset_elsewhere_arrives_and_one_here_counts_at_once(node, elsewhere):
    node.reset("alice")
    with pytest.raises(ResetToBase):
        node.served("alice")
    elsewhere.reset("bob")
    eventually(lambda: refused(node, "bob", ResetToBase))


def test_an_erasure_elsewhere_arrives(node, elsewhere):
    elsewhere.erase("bob")
    eventually(lambda: refused(node, "bob", UnknownUser))


@pytest.mark.slow
@pytest.mark.parametrize("failing", [(SQLStore, "_remove"), (Vault, "scrub"), (SQLite, "scrub")])
def test_an_erasure_that_fails_with_the_key_gone_arrives(
    still, tmp_path, encrypt, packed, opened, monkeypatch, failing
):
    encrypt(tmp_path / "encrypted.db")
    live = open_store(tmp_path / "encrypted.db")
    live.publish_many([("alice", adapter(), BETTER), ("bob", adapter(), BETTER)])

    def busy(*_):
        raise StoreBusy("Another process has been writing", remedy="Try again.")

    with SnapshotStore(opened(packed(live)), live) as node, open_store(tmp_path / "encrypted.db") as elsewhere:
        monkeypatch.setattr(*failing, busy)
        with pytest.raises(StoreBusy):
            elsewhere.erase("alice")
        node._catch_up()
        gone = encryption_state(tmp_path / "encrypted.db")["keys"] == 1
        assert refused(node, "alice", UnknownUser) == gone
        assert node.served("bob").user == "bob"


def test_a_new_release_and_a_rollback_elsewhere_arrive(node, elsewhere):
    elsewhere.publish("bob", adapter(3, 3), BETTER)
    eventually(lambda: node.served("bob").number == 2)
    elsewhere.rollback("bob")
    assert node.served("bob").number == 1


def test_a_release_that_is_held_back_changes_nothing(still, node, elsewhere, asked):
    elsewhere.publish("bob", adapter(3, 3), WORSE)
    node._catch_up()
    assert node.served("bob").number == 1
    assert asked == []


def test_an_erased_user_who_comes_back_gets_their_new_release(node, elsewhere):
    elsewhere.erase("bob")
    elsewhere.publish("bob", adapter(8, 8), BETTER)
    eventually(lambda: node.served("bob").adapter.values.tolist() == [8, 8])


def test_what_happened_between_packing_and_starting_counts_from_the_start(packed, opened, store):
    folder = packed()
    store.revoke("alice", "left")
    store.erase("bob")
    store.publish("carol", adapter(4, 4), BETTER)
    with SnapshotStore(opened(folder), store) as node:
        assert refused(node, "alice", NotServed)
        assert refused(node, "bob", UnknownUser)
        assert node.served("carol").number == 2


def test_what_changes_while_it_is_packed_is_not_lost(opened, packed, store, monkeypatch):
    answers = store.answers

    def interrupted():
        for who, release in answers():
            yield who, release
            if release.user == "alice":
                store.revoke("alice", "left")

    monkeypatch.setattr(store, "answers", interrupted)
    with SnapshotStore(opened(packed()), store) as node:
        assert refused(node, "alice", NotServed)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (lambda node: node.revoke("bob", "left"), lambda node: refused(node, "bob", NotServed)),
        (lambda node: node.erase("bob"), lambda node: refused(node, "bob", UnknownUser)),
        (lambda node: node.publish("bob", adapter(3, 3), BETTER), lambda node: node.served("bob").number == 2),
        (lambda node: node.revoke("bob", "x") or node.restore("bob"), lambda node: node.served("bob").number == 1),
    ],
)
def test_what_this_process_does_counts_here_at_once(still, node, change, holds):
    change(node)
    assert holds(node)


def test_what_may_have_happened_counts_here_at_once(still, node, store, asked, monkeypatch):
    def lost(user, reason):
        raise StoreUnreachable("gone while it confirmed", remedy="Look")

    monkeypatch.setattr(store, "revoke", lost)
    with pytest.raises(StoreUnreachable):
        node.revoke("bob", "left")
    node.served("bob")
    assert asked == ["bob"]


def test_a_node_that_cannot_see_the_log_vouches_for_nobody_after_a_second(still, node, store, monkeypatch):
    def away(*_):
        raise StoreUnreachable("the server is away", remedy="Wait")

    for method in ("position", "changes", "served"):
        monkeypatch.setattr(store, method, away)
    still.now += 0.9
    assert node.served("alice").number == 1
    still.now += 0.2
    for user in (*USERS, "mallory"):
        assert refused(node, user, StoreUnreachable)
    monkeypatch.undo()


def test_a_node_that_was_merely_slow_to_look_asks_the_store(still, node, asked):
    still.now += 60
    assert node.served("alice").number == 1
    assert asked == ["alice"]
    node._catch_up()
    node.served("alice")
    assert asked == ["alice"]


def test_a_look_that_took_long_vouches_only_from_when_it_began(still, node, store, asked, monkeypatch):
    position = store.position

    def slow():
        still.now += 5
        return position()

    monkeypatch.setattr(store, "position", slow)
    node._catch_up()
    node.served("alice")
    assert asked == ["alice"]


def test_the_thread_goes_on_after_the_store_was_away(node, elsewhere, store, monkeypatch):
    failed = []

    def away():
        failed.append(True)
        raise StoreUnreachable("the server is away", remedy="Wait")

    with monkeypatch.context() as patch:
        patch.setattr(store, "position", away)
        eventually(lambda: failed)
    elsewhere.revoke("bob", "left")
    eventually(lambda: refused(node, "bob", NotServed))


def test_another_stores_snapshot_is_refused(opened):
    with open_store(":memory:") as other:
        other.publish("alice", adapter(), BETTER)
        with pytest.raises(SnapshotError, match="another store"):
            SnapshotStore(opened(), other)


def test_a_store_that_was_put_back_to_an_earlier_state_is_refused(tmp_path, packed, opened, store):
    store.close()
    backup = (tmp_path / "store.db").read_bytes()
    with open_store(tmp_path / "store.db") as later:
        later.revoke("alice", "left")
        folder = packed(later)
    for path in tmp_path.glob("store.db*"):
        path.unlink()
    Path(tmp_path / "store.db").write_bytes(backup)
    with open_store(tmp_path / "store.db") as restored, pytest.raises(SnapshotError, match="restored from a backup"):
        SnapshotStore(opened(folder), restored)


def test_a_store_whose_log_is_gone_is_refused(tmp_path, opened, store):
    snapshot = opened()
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute("DELETE FROM changes")
    database.close()
    store.revoke("alice", "left")
    with pytest.raises(SnapshotError, match="another store"):
        SnapshotStore(snapshot, store)
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute("DELETE FROM changes")
    database.close()
    with pytest.raises(CorruptStore, match="log of changes is gone"):
        SnapshotStore(snapshot, store)


def test_a_damaged_row_is_refused_not_replaced(packed, opened, store):
    folder = packed()
    (shard,) = folder.glob("shard-*")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with SnapshotStore(opened(folder), store) as node:
        assert sum(refused(node, user, CorruptAdapter) for user in USERS) == 1


def test_everything_else_is_the_live_stores(node, store):
    assert node.user("alice") == store.user("alice")
    assert list(node.users()) == list(store.users())
    assert node.releases("bob") == store.releases("bob")
    assert node.events("eve") == store.events("eve")
    assert node.release("carol", 1).id == store.release("carol", 1).id
    assert node.position() == store.position()
    assert list(node.changes(0)) == list(store.changes(0))
    assert [who for who, _ in node.answers()] == [who for who, _ in store.answers()]
    (summary,) = node.publish_many([("frank", adapter(), BETTER)])
    assert store.served("frank").id == summary.id
    node.publish("frank", adapter(), BETTER)
    assert node.rollback("frank") == store.releases("frank")[0]


@pytest.mark.parametrize("kind", ["memory", "postgresql"])
def test_it_is_the_same_over_every_store(request, packed, opened, kind):
    where = ":memory:"
    if kind == "postgresql":
        where = request.getfixturevalue("address")
    live = open_store(where)
    live.publish("alice", adapter(1, 1), BETTER)
    live.publish("bob", adapter(2, 2), BETTER)
    with SnapshotStore(opened(packed(live)), live) as node:
        np.testing.assert_array_equal(node.served("alice").adapter.values, [1, 1])
        live.revoke("alice", "left")
        live.erase("bob")
        eventually(lambda: refused(node, "alice", NotServed))
        eventually(lambda: refused(node, "bob", UnknownUser))


@pytest.mark.parametrize("since", [0, 1, 3])
def test_a_snapshot_with_somebody_who_came_after_the_backup_is_refused(tmp_path, packed, opened, store, since):
    store.close()
    backup = (tmp_path / "store.db").read_bytes()
    with open_store(tmp_path / "store.db") as later:
        # First releases are in no log.
        later.publish("zoe", adapter(), BETTER)
        folder = packed(later)
    for path in tmp_path.glob("store.db*"):
        path.unlink()
    (tmp_path / "store.db").write_bytes(backup)
    with open_store(tmp_path / "store.db") as restored:
        # Others, who are given the numbers of those whom the store has forgotten.
        for number in range(since):
            restored.publish(f"other {number}", adapter(), BETTER)
        with pytest.raises(SnapshotError, match="newer than the store"):
            SnapshotStore(opened(folder), restored)


def test_a_snapshot_whose_newest_user_was_erased_since_is_followed(packed, opened, store):
    store.publish("zoe", adapter(), BETTER)
    folder = packed()
    store.erase("zoe")
    with SnapshotStore(opened(folder), store) as node:
        assert node.served("alice").user == "alice"
        with pytest.raises(UnknownUser):
            node.served("zoe")
