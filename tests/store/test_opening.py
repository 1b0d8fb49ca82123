"""Finding, creating and upgrading a store."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.store.samples import BETTER, adapter

from sharedllm.errors import CorruptStore, StoreError, UnknownName
from sharedllm.store import open_store
from sharedllm.store.memory import MemoryStore
from sharedllm.store.sql.schema import HEAD, metadata
from sharedllm.store.sql.sql_store import SQLStore


def test_a_path_or_an_address_is_a_file(path):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
    for where in (path, str(path), f"sqlite:///{path}"):
        with open_store(where) as store:
            assert isinstance(store, SQLStore)
            assert store.served("alice").number == 1


def test_a_file_may_have_any_name(tmp_path):
    path = tmp_path / "a store? 100% #1 ünïcode.db"
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
    assert path.exists()


@pytest.mark.parametrize("where", [":memory:", "sqlite:///:memory:"])
def test_memory_is_a_store_of_its_own_each_time(where):
    first, second = open_store(where), open_store(where)
    assert isinstance(first, MemoryStore)
    first.publish("alice", adapter(), BETTER)
    assert list(second.users()) == []


def test_a_store_is_returned_as_it_is():
    store = MemoryStore()
    assert open_store(store) is store


def test_nothing_given_means_the_environment_variable(path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_STORE", str(path))
    open_store().close()
    assert path.exists()


def test_nothing_at_all_means_the_users_data_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("SHAREDLLM_STORE", raising=False)
    monkeypatch.setattr("sharedllm.store.address.data_dir", lambda: tmp_path / "data" / "sharedllm")
    open_store().close()
    assert (tmp_path / "data" / "sharedllm" / "store.db").exists()


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "data").touch()
    monkeypatch.delenv("SHAREDLLM_STORE", raising=False)
    monkeypatch.setattr("sharedllm.store.address.data_dir", lambda: tmp_path / "data" / "sharedllm")
    with pytest.raises(StoreError, match="data/sharedllm cannot be made"):
        open_store()


@pytest.mark.parametrize("address", ["mysql://me:secret@host/db", "postgres://me:secret@host/db", "sqlite://host/file"])
def test_an_unsupported_address_is_refused_by_its_scheme_and_keeps_its_password(address):
    with pytest.raises(UnknownName, match=address.partition(":")[0] + "://") as refusal:
        open_store(address)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("where", ["missing/folder/store.db", "."])
def test_a_path_that_cannot_be_a_file_is_named(tmp_path, where):
    with pytest.raises(StoreError, match=f"{Path(where).name}.* cannot be opened"):
        open_store(tmp_path / where)


def test_of_a_folder_it_is_said_that_a_file_is_to_be_named(tmp_path):
    with pytest.raises(StoreError, match=r"it is a folder. Name a file, such as .*people\.db") as refused:
        open_store(tmp_path)
    assert str(tmp_path / "people.db") in refused.value.remedy


# Migrations


def test_the_newest_migration_makes_the_schema_that_queries_expect(path):
    import sqlalchemy as sa
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    open_store(path).close()
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert context.get_current_heads() == (HEAD,)
        assert compare_metadata(context, metadata) == []
    config = Config()
    config.set_main_option("script_location", "sharedllm.store.sql:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_an_up_to_date_store_is_opened_without_the_migration_tool(path):
    open_store(path).close()
    code = (
        "import sys; from sharedllm.store import open_store\n"
        "open_store(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_empty_file_becomes_a_store(path):
    path.touch()
    with open_store(path) as store:
        assert list(store.users()) == []


def test_a_migration_that_is_cut_short_leaves_no_half_made_tables(path, monkeypatch):
    def power_cut(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("alembic.runtime.migration.MigrationContext._ensure_version_table", power_cut)
        with pytest.raises(KeyboardInterrupt):
            open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    open_store(path).close()


def test_a_store_of_a_newer_version_is_refused_and_left_alone(path):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'store_9999'")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"schema 'store_9999'.* Use the newer version"):
        open_store(path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_alone(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    with pytest.raises(CorruptStore, match="something else: it holds recipes"):
        open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
