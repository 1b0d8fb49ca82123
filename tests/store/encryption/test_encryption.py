"""Encryption at rest: what can be found in the files, who can open what, and what is left of whom."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from tests.store.samples import BETTER, adapter

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import (
    CorruptAdapter,
    CorruptStore,
    MasterKeyError,
    StoreError,
    UnknownKey,
    UnknownUser,
)
from sharedllm.holder import Removed
from sharedllm.store import open_keys, open_store
from sharedllm.store.encryption.master_key import write_master_key
from sharedllm.store.encryption.migrate import encrypt_store, encryption_state
from sharedllm.store.sql.protection import Plain
from sharedllm.store.sql.sqlite import SQLite

SECRET = GateOutcome(True, "a reason of hers", {"figure of hers": 1.25})
VALUES = np.linspace(-1, 1, 300, dtype=np.float16)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, path):
    """Where a store may be made, of every kind that lasts."""
    return path if request.param == "sqlite" else request.getfixturevalue("address")


def fill(where):
    """A store with all that can be personal of alice, and bob; what of her nobody may find in a file; her API key."""
    with open_store(where) as store, open_keys(where) as keys:
        store.publish("bob", adapter(0.5), BETTER)
        published = store.publish("alice", adapter(*VALUES, text="a text of hers"), SECRET)
        store.revoke("alice", "a quarrel with her")
        store.restore("alice")
        store.revoke("alice", "another quarrel")
        secret, _ = keys.create(user="alice", label="a label of hers")
    traces = [b"alice", b"a reason of", b"a text of", b"quarrel", b"a label of", b"figure of hers"]
    return [*traces, published.adapter.values.astype("<f2").tobytes()], secret


def found(traces, *folders):
    data = b"".join(file.read_bytes() for folder in folders for file in folder.iterdir() if file.is_file())
    return [trace for trace in traces if trace in data]


def columns(where):
    """Every value in a SQLite store's tables, as bytes."""
    with closing(sqlite3.connect(where)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f"SELECT * FROM {table}"):
                yield from (value if isinstance(value, bytes) else str(value).encode() for value in row)


def change(path, statement, *parameters):
    """Change a SQLite store behind its back."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, parameters)
        connection.commit()


# What is written


def test_nothing_personal_is_in_an_encrypted_stores_files(path, encrypt, private):
    encrypt(path)
    traces, _ = fill(path)
    assert not found(traces, path.parent, private)
    assert traces[0] not in b"".join(columns(path))


def test_encrypting_a_store_leaves_nothing_of_what_was_there_and_changes_nothing_else(where, encrypt, private, path):
    traces, secret = fill(where)
    with open_store(where) as store, open_keys(where) as keys:
        before = _everything(store), keys.holder(secret)
    encrypt(where)
    with open_store(where) as store, open_keys(where) as keys:
        assert (_everything(store), keys.holder(secret)) == before
        assert store.publish("alice", adapter(0.5), BETTER).number == 2
    assert not found(traces, path.parent, private)
    assert encryption_state(where)["encrypted"] == "yes"
    assert encryption_state(where)["without_a_key"] == 0


def _everything(store):
    return [
        (user, store.releases(user.user), store.events(user.user), store.release(user.user, 1).adapter.values.tolist())
        for user in store.users()
    ]


def test_encrypting_goes_on_from_where_it_was_interrupted(path, encrypt):
    traces, _ = fill(path)

    def interrupted(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encrypt_store(path, interrupted)
    assert encryption_state(path)["encrypted"] == "in part"
    for opening in (open_store, open_keys):
        with pytest.raises(StoreError, match="store encrypt"):
            opening(path)
    encrypt(path)
    with open_store(path) as store:
        assert [user.user for user in store.users()] == ["bob", "alice"]
    assert not found(traces, path.parent)


def test_encrypting_again_changes_nothing(path, encrypt):
    fill(path)
    encrypt(path)
    before = sorted(columns(path))
    assert encrypt(path) == 0
    assert sorted(columns(path)) == before


def test_a_damaged_release_stays_damaged(path, encrypt):
    fill(path)
    change(path, "UPDATE releases SET deviations = zeroblob(600) WHERE length(deviations) = 600")
    encrypt(path)
    with open_store(path) as store:
        store.restore("alice")
        with pytest.raises(CorruptAdapter, match="'alice'"):
            store.served("alice")
        assert store.releases("alice")[0].gate == SECRET


@pytest.mark.slow
def test_a_process_that_has_the_store_open_meanwhile_writes_nothing_plain_into_it(where, encrypt):
    """Nobody would find it there, and an erasure would not remove it."""
    fill(where)
    with open_store(where) as store, open_keys(where) as keys:
        key = next(keys.all())
        encrypt(where)
        before = encryption_state(where)
        for change in (
            lambda: store.publish("alice", adapter(), BETTER),
            lambda: store.publish_many([("carol", adapter(), BETTER)]),
            lambda: store.begin(["carol"]),
            lambda: store.note_erasure("alice", [Removed("checkpoints", "data folder", 1)]),
            lambda: store.erase("alice"),
            lambda: store.keep_receipt("alice", {"id": "1"}),
            lambda: keys.create(user="carol"),
            lambda: keys.create(user=None),
            lambda: keys.revoke(key.id),
        ):
            with pytest.raises(StoreError, match="was encrypted after this process opened it"):
                change()
    assert encryption_state(where) == before
    with open_keys(where) as keys:
        assert [key.revoked_at for key in keys.all()] == [None]


def test_what_is_being_written_when_encryption_begins_is_encrypted_too(server, address, encrypt, monkeypatch):
    note, written, over = Plain.note, threading.Event(), threading.Event()

    def slowly(protection, connection, notes):
        note(protection, connection, notes)
        # Alice's row shows to others when this ends, which is not before encryption waits for it, or has missed it.
        written.set()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while server.run(waiting) == [(0,)] and not over.wait(0.01):
            pass

    with open_store(address) as store, ThreadPoolExecutor() as threads:
        monkeypatch.setattr(Plain, "note", slowly)
        publishing = threads.submit(store.publish, "alice", adapter(), BETTER)
        written.wait()
        encrypt(address)
        over.set()
        publishing.result()
    with open_store(address) as store:
        assert [user.user for user in store.users()] == ["alice"]


# Who opens it


@pytest.mark.parametrize("lost", ["named", "master.key", "vault.db"])
def test_without_the_master_key_or_the_vault_nothing_opens_and_nothing_is_written(
    path, encrypt, private, monkeypatch, lost
):
    encrypt(path)
    fill(path)
    if lost == "named":
        monkeypatch.delenv("SHAREDLLM_MASTER_KEY_FILE")
    else:
        (private / lost).rename(private / "elsewhere")
    before = path.read_bytes()
    for opening in (open_store, open_keys):
        with pytest.raises(MasterKeyError):
            opening(path)
    assert path.read_bytes() == before
    assert lost == "named" or not (private / lost).exists()


def test_another_master_key_is_refused_and_neither_is_shown(path, encrypt, private):
    encrypt(path)
    right = (private / "master.key").read_text().strip()
    (private / "master.key").unlink()
    write_master_key(private / "master.key")
    wrong = (private / "master.key").read_text().strip()
    with pytest.raises(MasterKeyError, match="does not open") as refusal:
        open_store(path)
    assert not [key for key in (right, wrong) if key in str(refusal.value)]


def test_another_stores_vault_is_refused(path, tmp_path, encrypt, private, monkeypatch):
    encrypt(path)
    with pytest.raises(MasterKeyError, match="another store"):
        encrypt(tmp_path / "other.db")
    monkeypatch.setenv("SHAREDLLM_VAULT", str(private / "other.db"))
    encrypt(tmp_path / "other.db")
    with pytest.raises(MasterKeyError, match="another store"):
        open_store(path)


def test_a_store_that_is_not_encrypted_needs_no_key(path, private):
    fill(path)
    assert encryption_state(path) == {"encrypted": "no"}
    with open_store(path) as store:
        assert store.user("alice").releases == 1
    assert not (private / "vault.db").exists()


def test_a_store_whose_mark_of_encryption_was_taken_away_is_refused(path, encrypt, monkeypatch):
    """Otherwise whoever may write to it could put in plain rows, which need no key."""
    encrypt(path)
    fill(path)
    change(path, "DELETE FROM vaults")
    for opening in (open_store, open_keys):
        with pytest.raises(MasterKeyError, match="is not encrypted, and there is a vault"):
            opening(path)
    monkeypatch.delenv("SHAREDLLM_MASTER_KEY_FILE")
    with open_store(path) as store, pytest.raises(UnknownUser):
        store.served("alice")


def test_key_and_vault_are_their_owners_alone_and_so_are_folders_that_are_made_for_them(
    path, umask, private, encrypt, tmp_path, monkeypatch
):
    vault = tmp_path / "made" / "for" / "vault.db"
    monkeypatch.setenv("SHAREDLLM_VAULT", str(vault))
    encrypt(path)
    assert {file.stat().st_mode & 0o077 for file in (vault.parent.parent, vault.parent, vault)} == {0}
    assert {file.stat().st_mode & 0o077 for file in (private, *private.iterdir())} == {0}
    (private / "master.key").chmod(0o640)
    with pytest.raises(MasterKeyError, match="chmod 600"):
        open_store(path)


def test_a_master_key_is_never_overwritten(private):
    before = (private / "master.key").read_bytes()
    with pytest.raises(MasterKeyError, match="exists"):
        write_master_key(private / "master.key")
    assert (private / "master.key").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no key", b"00" * 31, b"\xff" * 64])
def test_a_file_without_a_key_is_refused_and_not_quoted(path, private, encrypt, content):
    (private / "master.key").write_bytes(content)
    with pytest.raises(MasterKeyError, match="does not hold a master key") as refusal:
        encrypt(path)
    assert not content or content.decode(errors="replace") not in str(refusal.value)
    assert not path.exists()


# Who writes to it


SWAPS = [
    "UPDATE releases SET deviations = (SELECT deviations FROM releases WHERE number = 2) WHERE number = 1",
    "UPDATE releases SET provenance = (SELECT provenance FROM releases WHERE number = 2) WHERE number = 1",
    "UPDATE releases SET gate = provenance WHERE number = 1",
    "UPDATE releases SET base = 'base-2' WHERE number = 1",
    "UPDATE releases SET format = 'ia3' WHERE number = 1",
    "UPDATE releases SET id = (SELECT id FROM releases WHERE number = 2) WHERE number = 1",
    "UPDATE releases SET created_at = '2020-01-01T00:00:00.000000+00:00' WHERE number = 1",
    "UPDATE releases SET deviations = zeroblob(32) WHERE number = 1",
    "UPDATE releases SET deviations = 'text', gate = 7 WHERE number = 1",
]


@pytest.mark.parametrize("swap", SWAPS)
def test_nothing_opens_anywhere_but_where_it_was_written(path, encrypt, swap):
    encrypt(path)
    with open_store(path) as store:
        for value in (0.1, 0.2):
            store.publish("alice", adapter(value), GateOutcome(True, f"passed with {value}"))
        change(path, swap)
        with pytest.raises(CorruptAdapter):
            store.release("alice", 1)
        assert store.release("alice", 2).number == 2


def test_one_users_rows_open_for_nobody_else(path, encrypt):
    encrypt(path)
    with open_store(path) as store:
        for user in ("alice", "bob"):
            store.publish(user, adapter(0.5), BETTER)
        change(path, "UPDATE releases SET user_key = user_key + 10")
        change(path, "UPDATE releases SET user_key = 13 - user_key")
        for user in ("alice", "bob"):
            with pytest.raises(CorruptAdapter, match=user):
                store.served(user)


def test_reasons_that_were_exchanged_are_noticed(path, encrypt):
    encrypt(path)
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
        store.revoke("alice", "why")
        change(path, "UPDATE events SET reason = (SELECT reason FROM events WHERE key = 1)")
        with pytest.raises(CorruptStore):
            store.events("alice")


# Erasing


@pytest.mark.slow
def test_of_an_erased_user_nothing_is_left_and_no_backup_opens(path, encrypt, private, tmp_path):
    encrypt(path)
    traces, secret = fill(path)
    backup = tmp_path / "backup"
    backup.mkdir()
    with open_store(path) as store, closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(backup / "store.db"),))
        with closing(sqlite3.connect(private / "vault.db")) as keys:
            mine = keys.execute("SELECT lookup, token, wrapped FROM user_keys ORDER BY key DESC LIMIT 1").fetchone()
        assert mine[1] in path.read_bytes() + path.with_name("store.db-wal").read_bytes()
        erased = store.erase("alice")
        assert (erased.releases, erased.events, erased.keys, erased.key_destroyed) == (1, 4, 1, True)
    assert not found([*traces, *mine], path.parent, private)
    assert not found(traces, backup)
    with open_store(backup / "store.db") as store, open_keys(backup / "store.db") as keys:
        assert [user.user for user in store.users()] == ["bob"]
        assert [release.user for _, release in store.answers()] == ["bob"]
        with pytest.raises(UnknownUser):
            store.release("alice", 1)
        with pytest.raises(UnknownKey):
            keys.holder(secret)
        assert list(keys.all()) == []
    assert encryption_state(backup / "store.db")["without_a_key"] == 1


@pytest.mark.slow
def test_whoever_is_erased_while_something_of_theirs_is_stored_stays_erased(path, encrypt, monkeypatch):
    encrypt(path)
    fill(path)
    write = SQLite.write

    def slowly(database, work):
        if getattr(work, "__name__", "") == "write":
            monkeypatch.setattr(SQLite, "write", write)
            with open_store(path) as other:
                other.erase("alice")
        return write(database, work)

    with open_store(path) as store:
        monkeypatch.setattr(SQLite, "write", slowly)
        store.publish("alice", adapter(), BETTER)
        with pytest.raises(UnknownUser):
            store.user("alice")
    assert (encryption_state(path)["users"], encryption_state(path)["without_a_key"]) == (1, 0)


@pytest.mark.slow
def test_a_user_who_comes_back_after_an_erasure_has_another_key(path, encrypt, private):
    encrypt(path)
    fill(path)
    tokens = []
    with open_store(path) as store:
        for _ in range(2):
            with closing(sqlite3.connect(path)) as connection:
                tokens += connection.execute("SELECT id_sha256 FROM users ORDER BY key DESC LIMIT 1").fetchall()
            store.erase("alice")
            assert store.publish("alice", adapter(), BETTER).number == 1
    assert len(set(tokens)) == 2
