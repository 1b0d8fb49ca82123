"""A home for the key that Ray leaves there."""

import pytest


@pytest.fixture(scope="session")
def _home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def ray_home(_home, monkeypatch):
    """The home folder while Ray runs: one for all tests of a process, which reads its cluster's key there only once."""
    monkeypatch.setenv("HOME", str(_home))
    # Starting a cluster in this process sets it for all that come later.
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    return _home
