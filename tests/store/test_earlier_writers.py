"""Processes of version 24fe399 that have had a store open since before this version upgraded it."""

import hashlib
import sqlite3

import pytest
import sqlalchemy as sa
from tests.store.samples import BETTER, adapter, downgrade

from sharedllm.errors import ErasedMeanwhile, UnknownUser
from sharedllm.store import open_keys, open_store

AT = "2026-01-01T00:00:00.000000+00:00"
# What that version writes, statement by statement.
COUNT_IN = (
    "INSERT INTO users (id, id_sha256, releases, served, created_at, updated_at)"
    f" VALUES (:user, :token, 1, 1, '{AT}', '{AT}') ON CONFLICT (id_sha256) DO UPDATE SET"
    " releases = (users.releases + excluded.releases),"
    " served = coalesce(users.releases + excluded.served, users.served), updated_at = excluded.updated_at"
    " RETURNING key, id_sha256, releases"
)
STANDING = f"UPDATE users SET updated_at = '{AT}', {{}} WHERE key = :key"
EVENT = f"INSERT INTO events (user_key, kind, number, reason, at) VALUES (:key, '{{}}', {{}}, 'by hand', '{AT}')"
CHANGE = "INSERT INTO changes (user_key, kind) VALUES (:key, '{}')"
NEW_KEY = (
    "INSERT INTO keys (id, secret_sha256, holder, holder_sha256, label, created_at)"
    f" VALUES ('0123456789abcdef', :secret, :user, :token, '', '{AT}')"
)
REMOVE = [
    "DELETE FROM keys WHERE holder_sha256 = :token",
    "DELETE FROM releases WHERE user_key = :key",
    "DELETE FROM events WHERE user_key = :key",
    "DELETE FROM users WHERE key = :key",
]
CHANGES = {
    "publish": [COUNT_IN],
    "roll back": [STANDING.format("served = 1"), EVENT.format("rolled_back", 1), CHANGE.format("rolled_back")],
    "revoke": [STANDING.format("revoked = 'left'"), EVENT.format("revoked", "NULL"), CHANGE.format("revoked")],
    "restore": [STANDING.format("revoked = NULL"), EVENT.format("restored", "NULL"), CHANGE.format("restored")],
    "erase": [*REMOVE, CHANGE.format("erased")],
    "make a key": [NEW_KEY],
}


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, path):
    """An empty store."""
    where = path if request.param == "sqlite" else request.getfixturevalue("address")
    open_store(where).close()
    return where


@pytest.fixture
def earlier(where):
    """Run statements in a transaction of the earlier version's, about a user."""
    address = str(where).replace("postgresql:", "postgresql+psycopg:") if "://" in str(where) else f"sqlite:///{where}"
    engine = sa.create_engine(address)

    def run(user, statements):
        token = hashlib.sha256(user.encode()).digest()
        with engine.begin() as connection:
            key = connection.scalar(sa.text("SELECT key FROM users WHERE id_sha256 = :t"), {"t": token})
            values = {"user": user, "token": token, "key": key, "secret": bytes(32)}
            for statement in statements:
                connection.execute(sa.text(statement), values)

    yield run
    engine.dispose()


def refused():
    return pytest.raises(sa.exc.DBAPIError, match="a newer version of sharedllm has upgraded this store")


@pytest.mark.parametrize(
    ("user", "change"), [*(("alice", change) for change in CHANGES), ("bob", "publish"), ("bob", "make a key")]
)
def test_it_changes_nothing_and_is_told_why(where, earlier, change, user):
    """Of alice, who has releases and an API key, or of bob, of whom there is nothing."""
    with open_store(where) as store, open_keys(where) as keys:
        store.publish_many([("alice", adapter(0.5), BETTER), ("alice", adapter(), BETTER)])
        keys.create(user="alice")
        before = list(store.users()), list(keys.all()), store.events("alice"), store.position()
        with refused():
            earlier(user, CHANGES[change])
        assert (list(store.users()), list(keys.all()), store.events("alice"), store.position()) == before
        assert store.publish("alice", adapter(0.25), BETTER).number == 3


def test_it_brings_nobody_back_who_was_erased(where, earlier):
    with open_store(where) as store:
        store.publish("alice", adapter(), BETTER)
        store.erase("alice")
        with refused():
            earlier("alice", CHANGES["publish"])
        with pytest.raises(UnknownUser):
            store.served("alice")


def test_somebody_with_nothing_but_a_key_whom_it_erases_does_not_come_back(where, earlier):
    with open_store(where) as store, open_keys(where) as keys:
        keys.create(user="alice")
        stays = store.begin(["alice", "bob"])
        earlier("alice", REMOVE)
        with pytest.raises(ErasedMeanwhile):
            store.publish("alice", adapter(), BETTER, stays["alice"])
        assert store.publish("bob", adapter(), BETTER, stays["bob"]).number == 1


def test_a_store_that_it_wrote_before_the_upgrade_is_served_and_written_as_ever(path):
    with open_store(path) as store:
        store.publish("alice", adapter(0.5), BETTER)
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        downgrade(connection, "store_0005")
    engine.dispose()
    with sqlite3.connect(path) as connection:
        token = hashlib.sha256(b"bob").digest()
        connection.execute(
            "INSERT INTO users (id, id_sha256, releases, created_at, updated_at) VALUES ('bob', ?, 0, ?, ?)",
            (token, AT, AT),
        )
    connection.close()
    with open_store(path) as store, open_keys(path) as keys:
        assert store.served("alice").number == 1
        assert [user.user for user in store.users()] == ["alice", "bob"]
        assert store.publish("bob", adapter(), BETTER).number == 1
        assert keys.create(user="bob")[1] in list(keys.all())
