"""A service over a small base, and clients of it: alice and bob have releases, a service acts for anybody."""

import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import EngineStopped
from sharedllm.holder import Removed
from sharedllm.http import server as server_module
from sharedllm.http.app import create_app
from sharedllm.http.server import serve
from sharedllm.http.service import Policy, Service
from sharedllm.serving.request import Counters, Finished, Limits, Scored, Token
from sharedllm.store import open_keys, open_store
from sharedllm.store.encryption.master_key import write_master_key
from sharedllm.store.encryption.migrate import encrypt_store

PASSED = GateOutcome(True, "passed: it helps")


class FakeEngine:
    """Answers every request with the letters a, b, c, … from a thread of its own, or as a test says."""

    def __init__(self, base):
        self.base, self.limits, self.counters, self.layout = base, Limits(), Counters(), layout_of(base)
        self.context, self.healthy = 512, True
        self.requests, self.cancelled, self.stopped, self.refusal = [], [], [], None
        self.ending, self.held = None, False

    def start(self):
        """Nothing to start."""

    def close(self):
        """Nothing to close."""

    def submit(self, request, deliver):
        if self.refusal:
            raise self.refusal
        self.requests.append(request)
        threading.Thread(target=self.answer, args=(request, deliver)).start()
        return len(self.requests)

    def cancel(self, number):
        self.cancelled.append(number)

    def forget(self, user):
        self.stopped.append(user)
        return [Removed("running requests", "server", 0)]

    def releases(self):
        return set(), set()

    def drain(self, seconds):
        self.drained = seconds

    def answer(self, request, deliver):
        def scored(id):
            top = tuple((each, -0.5 - each) for each in range(request.top_logprobs or 0))
            return Scored(id, None if request.top_logprobs is None else -0.5, top)

        ids = self.base.encode("abcdefghijklmnopqrstuvwxyz")[: request.max_tokens]
        for id in ids if not self.held else ids[:1]:
            deliver(Token(scored(id), self.base.decode([id])))
        if self.held:
            return
        box = [Scored(id, -0.5, (), -0.75) for id in ids]
        prompt = [replace(scored(id), logprob=None if not at else -0.5) for at, id in enumerate(request.prompt)]
        deliver(
            Finished(
                self.ending or "length",
                "",
                len(request.prompt),
                len(ids),
                tuple(prompt) if request.score_prompt else (),
                tuple(box) if request.glass_box else (),
            )
        )


STOPPED = EngineStopped("The engine is shutting down", remedy="Send it again.")


@pytest.fixture
def published(tmp_path, base_of, monkeypatch):
    """A store with a release each for alice and bob, the keys beside it, and how an adapter is made."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    base = base_of("llama")
    size = layout_of(base).size

    def adapter(seed, **changed):
        values = np.random.default_rng(seed).normal(0, 0.3, size).astype(np.float32)
        return replace(Adapter("norm", base.fingerprint, values), **changed)

    with open_store(tmp_path / "store.db") as store, open_keys(tmp_path / "store.db") as keys:
        for seed, user in enumerate(("alice", "bob")):
            store.publish(user, adapter(seed), PASSED)
        yield SimpleNamespace(store=store, keys=keys, adapter=adapter, base=base)


@pytest.fixture
def serving(published):
    """A running app over an engine, and clients by user; `service` acts for anybody, `nobody` has no key."""
    opened = []

    def serving(engine=None, *, open=False, **policy):
        engine = engine or FakeEngine(published.base)
        service = Service(engine, published.store, keys=None if open else published.keys, policy=Policy(**policy))
        app = create_app(service)
        running = TestClient(app)
        running.__enter__()
        opened.append(running)
        secrets = {user: published.keys.create(user=user)[0] for user in ("alice", "bob", "carol")}
        secrets["service"] = published.keys.create(user=None)[0]
        clients = {user: TestClient(app, headers={"Authorization": f"Bearer {key}"}) for user, key in secrets.items()}
        return SimpleNamespace(
            **clients, nobody=running, core=service, engine=engine, secrets=secrets, model=service.model, app=app
        )

    yield serving
    for running in opened:
        running.__exit__(None, None, None)


@pytest.fixture
def listening(published, monkeypatch):
    """Serve in a thread; the address, and what is served. The signal that ends it is sent by hand."""
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 60)
    monkeypatch.setattr(server_module, "_log_lines", lambda: None)
    # What the tests themselves hold is not to be moved again for each server.
    monkeypatch.setattr(server_module, "move_to_huge_pages", lambda: 0)
    servers, threads = [], []

    class Kept(server_module._Server):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            servers.append(self)

    monkeypatch.setattr(server_module, "_Server", Kept)

    def listening(engine=None, *, keys=None, visits=None, jobs=None, **policy):
        policy = Policy(**{"notice_seconds": 0, **policy})
        engine = engine or FakeEngine(published.base)
        service = Service(engine, published.store, keys=keys, visits=visits, jobs=jobs, policy=policy)
        addresses, ready = [], threading.Event()

        def told(address):
            addresses.append(address)
            ready.set()

        threads.append(threading.Thread(target=serve, args=(service, "127.0.0.1", 0, told)))
        threads[-1].start()
        assert ready.wait(20)
        return addresses[0], service, servers[-1], threads[-1]

    yield listening
    for server in servers:
        server.should_exit = True
    for thread in threads:
        thread.join()


def connected(address):
    url = httpx.URL(address)
    connection = socket.create_connection((url.host, url.port), timeout=20)
    connection.settimeout(20)
    return connection


def until_closed(connection):
    received = b""
    while part := connection.recv(4096):
        received += part
    return received


@pytest.fixture
def encrypted(tmp_path, monkeypatch):
    """Where a store lies that is encrypted and has a place for keys."""
    monkeypatch.setenv("SHAREDLLM_MASTER_KEY_FILE", str(tmp_path / "private" / "master.key"))
    write_master_key(tmp_path / "private" / "master.key")
    where = tmp_path / "sealed.db"
    open_keys(where).close()
    encrypt_store(where, lambda _: None)
    return where
