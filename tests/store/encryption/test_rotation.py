"""Another master key in the place of the old one."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.store.samples import BETTER, adapter

from sharedllm.errors import InvalidInput, MasterKeyError
from sharedllm.store import open_store
from sharedllm.store.address import open_database
from sharedllm.store.encryption.rotation import rotate_master_key
from sharedllm.store.encryption.vault import Vault
from sharedllm.store.evidence.audit import written


@pytest.fixture
def rows(path, encrypt, monkeypatch):
    """What the vault holds for each of the five users of an encrypted store; pages are small."""
    monkeypatch.setattr("sharedllm.store.encryption.vault.ROWS_PER_PAGE", 2)
    encrypt(path)
    with open_store(path) as store:
        store.publish_many((f"user {number}", adapter(number), BETTER) for number in range(5))
    vault = path.parent / "private" / "vault.db"

    def rows():
        with closing(sqlite3.connect(vault)) as connection:
            return connection.execute("SELECT lookup, token, wrapped FROM user_keys ORDER BY key").fetchall()

    return rows


def values(store):
    return [store.served(f"user {number}").adapter.values.tolist() for number in range(5)]


def test_every_key_is_wrapped_anew_and_nothing_else_changes(path, rows, private):
    old = rows()
    store_before = path.read_bytes()
    assert rotate_master_key(path) == 5
    new = rows()
    assert [row[:2] for row in new] == [row[:2] for row in old]
    assert not {row[2] for row in new} & {row[2] for row in old}
    assert sorted(file.name for file in private.iterdir() if "vault" not in file.name) == [
        "master.key",
        "signing-key.pem",
    ]
    with open_store(path) as store:
        assert values(store) == [[0], [1], [2], [3], [4]]
    assert store_before[:16] == path.read_bytes()[:16]


def test_nothing_that_the_old_key_opens_is_left_in_the_vault(path, rows, private):
    old = [wrapped for _, _, wrapped in rows()]
    shutil.copy(private / "master.key", private / "old.key")
    rotate_master_key(path)
    everything = b"".join(file.read_bytes() for file in private.iterdir())
    assert not [wrapped for wrapped in old if wrapped in everything]
    with pytest.raises(MasterKeyError):
        Vault(private / "vault.db", private / "old.key")


def test_a_process_that_has_the_store_open_reads_the_new_key_by_itself(path, rows):
    with open_store(path) as store:
        before = values(store)
        rotate_master_key(path)
        assert values(store) == before
        rotate_master_key(path)
        store.publish("somebody new", adapter(), BETTER)
    with open_store(path) as store:
        assert values(store) == before
        assert store.served("somebody new").number == 1


@pytest.mark.parametrize("interrupted", ["rewrap", "replace", "scrub"])
def test_an_interrupted_rotation_goes_on(path, rows, private, monkeypatch, interrupted):
    def power_cut(*_):
        raise KeyboardInterrupt

    with open_store(path) as store:
        before = values(store)
    with monkeypatch.context() as patched:
        patched.setattr(Path if interrupted == "replace" else Vault, interrupted, power_cut)
        with pytest.raises(KeyboardInterrupt):
            rotate_master_key(path)
    assert rotate_master_key(path) == 5
    assert not (private / "master.key.new").exists()
    with open_store(path) as store:
        assert values(store) == before


def test_a_rotation_is_in_the_audit_log(path, rows):
    rotate_master_key(path)
    with closing(open_database(path)) as database:
        assert [entry.kind for entry in written(database)][-1] == "rotated"


def test_a_store_that_is_not_encrypted_has_no_key_to_rotate(path, private):
    open_store(path).close()
    before = (private / "master.key").read_bytes()
    with pytest.raises(InvalidInput, match="not encrypted"):
        rotate_master_key(path)
    assert (private / "master.key").read_bytes() == before


def test_without_the_right_key_nothing_is_rotated(path, rows, private):
    before = rows()
    (private / "master.key").write_text("00" * 32)
    with pytest.raises(MasterKeyError):
        rotate_master_key(path)
    assert rows() == before
    assert not (private / "master.key.new").exists()


def test_a_link_to_the_master_key_stays_one(path, rows, private, monkeypatch):
    (private / "elsewhere").mkdir()
    real = private / "elsewhere" / "real.key"
    (private / "master.key").rename(real)
    (private / "master.key").symlink_to(real)
    old = real.read_bytes()
    assert rotate_master_key(path) == 5
    assert (private / "master.key").is_symlink()
    assert real.read_bytes() != old
    assert [file.name for file in real.parent.iterdir()] == ["real.key"]
    with open_store(path) as store:
        assert values(store) == [[0], [1], [2], [3], [4]]


def test_what_an_interrupted_rotation_keeps_closed_says_so(path, rows, private, monkeypatch):
    def power_cut(*_):
        raise KeyboardInterrupt

    with open_store(path) as running:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", power_cut)
            with pytest.raises(KeyboardInterrupt):
                rotate_master_key(path)
        for ask in (lambda: open_store(path), lambda: list(running.users())):
            with pytest.raises(MasterKeyError, match=r"was interrupted.* Run `sharedllm store rotate-key` again"):
                ask()
        rotate_master_key(path)
        assert len(list(running.users())) == 5
