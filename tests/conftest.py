"""Small random bases, and a PostgreSQL server: made once a session and shared by every test that asks."""

import hashlib
import itertools
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import models

from benchmarks import postgres_server
from sharedllm.adapters.formats import registry
from sharedllm.adapters.formats.bank import bank_sites
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import load_base
from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import TokenizedText, windows

# A runner started in the background ignores interrupts; the commands that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """The folder of a small base of an architecture. Nothing may write to it."""
    folders = {}

    def folder_of(architecture="llama"):
        if architecture not in folders:
            folders[architecture] = models.ARCHITECTURES[architecture](tmp_path_factory.mktemp(architecture))
        return folders[architecture]

    return folder_of


@pytest.fixture(scope="session")
def base_of(folder_of, tmp_path_factory):
    """A small base of an architecture in a dtype, with plain weights on the CPU unless others are named."""
    cache = tmp_path_factory.mktemp("cache")
    loaded = {}

    def base_of(architecture="llama", dtype=torch.float32, device="cpu", weights="plain"):
        if (architecture, dtype, device, weights) not in loaded:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SHAREDLLM_CACHE", str(cache))
                loaded[architecture, dtype, device, weights] = load_base(
                    str(folder_of(architecture)), dtype=dtype, device=device, weights=weights
                )
        return loaded[architecture, dtype, device, weights]

    return base_of


@pytest.fixture
def umask():
    """The usual one, by which everybody may read what is made."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Make a small base for one test alone, and load it: no other test has used it or shown it to be exact."""
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))

    def loaded(make=models.llama, dtype=torch.float32, **config):
        return load_base(str(make(tmp_path / "base", **config)), dtype=dtype, device="cpu")

    return loaded


@pytest.fixture
def inject():
    """Attach a format to a base for one test."""
    attached = []

    def inject(base, format="norm"):
        attached.append(Injection(base, layout_of(base, format)))
        return attached[-1]

    yield inject
    for injection in attached:
        injection.remove()


@pytest.fixture
def cores():
    """A stranger's format: whole matrices in a prior's frames, not their diagonals alone."""

    def sites(model):
        return [replace(site, kind="core") for site in bank_sites(model)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_registered", dict(registry._registered))
        yield registry.register_format(registry.Format("core", sites))


@pytest.fixture(scope="session")
def weights_hash():
    """A hash over every parameter and buffer of a model, bit for bit."""

    def weights_hash(model):
        digest = hashlib.sha256()
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    return weights_hash


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
def text_of():
    """A made-up user's tokens: six of their own in a fixed round, with some noise, so that they can be learnt."""

    def text_of(user, *, tokens=1_000, window=16):
        digest = hashlib.sha256(user.encode())
        random = np.random.default_rng(int.from_bytes(digest.digest()[:8], "little"))
        habit = random.choice(np.arange(3, models.VOCABULARY), 6, replace=False)

        def block(length):
            noise = random.integers(3, models.VOCABULARY, length)
            return np.where(random.random(length) < 0.1, noise, np.resize(habit, length))

        return TokenizedText(
            user=user,
            train=block(tokens).astype(np.int32),
            validation=windows(block(8 * window), window),
            heldout=windows(block(8 * window), window),
            sha256=digest.hexdigest(),
            repeats=Repeats(0, 0.0, ()),
        )

    return text_of
