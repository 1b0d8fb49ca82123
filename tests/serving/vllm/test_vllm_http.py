"""`serve --engine vllm`: the same server, keys, routes and erasure, and vLLM behind them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tests.http.conftest import PASSED, published, serving
from tests.serving.vllm.conftest import LIMITS
from tests.serving.vllm.test_vllm_engine import TOLERANCE, rows_with_something

from sharedllm.http.erased import stop_erased
from sharedllm.serving.engine import Engine

pytestmark = pytest.mark.slow

__all__ = ["published", "serving"]
PROMPT = "Who came to the door?"


@pytest.fixture
def base_of(wide):
    """The store's users are of the base that vLLM can read."""
    return lambda _: wide


def ask(client, model, **asked):
    body = {"model": model, "prompt": PROMPT, "max_tokens": 12, "logprobs": 0, "temperature": 0, **asked}
    return client.post("/v1/completions", json=body)


def told(response):
    assert response.status_code == 200, response.text
    found = response.json()["choices"][0]["logprobs"]
    return found["tokens"], found["token_logprobs"]


def test_everybody_gets_over_http_what_they_get_from_our_engine_until_they_are_erased(installed, serving, published):
    from sharedllm.serving.vllm.vllm_engine import VllmEngine

    ours = serving(Engine(published.base, LIMITS), fallback=True)
    expected = {user: told(ask(getattr(ours, user), ours.model)) for user in ("alice", "bob", "carol")}
    ours.nobody.__exit__(None, None, None)
    engine = VllmEngine(published.base, LIMITS)
    server = serving(engine)

    with ThreadPoolExecutor(8) as threads:
        everybody = ["alice", "bob"] * 8
        answers = list(threads.map(lambda user: (user, told(ask(getattr(server, user), server.model))), everybody))
    for user, (tokens, logprobs) in answers:
        assert tokens == expected[user][0]
        assert np.allclose(logprobs, expected[user][1], atol=TOLERANCE)
    box = ask(server.alice, server.model, sharedllm={"glass_box": True})
    assert "logprob_base" in box.text

    unknown = ask(server.carol, server.model)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_user")
    held = ask(server.alice, server.model, echo=True, max_tokens=0)
    assert held.status_code == 200

    published.store.publish("bob", replace(published.adapter(1), base="0" * 64), PASSED)
    elsewhere = ask(server.bob, server.model)
    assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (409, "wrong_base")

    assert server.service.delete("/v1/users/alice").status_code == 200
    assert ask(server.alice, server.model).status_code in (401, 404)
    assert {owner for pairs in engine.releases() for owner, _ in pairs} == {"bob"}
    # And when another process erases somebody.
    published.store.erase("bob")
    running, resting = engine.releases()
    stop_erased(server.core, running | resting, {})
    assert engine.releases() == (set(), set())
    assert rows_with_something(engine) == set()
