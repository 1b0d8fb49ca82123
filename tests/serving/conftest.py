"""An engine on a small base, and what a client of it does."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base import fused_norms
from sharedllm.serving import runner, scheduler, speculation
from sharedllm.serving.attention import rotary
from sharedllm.serving.attention.cuda_graphs import unseen
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Finished, Limits, Request, Sampling

SMALL = Limits(
    running=8,
    waiting=64,
    waiting_per_owner=32,
    cache_tokens=1024,
    batch_tokens=48,
    table_bytes=0,
    speculates=False,
)
"""Few places and short passes, so that a handful of requests waits and is split; and a token each in a pass."""


class Client:
    """Collects what the engine tells of one request."""

    def __init__(self):
        self.tokens, self.finished, self.number = [], None, None
        self._over = threading.Event()

    def __call__(self, event):
        assert self.finished is None, "nothing comes after the end"
        if isinstance(event, Finished):
            self.finished = event
            self._over.set()
        else:
            self.tokens.append(event)

    def wait(self):
        assert self._over.wait(60), "the request never ended"
        return self

    @property
    def ids(self):
        return [token.scored.id for token in self.tokens]

    @property
    def logprobs(self):
        return [token.scored.logprob for token in self.tokens]

    @property
    def text(self):
        return "".join(token.text for token in self.tokens) + self.finished.text


@pytest.fixture
def engine_of(base_of):
    """Start an engine; every engine of a test is closed after it."""
    engines = []

    def engine_of(architecture="llama", dtype=torch.float64, limits=SMALL, start=True, weights="plain"):
        engine = Engine(base_of(architecture, dtype, weights=weights), limits)
        engines.append(engine)
        if start:
            engine.start()
        return engine

    yield engine_of
    for engine in engines:
        engine.close()


def rerunning():
    """Record like a GPU: it computes anew in the same memory when it is told to, and others' results lie there too."""
    everything = []

    def record(compute):
        outputs = dict(unseen(compute))
        everything.append(outputs)

        def replay():
            for others in everything:
                for each in others.values():
                    each.fill_(float("nan"))
            for name, each in compute().items():
                outputs[name].copy_(each)

        return outputs, replay

    return record


@pytest.fixture(params=[False, True], ids=["computed", "replayed"])
def replayed(request, monkeypatch):
    """With and without recorded passes; where they are, nothing is compiled, as on a GPU."""
    if request.param:
        monkeypatch.setattr(runner, "recorder", lambda device: rerunning())
        for each in (runner, fused_norms, rotary):
            monkeypatch.setattr(each, "kernels", lambda: None)
    return request.param


@pytest.fixture
def eager(monkeypatch):
    """Whatever followed the last token is proposed, right or wrong, in passes of many and beside prompts, too."""
    monkeypatch.setattr(speculation, "_LENGTH", 1)
    monkeypatch.setattr(speculation, "_WORTH", 0.0)
    monkeypatch.setattr(scheduler, "_FEW_TOKENS", 10_000)
    monkeypatch.setattr(scheduler, "_LEAST_PROPOSED", 1)


@pytest.fixture
def ask():
    """Submit a request and return its client, without waiting."""

    def ask(engine, prompt=(5, 6, 7), owner="ann", **options):
        client = Client()
        options = {"max_tokens": 8, "ignore_end": True, "sampling": Sampling(temperature=0), **options}
        client.number = engine.submit(Request(prompt=list(prompt), owner=owner, **options), client)
        return client

    return ask


@contextmanager
def under(base, values):
    """Whole forward passes of one sequence under a row: no cache, no batch, no engine."""
    injection = Injection(base, layout_of(base, "norm"))
    table = torch.from_numpy(values)[None].double()

    def logits(ids):
        return base.model(torch.tensor([ids]), use_cache=False).logits[0]

    with torch.no_grad(), injection.rows(table, torch.zeros(1, dtype=torch.int64)):
        yield logits
    injection.remove()


def alone(base, prompt, values, new):
    """Greedy tokens of one request by whole forward passes."""
    ids = list(prompt)
    with under(base, values) as logits:
        for _ in range(new):
            ids.append(int(logits(ids)[-1].argmax()))
    return ids[len(prompt) :]


def likely(base, values, ids):
    """Log-probabilities of all tokens but the first by one whole forward pass."""
    with under(base, values) as logits:
        found = logits(ids)[:-1]
    return found.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


def passes(engine, until, most=400):
    """Drive an engine that was not started, pass by pass, until something holds; returns how many it took."""
    for taken in range(most):
        if until():
            return taken
        engine._prepare()
        engine.step()
    raise AssertionError(f"it did not come true in {most} passes")


@pytest.fixture
def row():
    """The values of a release: large enough to change every answer, and float16 like everything stored."""

    def row(width, seed):
        values = 0.3 * np.random.default_rng(seed).standard_normal(width)
        return values.astype(np.float16).astype(np.float32)

    return row
