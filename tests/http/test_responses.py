"""`/v1/responses` as OpenAI's own client asks and reads it: the same answers as chats, in another shape."""

import json
from typing import Literal

import openai
import pydantic
import pytest
from tests.http.conftest import FakeEngine
from tests.http.test_structured import CALLS, TEMPLATE, Saying

from sharedllm.http.protocol.tool_calls import spelled
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits

SMALL = Limits(running=8, waiting=32, waiting_per_owner=16, cache_tokens=4096, batch_tokens=64, table_bytes=0)
RING = {
    "type": "function",
    "name": "ring",
    "description": "Ring the bell.",
    "parameters": {"type": "object", "properties": {"times": {"type": "integer"}}, "required": ["times"]},
    "strict": True,
}
WAIT = {"type": "function", "name": "wait", "parameters": None, "strict": None}


@pytest.fixture
def ask(listening, published, monkeypatch):
    """Asks for a response of what an engine says, with OpenAI's client; `ask.engine` is that engine."""
    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE)
    clients = []

    def ask(engine=None, stream=False, **asked):
        asked = {"input": "hi", "extra_body": {"user": "alice"}, **asked}
        if not clients or engine is not None:
            ask.engine = engine or FakeEngine(published.base)
            address, service, *_ = listening(ask.engine)
            clients.append((openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0), service.model))
        client, model = clients[-1]
        if stream:
            return list(client.responses.create(model=model, stream=True, **asked))
        return client.responses.create(model=model, **asked)

    return ask


def prompts(engine):
    return [engine.base.tokenizer.decode(request.prompt) for request in engine.requests]


@pytest.mark.slow
def test_a_response_is_what_a_chat_answers(ask, published):
    answer = ask(Saying(published.base, "Well, hello."), instructions="Be kind.", metadata={"a": "b"})
    (message,) = answer.output
    assert (answer.output_text, answer.status, message.status) == ("Well, hello.", "completed", "completed")
    assert answer.id.startswith("resp_")
    assert message.id.startswith("msg_")
    assert prompts(ask.engine) == ["<s>system\nBe kind.</s><s>user\nhi</s><s>"]
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens) == (len(ask.engine.requests[0].prompt), len("Well, hello."))
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert (answer.instructions, answer.metadata, answer.model_extra["store"]) == ("Be kind.", {"a": "b"}, False)
    assert answer.model_extra["sharedllm"]["route"] == "own"


def test_a_response_says_in_its_headers_which_release_answered(serving, published, monkeypatch):
    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE)
    server = serving()
    asked = {"model": server.model, "input": [{"role": "user", "content": "hi"}]}
    refused = server.alice.post("/v1/responses", json={**asked, "user": "bob"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    answer = server.alice.post("/v1/responses", json=asked)
    assert (answer.headers["x-sharedllm-route"], answer.headers["x-sharedllm-release"]) == ("own", "1")


@pytest.mark.slow
def test_items_are_the_conversation_with_calls_and_their_results(ask, published):
    said = {"type": "output_text", "text": "Ringing.", "annotations": [], "logprobs": []}
    call = {"type": "function_call", "name": "ring", "arguments": '{"times": 2}', "status": "completed"}
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "hi "}, {"type": "input_text", "text": "you"}]},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said]},
        {**call, "call_id": "1", "id": "fc_1"},
        {**call, "call_id": "2"},
        {"type": "function_call_output", "call_id": "1", "output": "Ding."},
        {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "Dong."}]},
    ]
    ask(Saying(published.base, "a"), input=items)
    spelt = spelled("ring", '{"times": 2}')
    results = "<tool_response>\nDing.\n</tool_response>\n<tool_response>\nDong.\n</tool_response>"
    assert prompts(ask.engine) == [
        f"<s>system\nBe kind.</s><s>user\nhi you</s><s>assistant\nRinging.\n{spelt}\n{spelt}</s>"
        f"<s>user\n{results}</s><s>"
    ]


@pytest.mark.slow
def test_calls_are_items_beside_what_is_said(ask, published):
    answer = ask(Saying(published.base, CALLS), tools=[RING, WAIT])
    message, ring, wait = answer.output
    assert message.content[0].text == "Well.\n"
    assert [(call.type, call.name, call.arguments) for call in (ring, wait)] == [
        ("function_call", "ring", '{"times": 2}'),
        ("function_call", "wait", "{}"),
    ]
    assert ring.call_id != wait.call_id
    assert "Ring the bell." in prompts(ask.engine)[0]


@pytest.mark.slow
def test_a_stream_has_openais_events_in_order(ask, published):
    events = ask(Saying(published.base, "Hi."), stream=True)
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].response.status == "in_progress"
    assert "".join(event.delta for event in events if event.type.endswith("delta")) == "Hi."
    whole = events[-1].response
    assert (whole.output_text, whole.usage.output_tokens, whole.status) == ("Hi.", 3, "completed")
    assert whole.model_extra["sharedllm"] == events[0].response.model_extra["sharedllm"]


@pytest.mark.slow
@pytest.mark.parametrize("text", [CALLS, "", " \n", "a <tool and b", CALLS[:-3], "\n" + CALLS[6:]])
def test_a_streamed_response_is_the_whole_one_in_pieces(ask, published, text):
    engine = Saying(published.base, text)
    whole = ask(engine, tools=[RING, WAIT])
    events = ask(tools=[RING, WAIT], stream=True)
    done = [event.item for event in events if event.type == "response.output_item.done"]
    for items in (done, events[-1].response.output):
        assert [spoken(item) for item in items] == [spoken(item) for item in whole.output]
    for index, item in enumerate(done):
        pieces = [each for each in events if getattr(each, "output_index", None) == index]
        added, *_, last = pieces
        assert (added.type, last.type) == ("response.output_item.added", "response.output_item.done")
        assert added.item.id == item.id
        told = "".join(each.delta for each in pieces if each.type.endswith(".delta"))
        assert told == (item.arguments if item.type == "function_call" else item.content[0].text)


def spoken(item):
    return (item.name, item.arguments) if item.type == "function_call" else item.content[0].text


@pytest.mark.slow
def test_openais_stream_helper_reads_what_was_parsed(listening, published, monkeypatch):
    class Person(pydantic.BaseModel):
        kind: Literal["old", "young"]

    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE)
    address, service, *_ = listening(Saying(published.base, '{"kind": "old"}'))
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    with client.responses.stream(
        model=service.model, input="hi", text_format=Person, extra_body={"user": "alice"}
    ) as stream:
        assert stream.get_final_response().output_parsed == Person(kind="old")


@pytest.mark.slow
def test_an_answer_follows_the_schema(ask, published):
    class Person(pydantic.BaseModel, extra="forbid"):
        kind: Literal["old", "young"]

    schema = {"type": "json_schema", "name": "person", "schema": Person.model_json_schema(), "strict": True}
    answer = ask(Engine(published.base, SMALL), text={"format": schema}, max_output_tokens=60)
    Person.model_validate_json(answer.output_text)
    assert answer.text.format.name == "person"
    assert ask(text={"format": {"type": "json_object"}}, max_output_tokens=9).output_text.startswith("{")


@pytest.mark.slow
def test_an_answer_that_was_cut_is_incomplete(ask):
    answer = ask(max_output_tokens=4)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[0].status == "incomplete"
    assert ask(max_output_tokens=4, stream=True)[-1].type == "response.incomplete"


@pytest.mark.slow
def test_log_probabilities_are_told_where_they_are_included(ask):
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 3}
    (part,) = ask(**asked).output[0].content
    assert [each.token for each in part.logprobs] == list("abc")
    assert len(part.logprobs[0].top_logprobs) == 2
    events = ask(**asked, stream=True)
    told = [each for event in events if event.type.endswith("text.delta") for each in event.logprobs]
    assert [each.token for each in told] == list("abc")
    assert ask(max_output_tokens=3).output[0].content[0].logprobs == []


@pytest.mark.slow
def test_a_stream_that_fails_says_so_in_an_event(ask, published):
    engine = FakeEngine(published.base)
    engine.ending = "erased"
    created, *_, failed = ask(engine, stream=True)
    assert (created.type, failed.type) == ("response.created", "response.failed")
    assert (failed.response.status, failed.response.error.code) == ("failed", "erased")
    with pytest.raises(openai.APIStatusError) as refused:
        ask()
    assert (refused.value.status_code, refused.value.code) == (410, "erased")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
        ({"input": []}, "input"),
        ({"text": {"format": {"type": "text", "name": "person"}}}, "text"),
        ({"text": {"format": {"type": "json_schema", "name": "person"}}}, "text"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [RING, RING]}, None),
        ({"tool_choice": "required"}, None),
        ({"include": ["file_search_call.results"]}, "include.0"),
        ({"extra_body": {"user": "alice", "n": 2}}, "n"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(ask, asked, param):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(**asked)
    assert (refused.value.param or "").startswith(param or "")
    assert not ask.engine.requests


@pytest.mark.slow
def test_what_changes_nothing_is_taken(ask):
    ask(
        store=False,
        truncation="disabled",
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        safety_identifier="s",
        service_tier="auto",
        parallel_tool_calls=True,
        extra_body={"user": "alice", "seed": 5, "min_p": 0.1, "sharedllm": {"timeout": 9}},
    )
    (request,) = ask.engine.requests
    assert (request.sampling.seed, request.sampling.min_p, request.seconds) == (5, 0.1, 9)


def test_the_description_has_it(ask, published, serving):
    described = serving().nobody.get("/openapi.json").json()
    assert "/v1/responses" in described["paths"]
    assert "ResponsesRequest" in described["components"]["schemas"]
    assert json.dumps(described["components"]["schemas"]["ResponsesRequest"]["properties"]["input"])
