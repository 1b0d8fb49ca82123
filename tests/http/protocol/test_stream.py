"""Streams: events in order, the last one marked, errors as events, and nothing left running."""

import asyncio
import json
import logging
import threading

import pytest
from tests.http.conftest import FakeEngine


def stream(server, **asked):
    body = {"model": server.model, "prompt": "hi", "stream": True, "max_tokens": 2, **asked}
    response = server.alice.post("/v1/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return response, [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_a_stream_adds_up_to_the_whole_answer(serving):
    server = serving()
    response, (*chunks, done) = stream(server, n=2)
    assert done == "[DONE]"
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    for index in range(2):
        mine = [choice for choice in choices if choice["index"] == index]
        assert "".join(choice["text"] for choice in mine) == "ab"
        assert [choice["finish_reason"] for choice in mine] == [None, None, None, "length"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert response.headers["x-sharedllm-route"] == "own"


def test_the_first_chunk_and_the_last_say_how_it_was_routed(serving):
    _, (*chunks, _) = stream(serving(), sharedllm={"glass_box": True}, seed=3)
    assert [("sharedllm" in chunk) for chunk in chunks] == [True, *[False] * (len(chunks) - 2), True]
    assert chunks[0]["sharedllm"]["seed"] == chunks[-1]["sharedllm"]["seed"] == 3
    assert len(chunks[-1]["sharedllm"]["glass_box"][0]["tokens"]) == 2


def test_usage_is_a_last_chunk_of_its_own_where_it_is_asked_for(serving):
    _, (*chunks, last, _) = stream(serving(), stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert "sharedllm" in last
    assert all(chunk["usage"] is None for chunk in chunks)


def test_a_chat_stream_begins_with_the_role(serving, published, monkeypatch):
    monkeypatch.setattr(published.base.tokenizer, "chat_template", "{{ messages[0].content }}")
    server = serving()
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": server.model, "messages": messages, "stream": True, "max_tokens": 2, "logprobs": True}
    response = server.alice.post("/v1/chat/completions", json=body)
    chunks = [json.loads(line[6:]) for line in response.text.split("\n\n")[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {}]
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [each and each["content"][0]["logprob"] for each in told] == [None, -0.5, -0.5, None]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_an_echoed_prompt_comes_first(serving):
    _, chunks = stream(serving(), echo=True)
    assert chunks[0]["choices"][0]["text"] == "hi"


def test_nothing_comes_before_there_is_a_token_and_then_the_role_with_it(serving, published, monkeypatch):
    monkeypatch.setattr(published.base.tokenizer, "chat_template", "{{ messages[0].content }}")
    engine, told, may = FakeEngine(published.base), [], threading.Event()
    answer = engine.answer
    engine.answer = lambda *asked: (may.wait(60), answer(*asked))
    server = serving(engine)
    asked = {"model": server.model, "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 2}

    async def send(message):
        told.append(message)
        if message["type"] == "http.response.start":
            asyncio.get_running_loop().call_later(0.05, may.set)
        elif not may.is_set():
            raise AssertionError(message)

    asyncio.run(over_asgi(server, json.dumps(asked).encode(), send, path="/v1/chat/completions"))
    first = told[1]["body"].split(b"\n\n")[:-1]
    deltas = [json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"] for event in first]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "a"}]


@pytest.mark.parametrize("reason", ["deadline", "erased", "shutdown", "failed"])
def test_a_stream_that_is_cut_off_ends_with_an_error_and_not_as_done(serving, published, reason):
    engine = FakeEngine(published.base)
    engine.ending = reason
    _, chunks = stream(serving(engine))
    assert chunks[-1]["error"]["code"] == reason


@pytest.mark.parametrize(("reason", "status"), [("deadline", 504), ("erased", 410), ("shutdown", 503), ("failed", 500)])
def test_a_stream_that_is_cut_off_is_logged_and_counted_as_what_it_was(serving, published, caplog, reason, status):
    caplog.set_level(logging.INFO, logger="sharedllm.http")
    engine = FakeEngine(published.base)
    engine.ending = reason
    server = serving(engine)
    response, _ = stream(server)
    assert response.status_code == 200
    (line,) = [each.msg for each in caplog.records if isinstance(each.msg, dict) and each.msg["event"] == "request"]
    assert (line["status"], line["code"]) == (status, reason)
    counted = f'sharedllm_requests_total{{endpoint="/v1/completions",route="own",status="{status}"}} 1.0'
    assert counted in server.nobody.get("/metrics").text.splitlines()


def test_a_stream_that_nobody_reads_to_its_end_is_not_logged_as_answered(serving, published, caplog):
    caplog.set_level(logging.INFO, logger="sharedllm.http")
    engine = FakeEngine(published.base)
    engine.held = True
    server = serving(engine)
    asyncio.run(gone_after_asking(server, json.dumps({"model": server.model, "prompt": "hi", "stream": True}).encode()))
    (line,) = [each.msg for each in caplog.records if isinstance(each.msg, dict) and each.msg["event"] == "request"]
    assert (line["status"], line["code"]) == (499, "client_gone")


@pytest.mark.parametrize("streamed", [True, False])
def test_when_the_client_goes_away_the_engine_is_told(serving, published, streamed):
    engine = FakeEngine(published.base)
    engine.held = True
    server = serving(engine)
    body = json.dumps({"model": server.model, "prompt": "hi", "stream": streamed}).encode()
    asyncio.run(gone_after_asking(server, body))
    assert engine.cancelled == [1]


async def gone_after_asking(server, body):
    """One request over ASGI, whose client is there until the engine has been asked."""

    async def send(message):
        """Nobody is there to read it."""

    async def gone():
        while not server.engine.requests:
            await asyncio.sleep(0.01)

    await over_asgi(server, body, send, gone)


async def over_asgi(server, body, send, gone=None, path="/v1/completions"):
    """One request of alice's over ASGI, whose client goes away when ``gone`` returns, if it is given."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await (gone or asyncio.Event().wait)()
        return {"type": "http.disconnect"}

    headers = [
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {server.secrets['alice']}".encode()),
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
    }
    await server.app(scope, receive, send)
