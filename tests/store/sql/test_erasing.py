"""Erasures from an encrypted store that fail on their way: what holds meanwhile, and how they end."""

import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tests.store.samples import BETTER, adapter

from sharedllm.errors import StoreBusy, StoreUnreachable, UnknownUser
from sharedllm.holder import Removed
from sharedllm.operations.erase import erase
from sharedllm.store import open_keys, open_store
from sharedllm.store.address import open_database
from sharedllm.store.encryption import vault
from sharedllm.store.encryption.migrate import encryption_state
from sharedllm.store.encryption.sealing import Sealed
from sharedllm.store.encryption.vault import Vault
from sharedllm.store.evidence.audit import head, verify, written
from sharedllm.store.evidence.signing import signing_key
from sharedllm.store.sql.sql_store import SQLStore


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, path, encrypt):
    """An encrypted store of alice, who has an API key, and bob."""
    where = path if request.param == "sqlite" else request.getfixturevalue("address")
    encrypt(where)
    with open_store(where) as store, open_keys(where) as keys:
        store.publish_many([("alice", adapter(0.5), BETTER), ("bob", adapter(), BETTER), ("alice", adapter(), BETTER)])
        keys.create(user="alice")
    return where


def begun(store):
    """What each step of an erasure begins with, from the first that can fail after the vault has noted it."""
    return {
        "rows": (SQLStore, "_remove"),
        "key": (Vault, "destroy"),
        "file": (type(store._database), "scrub"),
        "vault": (Vault, "scrub"),
        "head": (Sealed, "head"),
        "end": (Vault, "left"),
    }


STEPS = ["rows", "key", "file", "vault", "head", "end"]


class Killed(BaseException):
    """The process ended here."""


BUSY = StoreBusy("Another process has been writing", remedy="Try again.")


@contextmanager
def failing(store, step, monkeypatch, error):
    """Have erasures end at a step, with an error."""

    def fail(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(*begun(store)[step], fail)
        yield


def wait(monkeypatch):
    """Let a minute pass."""
    monkeypatch.setattr(vault, "ERASING_SECONDS", 0.0)


def kept(where, private):
    """Rows of users in the store, keys in the vault, and erasures that it remembers."""
    with closing(sqlite3.connect(private / "vault.db")) as connection:
        (remembered,) = connection.execute("SELECT count(*) FROM erasing").fetchone()
    return encryption_state(where)["users"], encryption_state(where)["keys"], remembered


def kinds(store, after):
    return [change.kind for change in store.changes(after)]


def entries(where, kind):
    with closing(open_database(where)) as database:
        verify(database, signing_key().public_key())
        return [entry.kind for entry in written(database)].count(kind)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_the_key_goes_only_once_the_log_of_changes_says_so(where, private, monkeypatch, step):
    """Nodes on packed snapshots know of an erasure from the log alone."""
    with open_store(where) as store:
        began = store.position().number
        with failing(store, step, monkeypatch, BUSY), pytest.raises(StoreBusy) as refusal:
            store.erase("alice")
        if step == "rows":
            assert "'alice' is not erased yet: Another process" in str(refusal.value)
            assert store.served("alice").number == 2
            assert kept(where, private) == (2, 2, 1)
            assert kinds(store, began) == []
        else:
            assert "'alice' is erased, but traces" in str(refusal.value)
            assert "erase them again" in refusal.value.remedy
            with pytest.raises(UnknownUser):
                store.served("alice")
            assert kept(where, private) == (1, 2 if step == "key" else 1, 1)
            assert kinds(store, began) == ["erased"]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_the_same_call_goes_on_from_wherever_it_failed(where, private, monkeypatch, step):
    with open_store(where) as store, failing(store, step, monkeypatch, BUSY), pytest.raises(StoreBusy):
        store.erase("alice")
    with open_store(where) as store:
        erased = store.erase("alice")
        assert (erased.user, erased.key_destroyed) == ("alice", True)
        assert (erased.releases, erased.events, erased.keys) == ((2, 2, 1) if step == "rows" else (0, 0, 0))
        with closing(open_database(where)) as database:
            assert erased.audit == head(database)
        assert kept(where, private) == (1, 1, 0)
        with pytest.raises(UnknownUser):
            store.erase("alice")
        assert store.publish("alice", adapter(), BETTER).number == 1
    assert entries(where, "erased") == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_erasure_is_finished_when_the_store_is_opened_and_still_ends_with_a_receipt(
    where, private, monkeypatch, step
):
    with open_store(where) as store, failing(store, step, monkeypatch, Killed()), pytest.raises(Killed):
        store.erase("alice")
    wait(monkeypatch)
    with open_store(where) as store:
        assert kept(where, private) == (1, 1, 1)
        assert entries(where, "erased") == 1
        with pytest.raises(UnknownUser):
            store.served("alice")
        assert store.erase("alice").key_destroyed
        assert kept(where, private) == (1, 1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_one_that_was_killed_without_an_account_as_of_an_earlier_version_ends_with_a_receipt(
    where, private, monkeypatch, step, tmp_path
):
    with open_store(where) as store:
        with failing(store, step, monkeypatch, Killed()), pytest.raises(Killed):
            store.erase("alice")
        receipt = erase(store, "alice", folder=tmp_path / "training")
        assert Removed("encryption key", "vault", 1) in receipt.removed
        assert kept(where, private) == (1, 1, 0)
        assert erase(store, "alice", folder=tmp_path / "training") == receipt


@pytest.mark.slow
def test_a_minute_is_left_to_whoever_is_erasing(where, private, monkeypatch):
    with open_store(where) as store, failing(store, "rows", monkeypatch, Killed()), pytest.raises(Killed):
        store.erase("alice")
    open_store(where).close()
    assert kept(where, private) == (2, 2, 1)


@pytest.mark.slow
def test_a_process_that_stays_up_finishes_it_with_the_next_erasure(where, private, monkeypatch):
    with open_store(where) as store:
        with failing(store, "rows", monkeypatch, BUSY), pytest.raises(StoreBusy):
            store.erase("alice")
        wait(monkeypatch)
        store.erase("bob")
        assert kept(where, private) == (0, 0, 1)


def test_who_was_erased_gets_a_receipt_although_another_interrupted_erasure_cannot_be_finished(where, monkeypatch):
    with open_store(where) as store:
        with failing(store, "rows", monkeypatch, BUSY), pytest.raises(StoreBusy):
            store.erase("alice")
        wait(monkeypatch)
        remove = SQLStore._remove

        def unreachable(store, token, owner=None):
            if owner is None:
                raise StoreUnreachable("The server does not answer", remedy="Start it.")
            return remove(store, token, owner)

        monkeypatch.setattr(SQLStore, "_remove", unreachable)
        assert store.erase("bob").releases == 1


@pytest.mark.slow
def test_nothing_is_stored_of_somebody_who_is_being_erased(where, private, monkeypatch):
    with open_store(where) as store, open_keys(where) as keys:
        with failing(store, "key", monkeypatch, BUSY), pytest.raises(StoreBusy):
            store.erase("alice")
        for change in (lambda: store.publish("alice", adapter(), BETTER), lambda: keys.create(user="alice")):
            with pytest.raises(StoreBusy, match="'alice' is being erased"):
                change()
        store.publish("bob", adapter(), BETTER)
    assert kept(where, private) == (1, 2, 1)


@pytest.mark.slow
def test_somebody_may_come_back_before_anybody_asks_for_the_receipt(where, private, monkeypatch):
    with open_store(where) as store:
        with failing(store, "end", monkeypatch, BUSY), pytest.raises(StoreBusy):
            store.erase("alice")
        assert store.publish("alice", adapter(0.25), BETTER).number == 1
        wait(monkeypatch)
        open_store(where).close()
        assert store.served("alice").adapter.values.tolist() == [0.25]
        assert store.erase("alice").releases == 1
    assert kept(where, private) == (1, 1, 0)


def test_a_store_opens_although_an_interrupted_erasure_cannot_be_finished(where, private, monkeypatch):
    with open_store(where) as store, failing(store, "rows", monkeypatch, Killed()), pytest.raises(Killed):
        store.erase("alice")
    wait(monkeypatch)
    with failing(store, "rows", monkeypatch, BUSY), open_store(where) as store:
        assert store.served("bob").number == 1


def test_of_an_erasure_that_was_resumed_the_vault_keeps_nothing(path, encrypt, private, monkeypatch):
    encrypt(path)
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
        with closing(sqlite3.connect(private / "vault.db")) as keys:
            mine = keys.execute("SELECT lookup, token, wrapped FROM user_keys").fetchone()
        with failing(store, "end", monkeypatch, BUSY), pytest.raises(StoreBusy):
            store.erase("alice")
        store.erase("alice")
    files = [file.read_bytes() for folder in (path.parent, private) for file in folder.iterdir() if file.is_file()]
    assert not [trace for trace in mine if trace in b"".join(files)]


@pytest.mark.slow
def test_an_erasure_that_was_killed_while_the_clock_was_ahead_is_taken_up(where, private, monkeypatch):
    ahead = (datetime.now(UTC) + timedelta(days=400)).isoformat(timespec="microseconds")
    with open_store(where) as store, monkeypatch.context() as patched:
        patched.setattr(vault, "now", lambda: ahead)
        with failing(store, "rows", monkeypatch, BUSY), pytest.raises(StoreBusy):
            store.erase("alice")
    assert kept(where, private) == (2, 2, 1)
    with open_store(where) as store:
        assert [user.user for user in store.users()] == ["bob"]
    assert kept(where, private) == (1, 1, 1)
