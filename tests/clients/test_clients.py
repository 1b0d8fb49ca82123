"""Clients that people use pass their own examples against a real server; `docs/clients.md` says which."""

import json
import os
import subprocess
import sys

import pytest
from tests.clients import table
from tests.clients.catalogue import CLIENTS, CUT
from tests.clients.environments import command, environment
from tests.http.test_client import USERS, site_in

PATIENCE = 120
"""Seconds that the examples of one client may take."""
SHAPES = ("Open WebUI", "LibreChat")


@pytest.fixture(scope="session")
def served(tmp_path_factory, base_of):
    """One running server for all clients."""
    with site_in(tmp_path_factory.mktemp("site"), base_of("llama")) as site:
        site.start()
        yield site


def marked(client):
    if client.name in SHAPES:
        return pytest.param(client, id=client.name)
    return pytest.param(client, id=client.name, marks=pytest.mark.rare if client.light else pytest.mark.clients)


@pytest.mark.slow
@pytest.mark.parametrize("client", [marked(each) for each in CLIENTS])
def test_a_client_passes_its_examples(client, served, tmp_path, pytestconfig):
    if client.name in SHAPES:
        ran_by, variables = command(client.path, tmp_path, sys.executable), dict(os.environ)
    else:
        home, variables = environment(client, pytestconfig.cache.mkdir("clients"))
        ran_by = command(client.path, home)
    said = {
        "SHAREDLLM_URL": str(served.client.base_url).rstrip("/"),
        "SHAREDLLM_KEY": served.secrets[USERS[0]],
        "SHAREDLLM_MODEL": served.model,
        "SHAREDLLM_TOKENIZER": str(served.folder / "chatty"),
    }
    own = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "LLM_USER_PATH": str(tmp_path)}
    ran = subprocess.run(
        ran_by,
        env={**variables, **said, **own},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr[-4000:]}\n{served.log[-1000:]}"
    passed = ran.stdout.splitlines()
    if os.environ.get("SHAREDLLM_WRITE_CLIENTS"):
        table.record(client, passed)
    assert passed == table.recorded()[client.name]["examples"], "run make test-clients"


def test_every_client_says_what_is_to_be_typed():
    for client in CLIENTS:
        assert CUT.search(client.path.read_text())
        assert client.typed


def test_the_table_is_of_what_ran():
    recorded = table.recorded()
    for client in CLIENTS:
        told = recorded.get(client.name, {})
        assert told.get("packages", list(client.packages)) == list(client.packages), "run make test-clients"
    assert table.DOCUMENT.read_text() == table.document(), "run python -m tests.clients.table"
    assert json.loads(table.RESULTS.read_text()) == {
        each.name: recorded[each.name] for each in CLIENTS if each.name in recorded
    }
