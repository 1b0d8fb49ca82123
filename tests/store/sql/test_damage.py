"""Rows that decide who answers: whatever bit flips, nobody is taken for somebody else, and nothing is undone."""

import random
import sqlite3
from contextlib import closing, suppress

import pytest
from tests.store.samples import BETTER, WORSE, adapter, downgrade

from sharedllm.errors import (
    CorruptAdapter,
    CorruptStore,
    MasterKeyError,
    NotServed,
    UnknownKey,
    UnknownUser,
)
from sharedllm.store import open_keys, open_store

DAMAGED = "is damaged"


def edit(path, *statements):
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def flip(path, table, column, where, bit):
    """Flip one bit of a value."""
    with closing(sqlite3.connect(path)) as connection:
        (value,) = connection.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
        if isinstance(value, int):
            changed = value ^ (1 << bit % 8)
        else:
            data = bytearray(value if isinstance(value, bytes) else value.encode())
            data[bit // 8 % len(data)] ^= 1 << bit % 8
            changed = bytes(data) if isinstance(value, bytes) else data.decode("latin-1")
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (changed,))
        connection.commit()


@pytest.fixture(params=["plain", "encrypted"])
def kept(request, path):
    """A store in either way of keeping it."""
    if request.param == "encrypted":
        request.getfixturevalue("encrypt")(path)
    return path


def test_one_flipped_bit_does_not_let_a_key_speak_for_somebody_else(path):
    with open_keys(path) as keys:
        secret, key = keys.create(user="u1")
        edit(path, "UPDATE keys SET holder = 'u0'")
        with pytest.raises(CorruptStore, match=f"API key '{key.id}' {DAMAGED}.* sharedllm keys revoke {key.id}"):
            keys.holder(secret)
        with pytest.raises(CorruptStore, match=DAMAGED):
            list(keys.all())
        # The way out that the message names.
        keys.revoke(key.id)
        with pytest.raises(UnknownKey):
            keys.holder(secret)
        assert [each.id for each in keys.all()] == [key.id]


@pytest.mark.parametrize("column", ["key", "id", "secret_sha256", "holder", "holder_sha256", "label", "created_at"])
def test_every_field_of_a_key_is_under_its_checksum(kept, column):
    chance = random.Random(column)
    with open_keys(kept) as keys:
        secret, _ = keys.create(user="u1", label="hers")
        others, _ = keys.create(user="u0")
        flip(kept, "keys", column, "key = 1", chance.randrange(64))
        with pytest.raises((CorruptStore, UnknownKey)):
            keys.holder(secret)
        assert keys.holder(others).user == "u0"


def test_a_revoked_key_that_damage_makes_good_opens_nothing(kept):
    with open_keys(kept) as keys:
        secret, key = keys.create(user="u1")
        keys.revoke(key.id)
        edit(kept, "UPDATE keys SET revoked_at = NULL")
        with pytest.raises(CorruptStore, match=DAMAGED):
            keys.holder(secret)


def test_keys_whose_holders_were_exchanged_open_nothing(kept):
    with open_keys(kept) as keys:
        secrets = [keys.create(user=user)[0] for user in ("u0", "u1", None)]
        edit(
            kept,
            "CREATE TABLE was AS SELECT * FROM keys",
            "UPDATE keys SET (holder, holder_sha256) ="
            " (SELECT holder, holder_sha256 FROM was WHERE was.key = keys.key % 3 + 1)",
            "DROP TABLE was",
        )
        for secret in secrets:
            with pytest.raises(CorruptStore, match=DAMAGED):
                keys.holder(secret)


@pytest.mark.parametrize("column", ["key", "id", "id_sha256", "releases", "served", "created_at", "updated_at"])
def test_every_field_of_where_a_user_stands_is_under_its_checksum(kept, column):
    chance = random.Random(column)
    with open_store(kept) as store:
        for user in ("u0", "u1"):
            for value in (1, 2, 3):
                store.publish(user, adapter(value), BETTER)
        edit(kept, "PRAGMA foreign_keys = OFF")
        flip(kept, "users", column, "key = 2", chance.randrange(2, 64))
        for ask in (store.served, store.user, store.rollback, lambda user: store.publish(user, adapter(4), BETTER)):
            # Who is not found has no row that could be taken for theirs; an encrypted store makes no second one.
            if column == "id_sha256" and ask is not store.served and ask is not store.user:
                continue
            with pytest.raises((CorruptStore, CorruptAdapter, UnknownUser)):
                ask("u1")
        assert store.served("u0").number == 3
        with suppress(CorruptStore):
            assert [release.user for _, release in store.answers() if not isinstance(release, Exception)] == ["u0"]


def test_a_revocation_that_damage_takes_back_serves_nobody(kept):
    with open_store(kept) as store:
        store.publish("u1", adapter(1), BETTER)
        store.revoke("u1", "left")
        edit(kept, "UPDATE users SET revoked = NULL")
        for ask in (store.served, store.user, store.restore, lambda user: store.revoke(user, "again")):
            with pytest.raises(CorruptStore, match=rf"'u1'.* {DAMAGED}"):
                ask("u1")
        ((_, error),) = store.answers()
        assert isinstance(error, CorruptAdapter)
        with pytest.raises(CorruptStore):
            list(store.users())
        # The way out that the message names.
        store.erase("u1")
        assert store.publish("u1", adapter(1), BETTER).number == 1


def test_publishing_does_not_make_damage_good(kept):
    with open_store(kept) as store:
        store.publish("u1", adapter(1), BETTER)
        store.revoke("u1", "left")
        edit(kept, "UPDATE users SET revoked = NULL")
        for items in ([("u1", adapter(2), BETTER)], [("u2", adapter(2), BETTER), ("u1", adapter(2), WORSE)]):
            with pytest.raises(CorruptStore, match="'u1'"):
                store.publish_many(items)
        with pytest.raises(UnknownUser):
            store.user("u2")


def test_encrypting_does_not_make_damage_good(path, encrypt):
    with open_store(path) as store, open_keys(path) as keys:
        for user in ("u0", "u1"):
            store.publish(user, adapter(1), BETTER)
            store.revoke(user, "left")
        secret, _ = keys.create(user="u1")
    edit(path, "UPDATE users SET revoked = NULL WHERE key = 2", "UPDATE keys SET label = 'x'")
    encrypt(path)
    with open_store(path) as store, open_keys(path) as keys:
        with pytest.raises(CorruptStore):
            store.served("u1")
        with pytest.raises(CorruptStore):
            keys.holder(secret)
        with pytest.raises(NotServed):
            store.served("u0")


def test_a_damaged_index_leads_to_nobody_else(path):
    with open_store(path) as store, open_keys(path) as keys:
        for user in ("u0", "u1"):
            store.publish(user, adapter(1), BETTER)
        secrets = [keys.create(user=user)[0] for user in ("u0", "u1")]
    for table, column in (("users", "id_sha256"), ("keys", "secret_sha256")):
        # An index that leads to the other one's row, from another table.
        edit(
            path,
            f"CREATE TABLE other_{table} (key INTEGER PRIMARY KEY, {column} BLOB UNIQUE)",
            f"INSERT INTO other_{table} SELECT 3 - key, {column} FROM {table}",
        )
        with closing(sqlite3.connect(path)) as connection:
            found = "SELECT name, rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = ?"
            ((mine, page),) = [
                (name, page)
                for name, page in connection.execute(found, (table,)).fetchall()
                if connection.execute(f"PRAGMA index_info('{name}')").fetchone()[2] == column
            ]
            ((others, another),) = connection.execute(found, (f"other_{table}",)).fetchall()
            connection.execute("PRAGMA writable_schema = ON")
            for name, root in ((mine, another), (others, page)):
                connection.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", (root, name))
            connection.commit()
    with open_store(path) as store, open_keys(path) as keys:
        for user, secret in zip(("u0", "u1"), secrets, strict=True):
            for ask, wanted in ((store.served, user), (store.user, user), (keys.holder, secret)):
                with pytest.raises(CorruptStore, match=DAMAGED):
                    ask(wanted)


def test_a_rollback_serves_nothing_that_is_damaged(path):
    with open_store(path) as store:
        store.publish("u1", adapter(1), WORSE)
        store.publish("u1", adapter(2), BETTER)
        edit(path, "UPDATE releases SET gate = replace(gate, 'false', 'true'), passed = 1 WHERE number = 1")
        with pytest.raises(CorruptAdapter, match="Release 1"):
            store.rollback("u1")
        assert store.served("u1").number == 2


@pytest.mark.parametrize("column", ["lookup", "token", "wrapped"])
def test_damage_in_the_vault_gives_nobody_anybody_elses_key(path, encrypt, private, column):
    encrypt(path)
    vault = private / "vault.db"
    with open_store(path) as store:
        for user in ("u0", "u1"):
            store.publish(user, adapter(1), BETTER)
    flip(vault, "user_keys", column, "key = 2", 77)
    with open_store(path) as store:
        with pytest.raises((CorruptStore, MasterKeyError, UnknownUser)):
            store.served("u1")
        assert store.served("u0").user == "u0"


@pytest.mark.parametrize("left", [0, 50, 4096])
def test_a_vault_that_was_cut_off_is_told_as_that(path, encrypt, private, left):
    encrypt(path)
    vault = private / "vault.db"
    vault.write_bytes(vault.read_bytes()[:left])
    vault.with_name("vault.db-mark").unlink()
    with pytest.raises((CorruptStore, MasterKeyError), match=str(vault)):
        open_store(path)


@pytest.mark.parametrize("value", ["x''", "x'00'", "'text'", "7", "NULL"])
def test_a_wrapped_key_that_is_none_is_told_as_damage(path, encrypt, private, value):
    encrypt(path)
    with closing(sqlite3.connect(private / "vault.db")) as connection:
        if value == "NULL":
            connection.execute("DELETE FROM facts WHERE name = 'index'")
        else:
            connection.execute(f"UPDATE facts SET value = {value} WHERE name = 'index'")
        connection.commit()
    with pytest.raises(MasterKeyError, match="or those are damaged"):
        open_store(path)


def test_what_is_kept_of_an_erasure_is_refused_where_it_is_damaged(kept):
    with open_store(kept) as store:
        store.publish("u1", adapter(), BETTER)
        store.note_erasure("u1", [])
        edit(kept, "UPDATE erasures SET account = '!' || account")
        with pytest.raises(CorruptStore, match="of an erasure is not what was written"):
            store.note_erasure("u1", [])


def test_a_store_from_before_there_were_checksums_gets_them_and_loses_nothing(kept):
    import sqlalchemy as sa

    with open_store(kept) as store, open_keys(kept) as keys:
        for number in range(3):
            store.publish(f"u{number}", adapter(number), BETTER)
        store.revoke("u2", "left")
        secret, _ = keys.create(user="u1", label="hers")
    engine = sa.create_engine(f"sqlite:///{kept}")
    with engine.begin() as connection:
        downgrade(connection, "store_0005")
    engine.dispose()
    with open_store(kept) as store, open_keys(kept) as keys:
        assert [store.served(user).adapter.values.tolist() for user in ("u0", "u1")] == [[0], [1]]
        with pytest.raises(NotServed, match="left"):
            store.served("u2")
        assert keys.holder(secret).user == "u1"
        assert store.publish("u1", adapter(5), BETTER).number == 2
        edit(kept, "UPDATE users SET served = 1 WHERE served = 2")
        with pytest.raises(CorruptStore):
            store.served("u1")
