import pytest

from sharedllm.store import open_store
from sharedllm.store.encryption.master_key import write_master_key
from sharedllm.store.encryption.migrate import encrypt_store


@pytest.fixture
def path(tmp_path):
    """Where a store may be made."""
    return tmp_path / "store.db"


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
            request.getfixturevalue("server").run(
                "TRUNCATE users, releases, events, keys, stays, erasures", address=where
            )
    with open_store(where) as opened:
        yield opened
