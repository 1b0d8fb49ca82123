"""The audit log: what is in it, what it gives away, and every way of editing it that shows."""

import sqlite3
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.store.samples import BETTER, WORSE, adapter

from sharedllm.errors import AuditError, InvalidInput, UnknownUser
from sharedllm.store import open_keys, open_store
from sharedllm.store.address import open_database
from sharedllm.store.encryption.sealing import audit_key
from sharedllm.store.evidence import audit
from sharedllm.store.evidence.audit import head, verify, written
from sharedllm.store.evidence.signing import signing_key


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, path):
    """Where a store may be made, of every kind that lasts."""
    return path if request.param == "sqlite" else request.getfixturevalue("address")


@pytest.fixture
def database(where, encrypt):
    """The database of an encrypted store in which all that is logged has happened."""
    encrypt(where)
    fill(where)
    with closing(open_database(where)) as database:
        yield database


def fill(where):
    with open_store(where) as store, open_keys(where) as keys:
        store.publish_many([("alice", adapter(), BETTER), ("bob", adapter(), BETTER), ("alice", adapter(), WORSE)])
        store.publish_many([])
        store.rollback("alice", 2, override_reason="she asked for it")
        store.rollback("alice", 1)
        store.revoke("alice", "a quarrel")
        store.restore("alice")
        keys.revoke(keys.create(user="alice")[1].id)
        keys.create(user=None)


HAPPENED = [
    ("encrypted", None, False),
    ("published", 1, True),
    ("published", 1, True),
    ("held_back", 2, True),
    ("overridden", 2, True),
    ("rolled_back", 1, True),
    ("revoked", None, True),
    ("restored", None, True),
    ("key_created", None, True),
    ("key_revoked", None, True),
    ("key_created", None, False),
]


def entries(database, user=None):
    subject = None if user is None else audit_key(database, user)
    return [(entry.kind, entry.number, entry.of_user) for entry in written(database, subject)]


def check(database, kept=None):
    return verify(database, signing_key().public_key(), kept)


@pytest.mark.slow
def test_everything_that_happens_is_written_down_in_order(database):
    assert entries(database) == HAPPENED
    assert check(database) == head(database)
    assert head(database).place == len(HAPPENED)


@pytest.mark.slow
def test_who_knows_an_id_finds_that_users_entries_until_they_are_erased(database, where):
    assert entries(database, "bob") == [("published", 1, True)]
    assert len(entries(database, "alice")) == 8
    with open_store(where) as store:
        erased = store.erase("alice")
    assert entries(database) == [*HAPPENED, ("erased", None, True)]
    assert erased.audit == check(database)
    with pytest.raises(UnknownUser):
        audit_key(database, "alice")


@pytest.mark.slow
def test_the_log_does_not_show_which_entries_belong_together(path, encrypt):
    encrypt(path)
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        subjects = [row[0] for row in connection.execute("SELECT subject FROM audit WHERE subject IS NOT NULL")]
    assert len(set(subjects)) == len(subjects) == 9


@pytest.mark.slow
def test_what_is_undone_is_not_written_down(database, where):
    with open_store(where) as store, pytest.raises(InvalidInput):
        store.publish_many([("alice", adapter(), BETTER), ("alice", adapter(float("nan")), BETTER)])
    assert entries(database) == HAPPENED


EDITS = {
    "edited": "UPDATE audit SET kind = 'published' WHERE key = 4",
    "dated otherwise": "UPDATE audit SET at = '2020-01-01' WHERE key = 4",
    "moved to another release": "UPDATE audit SET number = 7 WHERE key = 4",
    "moved to another user": "UPDATE audit SET subject = (SELECT subject FROM audit WHERE key = 3) WHERE key = 4",
    "freed of its user": "UPDATE audit SET subject = NULL WHERE key = 4",
    "of another hash": "UPDATE audit SET hash = (SELECT hash FROM audit WHERE key = 3) WHERE key = 4",
    "signed otherwise": "UPDATE audit SET signature = (SELECT signature FROM audit WHERE key = 5) WHERE key = 4",
    "of another type": "UPDATE audit SET kind = x'00', number = 'seven', signature = 'none' WHERE key = 4",
    "removed": "DELETE FROM audit WHERE key = 4",
    "exchanged": "UPDATE audit SET key = CASE key WHEN 4 THEN -5 WHEN 5 THEN -4 ELSE -key END",
    "the first": "DELETE FROM audit WHERE key = 1",
    "all": "DELETE FROM audit",
    "put in": "INSERT INTO audit SELECT 12, at, kind, subject, number, hash, signature FROM audit WHERE key = 11",
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_no_entry_can_be_edited_unnoticed(path, encrypt, edit):
    encrypt(path)
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(EDITS[edit])
        if edit == "exchanged":
            connection.execute("UPDATE audit SET key = -key")
        connection.commit()
    with closing(open_database(path)) as database, pytest.raises(AuditError):
        check(database)


def forge(connection, *, key=4, signature="NULL"):
    """Edit an entry, and mend the chain from there on, as anybody can who may write to the database."""
    connection.execute("UPDATE audit SET kind = 'published' WHERE key = ?", (key,))
    (previous,) = connection.execute("SELECT hash FROM audit WHERE key = ?", (key - 1,)).fetchone()
    rows = connection.execute("SELECT key, at, kind, subject, number FROM audit WHERE key >= ? ORDER BY key", (key,))
    for place, at, kind, subject, number in rows.fetchall():
        previous = audit._hash(previous, place, at, kind, subject, number)
        connection.execute(f"UPDATE audit SET hash = ?, signature = {signature} WHERE key = ?", (previous, place))
    connection.commit()


@pytest.mark.parametrize("signature", ["NULL", "signature", "'none'", "zeroblob(64)"])
def test_nothing_is_written_after_a_forged_end_which_the_signature_would_otherwise_make_genuine(
    path, encrypt, signature
):
    encrypt(path)
    fill(path)
    with closing(open_database(path)) as database, open_store(path) as store:
        with closing(sqlite3.connect(path)) as connection:
            forge(connection, signature=signature)
        forged = head(database)
        for change in (
            lambda: store.publish("alice", adapter(), BETTER),
            lambda: store.revoke("bob", "why"),
            lambda: store.erase("bob"),
        ):
            with pytest.raises(AuditError, match=r"Entry 11 .* was not signed by this store.* from a backup"):
                change()
        assert store.user("bob").state == "active"
        assert (store.user("alice").releases, head(database)) == (2, forged)
        with pytest.raises(AuditError):
            check(database)


def test_nothing_is_written_after_an_end_of_another_type(path, encrypt):
    encrypt(path)
    with open_store(path) as store, closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE audit SET hash = 'text'")
        connection.commit()
        with pytest.raises(AuditError):
            store.publish("alice", adapter(), BETTER)


def test_nothing_is_written_after_a_log_that_is_gone(path, encrypt):
    encrypt(path)
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM audit")
        connection.commit()
    with open_store(path) as store, pytest.raises(AuditError, match="Entry 1 of the audit log is missing"):
        store.revoke("bob", "why")


@pytest.mark.slow
def test_another_stores_log_does_not_pass_for_this_ones(path, tmp_path, encrypt, monkeypatch):
    """Though the same key signs it."""
    encrypt(path)
    with monkeypatch.context() as other:
        other.setenv("SHAREDLLM_VAULT", str(tmp_path / "other-vault.db"))
        encrypt(tmp_path / "other.db")
        fill(tmp_path / "other.db")
        with closing(open_database(tmp_path / "other.db")) as database:
            check(database)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        connection.execute("DELETE FROM audit")
        connection.execute("INSERT INTO audit SELECT * FROM other.audit")
        connection.commit()
    with closing(open_database(path)) as database, pytest.raises(AuditError, match="for another store"):
        check(database)
    with open_store(path) as store, pytest.raises(AuditError, match="was not signed by this store"):
        store.publish("alice", adapter(), BETTER)


def test_with_another_signing_key_nothing_is_written(path, encrypt, private):
    encrypt(path)
    (private / "signing-key.pem").rename(private / "kept.pem")
    with open_store(path) as store, pytest.raises(AuditError, match="If the signing key was lost or replaced"):
        store.publish("alice", adapter(), BETTER)
    (private / "kept.pem").replace(private / "signing-key.pem")
    with open_store(path) as store:
        assert store.publish("alice", adapter(), BETTER).number == 1


@pytest.mark.slow
def test_cutting_off_an_unsigned_end_shows_by_itself_and_a_signed_one_against_a_head_kept_elsewhere(path, encrypt):
    encrypt(path)
    fill(path)
    with closing(open_database(path)) as database, closing(sqlite3.connect(path)) as connection:
        early = check(database)
        with open_store(path) as store:
            store.revoke("bob", "why")
        kept = check(database, early)
        connection.execute("DELETE FROM audit WHERE key = 12")
        connection.commit()
        assert check(database) == early
        with pytest.raises(AuditError, match="Entry 12 of the audit log is missing"):
            check(database, kept)
        with open_store(path) as store:
            store.revoke("bob", "another reason, to hide the first")
        check(database)
        with pytest.raises(AuditError, match=r"Entry 12 .* is not the one that was kept"):
            check(database, kept)
        # Entries 2 to 4 were written together, and only the last of them is signed.
        connection.execute("DELETE FROM audit WHERE key > 3")
        connection.commit()
        with pytest.raises(AuditError, match=r"Entry 4 .* is missing"):
            check(database)


@pytest.mark.slow
def test_a_log_that_was_written_anew_is_not_signed_with_the_same_key(database):
    with pytest.raises(AuditError, match=r"Entry 1 .* signed by another key"):
        verify(database, Ed25519PrivateKey.generate().public_key())


def test_a_store_that_is_not_encrypted_has_no_log(path, private):
    open_store(path).close()
    with closing(open_database(path)) as database:
        with pytest.raises(InvalidInput, match="not encrypted"):
            check(database)
        with pytest.raises(InvalidInput, match="not encrypted"):
            audit_key(database, "alice")
