"""vLLM on a small base with heads as wide as it can read; skipped, and said so, where vLLM is not installed."""

import importlib.util
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import models
from tests.serving.conftest import Client

from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import load_base
from sharedllm.serving.request import Limits, Request, Sampling

NO_VLLM = "NOT TESTED: vLLM is not installed here (make test-vllm)"
USERS = 48
LIMITS = Limits(running=40, waiting=256, waiting_per_owner=64, cache_tokens=4096, batch_tokens=48, table_bytes=0)
"""Short passes, so that prompts are read in pieces beside others' answers, and fewer rows than there are users."""
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="session")
def installed():
    """Vllm, its warming up spared, in this process."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip(NO_VLLM)
    # Traced as always, and not compiled: the base is small.
    os.environ.setdefault("VLLM_CPU_CI_ENV", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """A small base in float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAREDLLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = models.llama(tmp_path_factory.mktemp("wide"), head_dim=32)
        yield load_base(str(folder), dtype=torch.float32, device="cpu")


@pytest.fixture(scope="session")
def rows(wide):
    """A row for each of many users, large enough to change every answer."""
    chance = np.random.default_rng(0)
    width = layout_of(wide).size
    return {
        f"user{number}": (0.3 * chance.standard_normal(width)).astype(np.float16).astype(np.float32)
        for number in range(USERS)
    }


@pytest.fixture(scope="session")
def prompts():
    """A prompt for each user; every second one begins with the same two pages."""
    chance = np.random.default_rng(1)
    shared = chance.integers(3, models.VOCABULARY, 70).tolist()
    alone = [chance.integers(3, models.VOCABULARY, int(chance.integers(3, 60))).tolist() for _ in range(USERS)]
    return {f"user{number}": (shared if number % 2 else []) + own for number, own in enumerate(alone)}


@pytest.fixture(scope="session")
def asking(rows, prompts):
    """A user's request."""

    def asking(user, **options):
        own = Request(
            prompts.get(user, [5, 6, 7]),
            owner=user,
            release=f"{user}-1" if user in rows else None,
            values=rows.get(user),
            max_tokens=8,
            sampling=GREEDY,
            ignore_end=True,
        )
        return replace(own, **options)

    return asking


@pytest.fixture
def submit(asking):
    """Submit a user's request and return its client, without waiting."""

    def submit(engine, user, **options):
        client = Client()
        client.number = engine.submit(asking(user, **options), client)
        return client

    return submit


@pytest.fixture(scope="session")
def expected(wide, rows, asking):
    """What this package's own engine answers everybody: ids and log-probabilities, by user."""
    from sharedllm.serving.engine import Engine

    engine = Engine(wide, LIMITS)
    clients = {}
    engine.start()
    for user in [*rows, "nobody"]:
        clients[user] = Client()
        engine.submit(asking(user, score_prompt=True), clients[user])
    found = {user: client.wait() for user, client in clients.items()}
    engine.close()
    return found


@pytest.fixture(scope="module")
def vllm_engine(installed, wide, expected):
    """One engine for all tests of a file, which leave it as it was."""
    from sharedllm.serving.vllm.vllm_engine import VllmEngine

    engine = VllmEngine(wide, LIMITS)
    engine.start()
    yield engine
    engine.close()
