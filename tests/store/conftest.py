import pytest

from sharedllm.store import open_store


@pytest.fixture
def path(tmp_path):
    """Where a store may be made."""
    return tmp_path / "store.db"


@pytest.fixture(params=["memory", "sqlite"])
def store(request, path):
    """An empty store of every kind."""
    with open_store(":memory:" if request.param == "memory" else path) as opened:
        yield opened
