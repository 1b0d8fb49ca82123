"""What a body costs is a small multiple of its size, whatever is in it, and nobody else's time."""

import asyncio
import json
import subprocess
import sys
import threading

import httpx
import pytest

from sharedllm.http.error_responses import Refused
from sharedllm.http.protocol import body
from sharedllm.http.protocol.body import CONTAINERS, check_values, parsed
from sharedllm.http.protocol.schemas import ChatRequest, CompletionRequest

MEMORY = 25
"""Bytes that a byte of a body may take, at most; of what is refused and was not, one took 1,300."""
TIME = 10
"""How much longer refusing a body may take than reading as long a prompt of token ids."""

COSTS = """
import json, resource, sys, time
from sharedllm.http.protocol.body import parsed
from sharedllm.http.error_responses import Refused
from sharedllm.http.protocol.schemas import ChatRequest, CompletionRequest
from tests.http.protocol.test_body import HOSTILE, long_body

def took(model, body):
    begin = time.process_time()
    try:
        parsed(body, model)
    except Refused as error:
        assert len(error.message) + len(error.param or "") < 2000, error
    return time.process_time() - begin

usual = took(CompletionRequest, long_body(b'"prompt": [', b"7", b"]"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
times = {name: took(model, long_body(*pieces)) / usual for name, (model, *pieces) in HOSTILE.items()}
grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(json.dumps({"times": times, "memory": grown / len(long_body(b"", b"7", b""))}))
"""

PROMPTS = b'"prompt": ['
PARTS = b'"messages": [{"role": "user", "content": ['
HOSTILE = {
    "empty lists": (CompletionRequest, PROMPTS, b"[]", b"]"),
    "empty objects": (CompletionRequest, PROMPTS, b"{}", b"]"),
    "lists in lists": (CompletionRequest, PROMPTS, b"[" * 90 + b"]" * 90, b"]"),
    "objects in objects": (CompletionRequest, PROMPTS, b'{"":' * 90 + b"0" + b"}" * 90, b"]"),
    "prompts of one id": (CompletionRequest, PROMPTS, b"[7]", b"]"),
    "empty prompts": (CompletionRequest, PROMPTS, b'""', b"]"),
    "nothings": (CompletionRequest, PROMPTS, b"null", b"]"),
    "negative ids": (CompletionRequest, PROMPTS, b"-1", b"]"),
    "negative ids, deeper": (CompletionRequest, b'"prompt": [[', b"-1", b"]]"),
    "fractions": (CompletionRequest, PROMPTS, b"1.5", b"]"),
    "texts and a number": (CompletionRequest, PROMPTS, b'"ab"', b",1]"),
    "numbers of many digits": (CompletionRequest, PROMPTS, b"1" * 4000, b"]"),
    "unknown parameters": (CompletionRequest, b'"prompt": "a",', None, b""),
    "unknown extensions": (CompletionRequest, b'"prompt": "a", "sharedllm": {', None, b"}"),
    "a parameter of many letters": (CompletionRequest, b'"prompt": "a", "' + b"k" * 1_000_000 + b'": [', b"1", b"]"),
    "stop strings": (CompletionRequest, b'"prompt": "a", "stop": [', b"[]", b"]"),
    "biases": (CompletionRequest, b'"prompt": "a", "logit_bias": {', None, b"}"),
    "labels": (ChatRequest, b'"metadata": {', None, b"}"),
    "stop tokens": (CompletionRequest, b'"prompt": "a", "stop_token_ids": [', b"-1", b"]"),
    "messages of nothing": (ChatRequest, b'"messages": [', b"{}", b"]"),
    "unknown parts of a message": (ChatRequest, b'"messages": [{', None, b"}]"),
    "parts of nothing": (ChatRequest, PARTS, b"{}", b"]}]"),
    "parts of text": (ChatRequest, PARTS, b'{"type":"text","text":""}', b"]}]"),
    "texts for parts": (ChatRequest, PARTS, b'""', b"]}]"),
    "tools": (ChatRequest, b'"tools": [', b"[]", b"]"),
}


def long_body(before, piece, after, size=1_000_000):
    """A body of about that many bytes; without a piece, of ever other names."""
    pieces = [piece] * (size // (len(piece) + 1)) if piece else [b'"%x":1' % number for number in range(size // 10)]
    return b'{"model": "m", ' + before + b",".join(pieces) + after + b"}"


@pytest.mark.slow
def test_refusing_a_body_costs_a_small_multiple_of_its_size_whatever_is_in_it():
    done = subprocess.run([sys.executable, "-c", COSTS], check=False, capture_output=True, text=True)
    costs = json.loads(done.stdout or "0")
    assert costs, done.stderr
    assert costs["memory"] < MEMORY
    assert {name: time for name, time in costs["times"].items() if time > TIME} == {}


@pytest.mark.parametrize(("name", "hostile"), HOSTILE.items())
def test_each_of_them_is_refused(name, hostile):
    model, *pieces = hostile
    with pytest.raises(Refused) as refused:
        parsed(long_body(*pieces, size=600_000), model)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "{" * 20_000 + '"', "\\" * 20_001 + '"[{' * 20_000, '\\"' * 20_000 + "[" * 20_000, "[\\\\" * 20_000],
)
def test_brackets_in_a_text_are_text(text):
    body = json.dumps({"model": "m", "prompt": text}).encode()
    assert parsed(body, CompletionRequest).prompt == text


def test_a_conversation_of_as_many_messages_as_there_may_be_is_read():
    parts = [{"type": "text", "text": "[{"}] * 5
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}] * 2048}).encode()
    assert body.count(b"{") + body.count(b"[") > CONTAINERS
    assert len(parsed(body, ChatRequest).messages) == 2048


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": [7] * 3000}, "has 3,000 values"),
        ({"prompt": [[7], [7] * 3000]}, "has 3,000 values"),
        ({"prompt": [[7] * 2000] * 200}, "has 400,0"),
        ({"prompt": ["a"] * 3000}, "has 3,000 values"),
        ({"prompt": "a", "sharedllm": {str(number): 1 for number in range(3000)}}, "has 3,000 values"),
    ],
)
def test_more_ids_than_can_be_answered_are_refused_before_they_become_numbers(serving, monkeypatch, asked, said):
    """The interpreter would make two million of them without letting any other thread in."""
    monkeypatch.setattr(body, "from_json", None)
    server = serving()
    response = server.alice.post("/v1/completions", json={"model": server.model, **asked})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert said in response.json()["error"]["message"]
    assert "the context has 512 tokens" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "prompt",
    ["a, " * 3000, '"' + "[,]" * 3000, "\\" + ",\\" * 3000, [[7] * 500] * 64],
)
def test_as_many_as_can_be_answered_and_commas_in_a_text_are_read(prompt):
    check_values(json.dumps({"model": "m", "prompt": prompt}).encode(), context=512, answers=64)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/users/alice/train"])
def test_no_body_is_parsed_on_the_event_loop(serving, monkeypatch, path):
    threads = []

    def noted(body, model):
        threads.append(threading.current_thread())
        return parsed(body, model)

    monkeypatch.setattr(body, "parsed", noted)
    server = serving()

    async def post():
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.post(path, json={}, headers=dict(server.alice.headers)), threading.current_thread()

    response, loop = asyncio.run(post())
    assert response.status_code == 400
    assert len(threads) == 1
    assert loop not in threads


def test_a_refusal_is_short_and_quick_however_long_what_it_is_about_is(serving):
    long = "a." * 1_000_000
    server = serving()
    server.core.jobs = object()
    for path, asked in (
        ("completions", {"model": long}),
        ("completions", {"prompt": "a", "user": long}),
        ("completions", {"prompt": "a", long: 1}),
        ("completions", {"prompt": "a", "sharedllm": {long: 1}}),
        ("chat/completions", {"messages": [{"role": long, "content": "a"}]}),
        ("users/alice/train", {"text": "a", "recipe": long}),
    ):
        body = asked if path.startswith("users") else {"model": server.model, **asked}
        response = server.alice.post(f"/v1/{path}", json=body)
        assert 400 <= response.status_code < 500
        assert len(response.content) < 3000
