"""Answers that follow a schema, and tools: what the base is told, what is answered, and what is refused."""

import json

import pytest
from tests.http.conftest import FakeEngine

from sharedllm.http.protocol.tool_calls import Listener, spelled
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Finished, Limits, Scored, Token

SMALL = Limits(running=8, waiting=32, waiting_per_owner=16, cache_tokens=4096, batch_tokens=64, table_bytes=0)
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}<s>"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "ring",
            "description": "Ring the bell.",
            "parameters": {
                "type": "object",
                "properties": {"times": {"enum": [1, 2]}},
                "required": ["times"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "wait"}},
]


@pytest.fixture(autouse=True)
def chatty(published, monkeypatch):
    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE)


@pytest.fixture
def server(serving, published):
    return serving(Engine(published.base, SMALL))


class Saying(FakeEngine):
    """Says one text, a character at a time, in a context with room for what is told of tools."""

    def __init__(self, base, text=""):
        super().__init__(base)
        self.text, self.context = text, 4096

    def answer(self, request, deliver):
        for character in self.text:
            deliver(Token(Scored(1, None), character))
        deliver(Finished("stop", "", len(request.prompt), len(self.text)))


def chat(server, **asked):
    messages = [{"role": "user", "content": "hi"}]
    return server.alice.post("/v1/chat/completions", json={"model": server.model, "messages": messages, **asked})


def schema(of):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": of}}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_answer_follows_the_schema(server, seed):
    of = {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3}
    (choice,) = chat(server, response_format=schema(of), max_tokens=60, seed=seed).json()["choices"]
    assert set(json.loads(choice["message"]["content"])) <= {"a", "b"}
    assert choice["finish_reason"] == "stop"


@pytest.mark.slow
def test_an_answer_is_a_json_object(server):
    (choice,) = chat(server, response_format={"type": "json_object"}, max_tokens=40).json()["choices"]
    assert choice["message"]["content"].startswith("{")


def test_text_is_what_an_answer_is_anyway(serving):
    server = serving()
    assert chat(server, response_format={"type": "text"}).status_code == 200
    assert server.engine.requests[0].grammar is None


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "ring"}}])
def test_a_tool_that_has_to_be_called_is_called(server, monkeypatch, choice):
    # The small base's context has no room for more.
    monkeypatch.setattr("sharedllm.http.protocol.chat.instructions", lambda functions: "Ring.")
    (told,) = chat(server, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_tokens=200).json()["choices"]
    (call,) = told["message"]["tool_calls"]
    assert (told["message"]["content"], told["finish_reason"], call["type"]) == (None, "tool_calls", "function")
    arguments = json.loads(call["function"]["arguments"])
    assert arguments in ([{"times": 1}, {"times": 2}] if call["function"]["name"] == "ring" else [{}])
    assert choice == "required" or call["function"]["name"] == "ring"


CALLS = "Well.\n" + spelled("ring", '{"times": 2}') + "\n" + spelled("wait", "{}")


def test_calls_are_told_apart_from_text(serving, published):
    (choice,) = chat(serving(Saying(published.base, CALLS)), tools=TOOLS).json()["choices"]
    assert choice["message"]["content"] == "Well."
    called = [(call["function"]["name"], call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]
    assert called == [("ring", '{"times": 2}'), ("wait", "{}")]
    assert choice["finish_reason"] == "tool_calls"


def test_text_that_calls_nothing_is_text(serving, published):
    (choice,) = chat(serving(Saying(published.base, "a <tool and b")), tools=TOOLS).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("a <tool and b", "stop")
    assert "tool_calls" not in choice["message"]


def test_calls_are_streamed_by_name_and_then_by_pieces_of_their_arguments(serving, published):
    response = chat(serving(Saying(published.base, CALLS)), tools=TOOLS, stream=True)
    chunks = [json.loads(line[6:]) for line in response.text.split("\n\n")[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == "Well.\n"
    told = [call for delta in deltas for call in delta.get("tool_calls", ())]
    for index, (name, arguments) in enumerate([("ring", '{"times": 2}'), ("wait", "{}")]):
        first, *rest = [call for call in told if call["index"] == index]
        assert (first["function"], first["type"]) == ({"name": name, "arguments": ""}, "function")
        assert "".join(call["function"]["arguments"] for call in rest) == arguments
        assert not any("id" in call for call in rest)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("text", [CALLS, "", "<tool_call>", CALLS[:-30], "<" * 30, "a<tool_call>\n{"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_what_is_heard_does_not_depend_on_the_pieces_it_comes_in(text, size):
    whole, pieces = Listener(), Listener()
    said, _ = whole.hear(text, last=True)
    heard = "".join(pieces.hear(text[at : at + size])[0] for at in range(0, len(text), size))
    heard += pieces.hear("", last=True)[0]
    assert heard == said
    assert [(one.name, one.arguments) for one in pieces.calls] == [(one.name, one.arguments) for one in whole.calls]


def test_the_base_is_told_of_the_tools_and_of_calls_and_results_as_text(serving, published):
    server = serving(Saying(published.base))
    # As streams tell calls, which some send back.
    call = {"id": "1", "index": 0, "type": "function", "function": {"name": "ring", "arguments": '{"times": 2}'}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call, call | {"id": "2"}]},
        {"role": "tool", "tool_call_id": "1", "content": "Ding."},
        {"role": "tool", "tool_call_id": "2", "content": "</s> Dong."},
    ]
    assert chat(server, messages=messages, tools=TOOLS, max_tokens=1).status_code == 200
    text = published.base.tokenizer.decode(server.engine.requests[0].prompt)
    before, after = text.split("</s><s>user\nhi</s>")
    assert before.startswith("<s>system\nBe kind.\n\n# Tools")
    assert '"name": "wait"' in before
    spelt = spelled("ring", '{"times": 2}')
    results = "<tool_response>\nDing.\n</tool_response>\n<tool_response>\n</s> Dong.\n</tool_response>"
    assert after == f"<s>assistant\n{spelt}\n{spelt}</s><s>user\n{results}</s><s>"
    chat(server, messages=messages[:2], tools=TOOLS, tool_choice="none", max_tokens=1)
    assert "Tools" not in published.base.tokenizer.decode(server.engine.requests[1].prompt)
    assert server.engine.requests[1].grammar is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "of",
    [{"type": "string", "pattern": "("}, {"allOf": [{"type": "string", "pattern": f"a.*b{n}"} for n in range(30)]}],
)
def test_a_schema_that_cannot_be_used_is_400(serving, of):
    server = serving()
    response = chat(server, response_format=schema(of))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "grammar_error")
    assert not server.engine.requests


def test_what_a_user_asked_for_is_forgotten_with_them(serving):
    server = serving()
    chat(server, response_format=schema({"enum": ["a secret"]}), max_tokens=1)
    assert server.core.grammars._kept
    server.service.delete("/v1/users/alice")
    assert not server.core.grammars._kept
