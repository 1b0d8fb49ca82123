"""Large answers hold nobody up."""

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm.http import large_json
from sharedllm.http.large_json import ITEMS, to_json
from sharedllm.http.protocol.completions import Completion

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@settings(deadline=None)
@given(JSON, st.integers(0, 3 * ITEMS))
def test_json_in_pieces_is_json(value, copies):
    whole = {"a": value, "b": copies * [value], "c": [copies * ["é"]], "d": {}, "e": []}
    read = whole | {"b": iter(whole["b"]), "c": [iter(whole["c"][0])], "e": iter([])}
    for content in (whole, read):
        assert to_json(content) == json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(ValueError):
        to_json({"a": [float("nan")]})


def test_no_piece_is_longer_than_a_few_tokens(monkeypatch):
    encoded = []
    dumps = json.dumps
    monkeypatch.setattr(
        large_json.json, "dumps", lambda content, **options: encoded.append(content) or dumps(content, **options)
    )
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": 20 * [{"token": "b", "logprob": -2.0}]}
    to_json({"choices": 64 * [{"logprobs": {"content": iter(1024 * [token])}, "message": {"content": "a" * 5000}}]})
    assert max(len(part) for part in encoded if isinstance(part, list)) == ITEMS
    assert not [part for part in encoded if isinstance(part, dict) and "choices" in part]


@pytest.fixture
def writers(monkeypatch):
    """Which threads wrote answers."""
    seen = []
    choice = Completion.choice

    def noted(self, *arguments):
        seen.append(threading.current_thread())
        return choice(self, *arguments)

    monkeypatch.setattr(Completion, "choice", noted)
    return seen


def test_an_answer_with_scores_is_written_off_the_loop_and_a_short_one_on_it(serving, writers):
    server = serving()
    body = {"model": server.model, "prompt": ["hi", "ho"], "max_tokens": 3}
    server.alice.post("/v1/completions", json=body).raise_for_status()
    (loop,) = set(writers)
    writers.clear()
    for more in ({"logprobs": 2}, {"logprobs": 2, "echo": True, "max_tokens": 0}, {"sharedllm": {"glass_box": True}}):
        answer = server.alice.post("/v1/completions", json=body | more)
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(answer.content)
    assert "asyncio-portal" not in {thread.name for thread in writers}
    assert loop not in writers


def test_a_long_body_is_sent_in_pieces_and_whole(serving, monkeypatch):
    monkeypatch.setattr(large_json, "SENT_BYTES", 100)
    server = serving()
    body = {"model": server.model, "prompt": "hi", "max_tokens": 20, "logprobs": 5}
    answer = server.alice.post("/v1/completions", json=body)
    assert len(answer.content) > 1000
    assert len(answer.json()["choices"][0]["logprobs"]["tokens"]) == 20


def test_a_stream_with_a_glass_box_tells_it_in_its_last_chunk(serving):
    server = serving()
    for options in ({}, {"stream_options": {"include_usage": True}}):
        body = {
            "model": server.model,
            "prompt": "hi",
            "max_tokens": 3,
            "stream": True,
            "sharedllm": {"glass_box": True},
        }
        lines = server.alice.post("/v1/completions", json=body | options).text.strip().split("\n\n")
        assert lines[-1] == "data: [DONE]"
        assert json.loads(lines[-2].removeprefix("data: "))["sharedllm"]["glass_box"][0]["tokens"]
