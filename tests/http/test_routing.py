"""Whatever a request is answered with, an error among it, says who answers it once that is decided."""

import json

import pytest
from tests.http.conftest import STOPPED, FakeEngine

from sharedllm.errors import QueueFull

FULL = QueueFull("Too many requests are waiting", remedy="Come back.", retry_after=2.1)


def complete(server, client="alice", **asked):
    body = {"model": server.model, "prompt": "hi", "seed": 7, **asked}
    return getattr(server, client).post("/v1/completions", json=body)


def headers_of(response):
    return {name: value for name, value in response.headers.items() if name.startswith("x-sharedllm")}


@pytest.fixture
def own(published):
    """The headers and the object of an answer to alice."""
    base = published.base.fingerprint[:12]
    headers = {
        "x-sharedllm-route": "own",
        "x-sharedllm-release": "1",
        "x-sharedllm-base": base,
        "x-sharedllm-reason": "own_release",
    }
    reason = "Release 1 of 'alice' answers."
    return headers, {"route": "own", "release": 1, "base": base, "reason": reason, "seed": 7}


@pytest.mark.parametrize("reason", ["deadline", "erased", "shutdown", "failed"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_was_cut_off_says_how_it_was_routed(serving, published, own, reason, stream):
    engine = FakeEngine(published.base)
    engine.ending = reason
    response = complete(serving(engine), stream=stream)
    last = json.loads(response.text.split("data: ")[-1]) if stream else response.json()
    assert last["error"]["code"] == reason
    assert (headers_of(response), last["sharedllm"]) == own


@pytest.mark.parametrize(("refusal", "status"), [(STOPPED, 503), (FULL, 429), (RuntimeError("unforeseen"), 500)])
def test_a_request_that_the_engine_does_not_take_says_how_it_was_routed(serving, own, refusal, status):
    server = serving()
    server.engine.refusal = refusal
    response = complete(server)
    assert response.status_code == status
    assert (headers_of(response), response.json()["sharedllm"]) == own


def test_the_bases_answer_that_was_cut_off_says_that_it_was_the_bases(serving, published):
    engine = FakeEngine(published.base)
    engine.ending = "deadline"
    response = complete(serving(engine, fallback=True), "carol")
    assert response.status_code == 504
    assert (response.headers["x-sharedllm-route"], response.headers["x-sharedllm-reason"]) == ("base", "unknown_user")
    assert response.json()["sharedllm"]["route"] == "base"


@pytest.mark.parametrize(("client", "asked"), [("carol", {}), ("nobody", {}), ("alice", {"model": "gpt-4"})])
def test_what_is_refused_before_it_is_routed_names_no_route(serving, client, asked):
    response = complete(serving(), client, **asked)
    assert not headers_of(response)
    assert set(response.json()) == {"error"}
