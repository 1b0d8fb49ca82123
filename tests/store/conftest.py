import itertools

import pytest

from benchmarks import postgres_server
from sharedllm.store import open_store
from sharedllm.store.encrypting import encrypt_store
from sharedllm.store.master import write_master_key


@pytest.fixture
def path(tmp_path):
    """Where a store may be made."""
    return tmp_path / "store.db"


class Server(postgres_server.Server):
    """The tests' own, started when first asked for; every test has a schema to itself."""

    def __init__(self):
        super().__init__()
        self._names = itertools.count()
        # Nothing here has to survive a power cut, only crashes of the server; and deadlocks are noticed at once.
        for setting in ("fsync = off", "deadlock_timeout = '20ms'", "autovacuum = off"):
            self.run(f"ALTER SYSTEM SET {setting}")
        self.run("SELECT pg_reload_conf()")

    def address(self, schema="public", *, user="postgres", database="postgres", options=""):
        """Where to find a schema's tables, as a user."""
        return f"postgresql://{user}@/{database}?host={self.folder}&options=-csearch_path%3D{schema}{options}"

    def new(self):
        """The address of a schema that holds nothing yet."""
        schema = f"test_{next(self._names)}"
        self.run(f"CREATE SCHEMA {schema}")
        return self.address(schema)

    def disconnect(self):
        """End everybody's connections but this one's."""
        self.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def crash(self):
        """Stop without tidying up, as if the machine had gone down."""
        self.stop("immediate")


@pytest.fixture(scope="session")
def server():
    """A real PostgreSQL server."""
    started = Server()
    yield started
    started.close()


@pytest.fixture
def address(server):
    """Where a store may be made on the server."""
    return server.new()


@pytest.fixture(scope="session")
def migrated(server):
    """The address of a store's tables on the server, made once, which takes longer than most tests."""
    address = server.new()
    open_store(address).close()
    return address


@pytest.fixture
def private(tmp_path, monkeypatch):
    """A folder with a master key, in which the vault and the signing key will be made."""
    folder = tmp_path / "private"
    monkeypatch.setenv("SHAREDLLM_MASTER_KEY_FILE", str(folder / "master.key"))
    monkeypatch.setenv("SHAREDLLM_SIGNING_KEY_FILE", str(folder / "signing-key.pem"))
    monkeypatch.delenv("SHAREDLLM_VAULT", raising=False)
    write_master_key(folder / "master.key")
    return folder


@pytest.fixture
def encrypt(private):
    """Encrypt a store."""
    return lambda where: encrypt_store(where, lambda _: None)


@pytest.fixture(params=["memory", "sqlite", "encrypted sqlite", "postgresql", "encrypted postgresql"])
def store(request, path):
    """An empty store of every kind."""
    match request.param:
        case "memory":
            where = ":memory:"
        case "sqlite":
            where = path
        case "encrypted sqlite":
            where = path
            request.getfixturevalue("encrypt")(where)
        case "encrypted postgresql":
            where = request.getfixturevalue("address")
            request.getfixturevalue("encrypt")(where)
        case "postgresql":
            where = request.getfixturevalue("migrated")
            request.getfixturevalue("server").run("TRUNCATE users, releases, events, keys", address=where)
    with open_store(where) as opened:
        yield opened
