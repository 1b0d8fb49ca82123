"""How the server says how it is, without saying who anybody is or what they wrote."""

import json
import logging

import pytest

from sharedllm.errors import StoreBusy
from sharedllm.http.logs import JSONLines

PRIVATE = "a-private-thought"


def ask(server, client="alice", **asked):
    body = {"model": server.model, "prompt": PRIVATE, "max_tokens": 2, **asked}
    return getattr(server, client).post("/v1/completions?secret=in-the-address", json=body)


@pytest.fixture
def lines(caplog):
    """The lines that requests left, as they would be written."""
    caplog.set_level(logging.INFO, logger="sharedllm.http")
    return lambda: [json.loads(JSONLines().format(record)) for record in caplog.records]


def test_alive_and_ready_need_no_key(serving):
    server = serving()
    assert server.nobody.get("/healthz").json() == {"status": "ok"}
    assert server.nobody.get("/readyz").json() == {"status": "ok", "reasons": []}


def test_a_server_whose_engine_has_failed_is_not_alive(serving):
    server = serving()
    server.engine.healthy = False
    response = server.nobody.get("/healthz")
    assert response.status_code == 503
    assert response.json() == {"status": "the engine has failed"}


def test_not_ready_says_why(serving, monkeypatch):
    server = serving()

    def busy(user):
        raise StoreBusy("locked", remedy="Wait.")

    monkeypatch.setattr(server.core.store, "user", busy)
    server.engine.healthy = False
    server.core.draining = True
    response = server.nobody.get("/readyz")
    assert response.status_code == 503
    assert response.json()["reasons"] == ["shutting down", "the engine has failed", "the store does not answer"]
    # What passes, and what somebody else is to mend, is no reason to start the process again.
    server.engine.healthy = True
    assert server.nobody.get("/healthz").status_code == 200


def test_metrics_count_requests_by_endpoint_status_and_route(serving):
    server = serving()
    ask(server)
    ask(server, "carol")
    server.engine.counters.waiting = 5
    server.engine.counters.finished["stop"] = 3
    lines = server.nobody.get("/metrics").text.splitlines()
    for line in (
        'sharedllm_requests_total{endpoint="/v1/completions",route="own",status="200"} 1.0',
        'sharedllm_requests_total{endpoint="/v1/completions",route="none",status="404"} 1.0',
        "sharedllm_first_token_seconds_count 1.0",
        "sharedllm_waiting 5.0",
        'sharedllm_finished_total{reason="stop"} 3.0',
    ):
        assert line in lines


def test_metrics_and_logs_hold_no_ids_texts_keys_or_addresses(serving, lines):
    server = serving()
    ask(server)
    ask(server, "carol")
    ask(server, stream=True)
    server.alice.get("/v1/users/alice")
    server.alice.get(f"/{PRIVATE}")
    server.alice.request(PRIVATE.upper(), f"/{PRIVATE}")
    server.engine.refusal = RuntimeError(PRIVATE)
    assert ask(server).status_code == 500
    told = server.nobody.get("/metrics").text + json.dumps(lines())
    for private in ("alice", "carol", PRIVATE, PRIVATE.upper(), "in-the-address", *server.secrets.values()):
        assert private not in told


def test_a_request_is_one_line(serving, lines):
    response = ask(serving())
    (line,) = [line for line in lines() if line["event"] == "request"]
    assert line.pop("ms") >= 0
    assert line.pop("at")
    assert line == {
        "event": "request",
        "level": "info",
        "id": response.headers["x-request-id"],
        "method": "POST",
        "endpoint": "/v1/completions",
        "status": 200,
        "route": "own",
        "prompt_tokens": len(PRIVATE),
        "new_tokens": 2,
    }


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        ({"temperature": -1}, "invalid_value", "temperature"),
        ({"sharedllm": {"timeout": -1}}, "invalid_value", "sharedllm.timeout"),
        ({"suffix": PRIVATE}, "unsupported_parameter", "suffix"),
        ({"logit_bias": {PRIVATE: 1}}, "invalid_value", "logit_bias"),
        ({"model": PRIVATE}, "model_not_found", "model"),
        ({PRIVATE: 1}, "unknown_parameter", None),
        ({"sharedllm": {PRIVATE: 1}}, "unknown_parameter", None),
        ({"prompt": PRIVATE * 1000}, "context_length_exceeded", None),
        ({"user": PRIVATE}, "forbidden", None),
    ],
)
def test_a_refusal_is_logged_with_its_code_and_parameter_and_nothing_that_was_written(
    serving, lines, asked, code, param
):
    response = ask(serving(), **asked)
    (line,) = [line for line in lines() if line["event"] == "request"]
    assert (line["status"], line["code"], line["param"]) == (response.status_code, code, param)
    assert PRIVATE not in str(lines())


def test_what_is_refused_before_an_endpoint_is_found_is_logged_with_its_code_too(serving, lines):
    server = serving(body_bytes=10)
    server.nobody.get("/nowhere")
    server.nobody.get("/v1/completions")
    server.nobody.get("/v1/models")
    server.nobody.get("/v1/models/%E9", headers={"host": PRIVATE})
    server.nobody.request(PRIVATE.upper(), "/v1/models")
    ask(server)
    told = [(line["status"], line["code"]) for line in lines() if line["event"] == "request"]
    expected = [(404, "not_found"), (405, "method_not_allowed"), (401, "not_authenticated"), (400, "invalid_address")]
    assert told == [*expected, (405, "method_not_allowed"), (413, "body_too_long")]
    assert PRIVATE.upper() not in str(lines()).upper()


def test_an_unforeseen_error_is_logged_by_its_class_and_place(serving, lines):
    server = serving()
    server.engine.refusal = KeyError(PRIVATE)
    ask(server)
    (error,) = [line for line in lines() if line["event"] == "error"]
    assert error["error"] == "KeyError"
    assert any(place.startswith("submit:") for place in error["through"])


def test_the_description_names_every_parameter_and_every_address(serving):
    described = serving().nobody.get("/openapi.json").json()
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/users/{id}", "/metrics"} <= set(
        described["paths"]
    )
    assert {"messages", "temperature", "sharedllm"} <= set(
        described["components"]["schemas"]["ChatRequest"]["properties"]
    )
    assert described["paths"]["/v1/completions"]["post"]["security"] == [{"HTTPBearer": []}]
