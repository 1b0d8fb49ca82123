"""Malformed, oversized, unsupported or absurd: a clear 4xx each, by name."""

import json

import pytest


def post(server, body, path="/v1/completions", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.alice.post(path, content=content, headers={"content-type": "application/json", **headers})


CALL = {"type": "function", "function": {"name": "call"}}
HALF = {"id": "1", "type": "function"}


def refused(response, param=None):
    error = response.json()["error"]
    assert response.status_code == 400, response.text
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    return error["code"]


@pytest.fixture
def server(serving):
    return serving()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nope",
        b"\xff\xfe",
        b'{"model": "m", "prompt": "\\ud800"}',
        b'{"model": "m", "prompt": "a", "temperature": NaN}',
        b'{"model": "m", "prompt": "a", "top_p": -Infinity}',
        b'{"a":' * 3000,
        b"[" * 100_000,
        b'{"seed": 1' + b"0" * 5000 + b"}",
    ],
)
def test_what_is_not_json_is_refused(server, body):
    assert refused(post(server, body)) == "invalid_json"


@pytest.mark.parametrize("body", [[], 1, None, "text"])
def test_json_that_is_not_an_object_is_refused(server, body):
    assert refused(post(server, body)) == "invalid_value"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", []),
        ("prompt", [[]]),
        ("prompt", ["a", 1]),
        ("prompt", [-1]),
        ("prompt", [1.5]),
        ("prompt", None),
        ("prompt", {"text": "a"}),
        ("max_tokens", -1),
        ("max_tokens", "3"),
        ("max_tokens", True),
        ("max_tokens", 2.5),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("top_p", 1.5),
        ("min_p", -0.1),
        ("min_p", "0.1"),
        ("top_k", -2),
        ("top_k", 1.5),
        ("frequency_penalty", 2.1),
        ("presence_penalty", "1"),
        ("repetition_penalty", 0),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"a secret": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"5": True}),
        ("logit_bias", {str(id): 1 for id in range(1025)}),
        ("stop_token_ids", [1] * 65),
        ("best_of", 9),
        ("n", 0),
        ("n", 9),
        ("stop", ""),
        ("stop", ["a"] * 5),
        ("stop", [""]),
        ("stop", 1),
        ("seed", 2**63),
        ("seed", 1.5),
        ("logprobs", 21),
        ("logprobs", True),
        ("stream", "yes"),
        ("user", 7),
        ("model", None),
    ],
)
def test_a_value_that_is_absurd_is_refused_by_its_name(server, name, value):
    body = {"model": server.model, "prompt": "a", name: value}
    assert refused(post(server, body), name) == "invalid_value"
    assert not server.engine.requests


@pytest.mark.parametrize(
    ("name", "value", "neutral"),
    [
        ("suffix", "end", None),
        ("min_tokens", 3, 0),
        ("length_penalty", 0.5, 1),
        ("use_beam_search", True, False),
        ("skip_special_tokens", False, True),
        ("include_stop_str_in_output", True, False),
        ("repeat_penalty", 1.2, 1.0),
    ],
)
def test_a_parameter_we_lack_is_refused_by_its_name_unless_it_changes_nothing(server, name, value, neutral):
    body = {"model": server.model, "prompt": "a"}
    assert refused(post(server, body | {name: value}), name) == "unsupported_parameter"
    assert post(server, body | {name: neutral}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("functions", [{}]),
        ("function_call", "auto"),
        ("documents", ["a"]),
        ("modalities", ["audio"]),
        ("store", True),
        ("reasoning_effort", "high"),
    ],
)
def test_a_chat_parameter_we_lack_is_refused_by_its_name(server, name, value):
    body = {"model": server.model, "messages": [{"role": "user", "content": "a"}], name: value}
    assert refused(post(server, body, "/v1/chat/completions"), name) == "unsupported_parameter"


@pytest.mark.parametrize(
    ("messages", "param", "code"),
    [
        ([], "messages", "invalid_value"),
        ([{"role": "user"}], "messages.0.content", "missing_parameter"),
        ([{"role": "robot", "content": "a"}], "messages.0.role", "invalid_value"),
        ([{"role": "tool", "content": "a"}], "messages.0", "invalid_value"),
        ([{"role": "user", "content": "a", "tool_call_id": "b"}], "messages.0", "invalid_value"),
        ([{"role": "user", "content": "a", "audio": {"id": "b"}}], "messages.0.audio", "unsupported_parameter"),
        ([{"role": "user", "content": "a", "name": 7}], "messages.0.name", "invalid_value"),
        ([{"role": "user", "content": None}], "messages.0", "invalid_value"),
        ([{"role": "user", "content": "a", "mood": "good"}], "messages.0.mood", "unknown_parameter"),
        (
            [{"role": "assistant", "content": "a", "tool_calls": [HALF]}],
            "messages.0.tool_calls.0.function",
            "missing_parameter",
        ),
        ("hi", "messages", "invalid_value"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_by_its_place(server, messages, param, code):
    assert refused(post(server, {"model": server.model, "messages": messages}, "/v1/chat/completions"), param) == code


def test_an_image_is_refused(server):
    parts = [{"type": "image_url", "image_url": {"url": "https://example.com"}}]
    body = {"model": server.model, "messages": [{"role": "user", "content": parts}]}
    assert refused(post(server, body, "/v1/chat/completions"), "messages") == "invalid_value"


def test_a_number_that_is_too_large_for_a_float_is_refused(server):
    assert refused(post(server, b'{"model": "m", "prompt": "a", "temperature": 1e999}'), "temperature")


@pytest.mark.parametrize("value", [{"type": "json_schema"}, {"type": "json_object", "json_schema": {"name": "a"}}])
def test_a_schema_comes_with_its_type_and_no_other(server, value):
    body = {"model": server.model, "messages": [{"role": "user", "content": "a"}], "response_format": value}
    assert refused(post(server, body, "/v1/chat/completions"), "response_format") == "invalid_value"


@pytest.mark.parametrize("value", [{"a": 1}, {"a" * 65: "b"}, {"a": "b" * 513}, {str(n): "" for n in range(17)}, ["a"]])
def test_metadata_beyond_openais_bounds_is_refused(server, value):
    body = {"model": server.model, "messages": [{"role": "user", "content": "a"}], "metadata": value}
    assert refused(post(server, body, "/v1/chat/completions"), "metadata") == "invalid_value"


def test_a_parameter_nobody_knows_is_refused_even_with_an_impossible_name(server):
    body = {"model": server.model, "prompt": "a"}
    assert refused(post(server, body | {"promt": "b"}), "promt") == "unknown_parameter"
    assert refused(post(server, body | {"sharedllm": {"box": 1}}), "sharedllm.box") == "unknown_parameter"
    assert refused(post(server, body | {"ü\u202e🦊": 1}), "ü\u202e🦊") == "unknown_parameter"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("completions", {"stream_options": {"include_usage": True}}),
        ("completions", {"echo": True, "logprobs": 1, "stream": True}),
        ("completions", {"best_of": 2, "n": 3}),
        ("completions", {"best_of": 2, "stream": True}),
        ("chat/completions", {"top_logprobs": 2}),
        ("chat/completions", {"continue_final_message": True}),
        ("chat/completions", {"tools": [CALL, CALL]}),
        ("chat/completions", {"tools": [CALL], "response_format": {"type": "json_object"}}),
        ("chat/completions", {"tool_choice": "required"}),
        ("chat/completions", {"tools": [CALL], "tool_choice": {"type": "function", "function": {"name": "other"}}}),
        ("chat/completions", {"max_tokens": 1, "max_completion_tokens": 2}),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(server, path, asked):
    prompt = {"prompt": "a"} if path == "completions" else {"messages": [{"role": "user", "content": "a"}]}
    refused(post(server, {"model": server.model, **prompt, **asked}, f"/v1/{path}"))


def test_a_prompt_that_does_not_fit_is_refused(server):
    body = {"model": server.model, "prompt": "a" * 500, "max_tokens": 13}
    assert refused(post(server, body)) == "context_length_exceeded"
    assert post(server, body | {"max_tokens": 12}).status_code == 200


def test_ids_outside_the_vocabulary_are_refused(server):
    assert refused(post(server, {"model": server.model, "prompt": [5, 259]})) == "invalid_input"


def test_more_answers_than_one_owner_may_have_waiting_are_refused(server):
    body = {"model": server.model, "prompt": ["a"] * 9, "n": 8}
    assert refused(post(server, body)) == "invalid_input"


def test_a_body_that_a_page_in_a_browser_could_send_unasked_is_refused(server):
    body = {"model": server.model, "prompt": "a"}
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert post(server, body, **{"content-type": kind}).status_code == 415


def test_a_body_that_is_too_long_is_refused_whether_or_not_it_says_so(serving):
    server = serving(body_bytes=1000)
    body = json.dumps({"model": server.model, "prompt": "a" * 2000}).encode()
    assert post(server, body).status_code == 413
    headers = {"content-type": "application/json"}
    chunked = server.alice.post(
        "/v1/completions", content=(body[at : at + 10] for at in range(0, 2010, 10)), headers=headers
    )
    assert chunked.status_code == 413
    assert chunked.json()["error"]["message"] == "The body is longer than 1,000 bytes."


def test_unknown_addresses_and_methods_are_errors_of_the_same_form(server):
    assert server.alice.get("/v2/anything").json()["error"]["code"] == "not_found"
    assert server.alice.get("/v1/completions").status_code == 405
    assert server.alice.get("/docs").status_code == 404
