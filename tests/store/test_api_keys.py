"""API keys at rest: what opens, what does not, and what is kept."""

import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest
from tests.store.samples import BETTER, adapter, downgrade

from sharedllm.errors import InvalidInput, InvalidUserId, UnknownKey, UnknownName, UnknownUser
from sharedllm.store import open_keys, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, path):
    """Where a store may be made, of every kind that lasts."""
    return path if request.param == "sqlite" else request.getfixturevalue("address")


@pytest.fixture
def keys(where):
    with open_keys(where) as opened:
        yield opened


def files(path):
    """All bytes that the store has on the disk."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_a_users_key_speaks_for_that_user(keys):
    before = datetime.now(UTC)
    secret, key = keys.create(user="alice", label="her laptop")
    assert keys.holder(secret) == key
    assert (key.kind, key.user, key.label, key.revoked_at) == ("user", "alice", "her laptop", None)
    assert before <= key.created_at <= datetime.now(UTC)


def test_a_service_key_speaks_for_nobody_in_particular(keys):
    secret, key = keys.create(user=None)
    assert keys.holder(secret) == key
    assert (key.kind, key.user, key.label) == ("service", None, "")


def test_a_secret_has_256_random_bits_and_a_prefix_that_scanners_can_look_for(keys):
    secrets = {keys.create(user="alice")[0] for _ in range(50)}
    assert len(secrets) == 50
    assert all(secret.startswith("sllm_") and len(secret) == len("sllm_") + 43 for secret in secrets)


def test_a_user_may_have_several_keys_each_revoked_alone(keys):
    (first, one), (second, two) = keys.create(user="alice"), keys.create(user="alice")
    keys.revoke(one.id)
    with pytest.raises(UnknownKey):
        keys.holder(first)
    assert keys.holder(second) == two


def test_unknown_and_revoked_are_refused_alike_and_never_quoted(keys):
    secret, key = keys.create(user="alice")
    keys.revoke(key.id)
    refusals = set()
    for shown in (secret, "sllm_" + "x" * 43, secret[:-1], secret + " ", "", "\ud800", "' OR 1=1 --", key.id):
        with pytest.raises(UnknownKey) as refusal:
            keys.holder(shown)
        refusals.add(str(refusal.value))
    (message,) = refusals
    assert secret not in message


def test_a_key_revoked_elsewhere_is_refused_at_once(where, keys):
    secret, key = keys.create(user="alice")
    assert keys.holder(secret) == key
    with open_keys(where) as elsewhere:
        elsewhere.revoke(key.id)
    with pytest.raises(UnknownKey):
        keys.holder(secret)


def test_revoking_again_changes_nothing(keys):
    _, key = keys.create(user="alice")
    keys.revoke(key.id)
    (revoked,) = keys.all()
    keys.revoke(key.id)
    assert list(keys.all()) == [revoked]
    assert revoked.revoked_at >= key.created_at


def test_revoking_what_is_not_a_key_is_an_error(keys):
    with pytest.raises(UnknownName, match="'nothing'"):
        keys.revoke("nothing")


@pytest.mark.parametrize("id", ["nul\0", "\ud800"])
def test_what_cannot_be_the_id_of_a_key_is_refused(keys, id):
    with pytest.raises(InvalidInput):
        keys.revoke(id)


def test_a_secret_given_for_an_id_is_not_repeated(keys):
    secret, key = keys.create(user="alice")
    with pytest.raises(InvalidInput) as refusal:
        keys.revoke(secret)
    assert secret not in str(refusal.value)
    assert keys.holder(secret) == key


def test_all_lists_the_oldest_first_page_after_page(keys, monkeypatch):
    monkeypatch.setattr("sharedllm.store.sql.database.ROWS_PER_PAGE", 3)
    made = [keys.create(user=user)[1] for user in ("zoe", None, "alice", "zoe", "mia", "bob", "eve")]
    assert list(keys.all()) == made


@pytest.mark.parametrize("user", ["", "x" * 1025, "nul\0", "\ud800"])
def test_what_cannot_name_a_user_gets_no_key(keys, user):
    with pytest.raises(InvalidUserId):
        keys.create(user=user)
    assert list(keys.all()) == []


def test_a_label_that_no_database_stores_is_refused(keys):
    with pytest.raises(InvalidInput, match="label"):
        keys.create(user="alice", label="nul\0")


def test_only_a_hash_of_the_secret_is_kept(path):
    with open_keys(path) as keys:
        secret, _ = keys.create(user="alice")
    assert secret[5:].encode() not in files(path)
    assert hashlib.sha256(secret.encode()).digest() in files(path)


def test_keys_in_memory_are_refused():
    with pytest.raises(InvalidInput, match="memory"):
        open_keys(":memory:")


# Erasure


def test_erasing_a_user_removes_their_keys_and_nobody_elses(where, keys):
    with open_store(where) as store:
        store.publish("alice", adapter(), BETTER)
        mine, _ = keys.create(user="alice")
        keys.revoke(keys.create(user="alice")[1].id)
        others = [keys.create(user="bob"), keys.create(user=None)]
        assert store.erase("alice").keys == 2
    with pytest.raises(UnknownKey):
        keys.holder(mine)
    assert list(keys.all()) == [keys.holder(secret) for secret, _ in others]


def test_no_byte_of_an_erased_users_keys_is_left(path):
    with open_store(path) as store, open_keys(path) as keys:
        store.publish("alice", adapter(), BETTER)
        secret, key = keys.create(user="alice", label="a label of hers")
        traces = [b"alice", b"a label of hers", key.id.encode(), hashlib.sha256(secret.encode()).digest()]
        assert all(trace in files(path) for trace in traces)
        store.erase("alice")
        assert not [trace for trace in traces if trace in files(path)]


def test_somebody_with_a_key_and_no_release_can_be_erased_too(where, keys):
    keys.create(user="alice")
    with open_store(where) as store:
        erased = store.erase("alice")
        assert (erased.releases, erased.events, erased.keys) == (0, 0, 1)
        assert list(keys.all()) == []
        with pytest.raises(UnknownUser):
            store.erase("alice")


# Upgrading


def test_a_store_from_before_there_were_keys_gets_them_and_loses_nothing(path):
    import sqlalchemy as sa

    with open_store(path) as store:
        published = store.publish("alice", adapter(0.5), BETTER)
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        downgrade(connection, "store_0001")
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'keys'").fetchall() == []
    with open_keys(path) as keys, open_store(path) as store:
        assert store.served("alice").id == published.id
        secret, key = keys.create(user="alice")
        assert keys.holder(secret) == key
