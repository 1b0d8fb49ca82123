"""Chat and completions: what the engine is asked, and what the response says."""

import math
import threading
from dataclasses import replace

import pytest
from tests import models
from tests.http.conftest import PASSED, STOPPED, FakeEngine

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.base.tokens import Tokens
from sharedllm.errors import QueueFull
from sharedllm.serving.request import DEFAULT_SAMPLING

COMPLETE, CHAT = "/v1/completions", "/v1/chat/completions"
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content | trim }}</s>\n{% endfor %}<s>assistant\n"


@pytest.fixture
def chatty(published, monkeypatch):
    """The base with a chat template."""
    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE)


def complete(server, client="alice", **asked):
    return getattr(server, client).post(COMPLETE, json={"model": server.model, "prompt": "hi", **asked})


def chat(server, **asked):
    messages = [{"role": "user", "content": "hi"}]
    return server.alice.post(CHAT, json={"model": server.model, "messages": messages, **asked})


def error_of(response):
    return response.status_code, response.json()["error"]["code"]


def test_a_completion_continues_the_prompt_with_the_callers_own_release(serving, published):
    server = serving()
    response = complete(server, max_tokens=3, seed=7)
    body = response.json()
    assert body["choices"] == [{"index": 0, "text": "abc", "logprobs": None, "finish_reason": "length"}]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert (body["object"], body["model"]) == ("text_completion", server.model)
    (request,) = server.engine.requests
    release = published.store.served("alice")
    assert (request.owner, request.release, list(request.prompt)) == (
        "alice",
        release.id,
        published.base.encode("hi"),
    )
    assert (request.values == release.adapter.values).all()
    assert request.sampling == replace(DEFAULT_SAMPLING, seed=7)


def test_a_request_says_how_its_tokens_are_drawn(serving):
    server = serving()
    complete(server, temperature=0.4, top_p=0.8, min_p=0.25)
    (request,) = server.engine.requests
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.min_p) == (0.4, 0.8, 0.25)


@pytest.mark.parametrize("said", [{"temperature": 0}, {"temperature": 1}, {"top_p": 1}, {"min_p": 0}])
def test_what_is_said_is_taken_as_it_is_and_the_rest_is_as_by_default(serving, said):
    server = serving()
    complete(server, seed=7, **said)
    (request,) = server.engine.requests
    assert request.sampling == replace(DEFAULT_SAMPLING, seed=7, **said)


def test_what_people_expect_of_sampling_reaches_the_engine(serving):
    server = serving()
    penalties = {"presence_penalty": 0.5, "frequency_penalty": -1, "repetition_penalty": 1.2}
    complete(server, **penalties, top_k=40, logit_bias={"50": -100, "7": 1.5}, stop_token_ids=[9], ignore_eos=True)
    (request,) = server.engine.requests
    assert {name: getattr(request.sampling, name) for name in penalties} == penalties
    assert (request.sampling.top_k, request.sampling.logit_bias) == (40, ((7, 1.5), (50, -100)))
    assert (request.stop_ids, request.ignore_end) == ({9}, True)


@pytest.mark.parametrize(
    "neutral", [{"top_k": -1}, {"top_k": 0}, {"repetition_penalty": 1}, {"logit_bias": {}}, {"best_of": 1}]
)
def test_a_value_that_changes_nothing_changes_nothing(serving, neutral):
    server = serving()
    assert complete(server, seed=7, **neutral).status_code == 200
    assert server.engine.requests[0].sampling == replace(DEFAULT_SAMPLING, seed=7)


def test_the_description_says_how_tokens_are_drawn_by_default(serving):
    server = serving()
    described = server.nobody.get("/openapi.json").text
    for value in (DEFAULT_SAMPLING.temperature, DEFAULT_SAMPLING.top_p, DEFAULT_SAMPLING.min_p):
        assert f"{value:g} by default" in described


def test_every_response_says_how_it_was_routed(serving, published):
    response = complete(serving(), seed=7)
    base = published.base.fingerprint[:12]
    assert response.json()["sharedllm"] == {
        "route": "own",
        "release": 1,
        "base": base,
        "reason": "Release 1 of 'alice' answers.",
        "seed": 7,
    }
    assert {name: value for name, value in response.headers.items() if name.startswith("x-sharedllm")} == {
        "x-sharedllm-route": "own",
        "x-sharedllm-release": "1",
        "x-sharedllm-base": base,
        "x-sharedllm-reason": "own_release",
    }


def test_a_new_release_answers_the_next_request(serving, published):
    server = serving()
    complete(server)
    published.store.publish("alice", published.adapter(9), PASSED)
    assert complete(server).headers["x-sharedllm-release"] == "2"
    first, second = server.engine.requests
    assert first.release != second.release
    assert (first.values != second.values).any()


def test_an_unknown_user_is_404_and_answered_by_the_base_only_where_that_is_allowed(serving):
    assert error_of(complete(serving(), "carol")) == (404, "unknown_user")
    server = serving(fallback=True)
    response = complete(server, "carol")
    assert (response.headers["x-sharedllm-route"], response.headers["x-sharedllm-reason"]) == ("base", "unknown_user")
    assert "x-sharedllm-release" not in response.headers
    assert response.json()["sharedllm"]["release"] is None
    (request,) = server.engine.requests
    assert (request.owner, request.release, request.values) == ("carol", None, None)


def test_a_stranger_on_a_base_with_a_prior_is_told_that_the_prior_answers(serving, base_of):
    base = base_of("adapted")
    assert error_of(complete(serving(FakeEngine(base)), "carol")) == (404, "unknown_user")
    response = complete(serving(FakeEngine(base), fallback=True), "carol")
    told = response.json()["sharedllm"]
    assert (response.headers["x-sharedllm-route"], told["route"], told["release"]) == ("prior", "prior", None)
    assert told["reason"].startswith("The prior answers. ")


@pytest.mark.parametrize(
    ("changed", "gate", "code"),
    [
        ({}, GateOutcome(False, "no better"), "not_served"),
        ({"base": "another"}, PASSED, "wrong_base"),
        ({"format": "ia3"}, PASSED, "wrong_base"),
    ],
)
def test_a_release_that_cannot_answer_is_refused_or_the_base_answers_openly(serving, published, changed, gate, code):
    published.store.publish("carol", published.adapter(3, **changed), gate)
    assert error_of(complete(serving(), "carol")) == (409, code)
    response = complete(serving(fallback=True), "carol")
    assert (response.headers["x-sharedllm-route"], response.headers["x-sharedllm-reason"]) == ("base", code)


def test_a_revoked_user_is_not_served(serving, published):
    server = serving()
    published.store.revoke("alice", "contract ended")
    assert error_of(complete(server)) == (409, "not_served")
    assert not server.engine.requests


def test_a_user_erased_on_a_requests_way_to_the_engine_is_stopped_once_it_is_there(serving, published):
    server = serving()
    submit = server.engine.submit
    erasing = []

    def erased_meanwhile(request, deliver):
        published.store.erase("alice")
        erasing.append(threading.Thread(target=server.core.forget, args=("alice",)))
        erasing[0].start()
        assert not server.engine.stopped
        return submit(request, deliver)

    server.engine.submit = erased_meanwhile
    complete(server)
    erasing[0].join()
    assert server.engine.stopped == ["alice"]
    assert error_of(complete(server)) == (401, "unknown_key")
    assert error_of(complete(server, "service", user="alice")) == (404, "unknown_user")


def test_several_answers_share_a_seed_and_differ_by_choice(serving):
    server = serving()
    body = complete(server, prompt=["hi", "you"], n=2, max_tokens=1).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    asked = server.engine.requests
    assert [(len(request.prompt), request.sampling.choice) for request in asked] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert {request.sampling.seed for request in asked} == {body["sharedllm"]["seed"]}


def test_the_best_of_several_are_the_likeliest_a_token_and_all_are_counted(serving, published):
    class Unequal(FakeEngine):
        def answer(self, request, deliver):
            def worse(event):
                scored = getattr(event, "scored", None)
                if scored is not None:
                    event = replace(event, scored=replace(scored, logprob=-abs(request.sampling.choice - 2.0)))
                    event = replace(event, text=str(request.sampling.choice))
                deliver(event)

            super().answer(request, worse)

    server = serving(Unequal(published.base))
    body = complete(server, prompt=["hi", "you"], best_of=4, n=2, max_tokens=1, logprobs=0).json()
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [(0, "2"), (1, "1"), (2, "2"), (3, "1")]
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 13}
    (told,) = complete(server, best_of=2, max_tokens=1).json()["choices"]
    assert (told["text"], told["logprobs"]) == ("1", None)
    assert complete(server, prompt=["a"] * 9, best_of=8).status_code == 400


def test_a_seed_that_was_not_given_is_random_and_told(serving):
    server = serving()
    seeds = [complete(server).json()["sharedllm"]["seed"] for _ in range(2)]
    assert seeds == [request.sampling.seed for request in server.engine.requests]
    assert seeds[0] != seeds[1]


def test_a_seed_that_is_told_is_one_that_every_client_can_send_back(serving, monkeypatch):
    monkeypatch.setattr("secrets.randbits", lambda bits: 2**bits - 1)
    assert complete(serving()).json()["sharedllm"]["seed"] == 2**53 - 1


def test_a_prompt_is_text_or_ids_or_several_of_either(serving, published):
    hi, you = map(published.base.encode, ("hi", "you"))
    for prompt, ids in [("hi", [hi]), (["hi", "you"], [hi, you]), (hi, [hi]), ([hi, you], [hi, you])]:
        server = serving()
        assert complete(server, prompt=prompt).status_code == 200
        assert [list(request.prompt) for request in server.engine.requests] == ids


def test_scoring_a_prompt_draws_nothing_and_tells_every_token(serving):
    server = serving()
    body = complete(server, echo=True, logprobs=0, max_tokens=0).json()
    (choice,) = body["choices"]
    assert choice["text"] == "hi"
    assert choice["logprobs"] == {
        "tokens": ["h", "i"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": None,
        "text_offset": [0, 1],
    }
    assert body["usage"]["completion_tokens"] == 0
    assert server.engine.requests[0].score_prompt


def test_the_text_that_is_told_is_the_text_of_the_ids_also_where_spaces_are_part_of_words(
    serving, published, monkeypatch
):
    tokens = Tokens(models.sentencepiece(), 400)
    monkeypatch.setitem(vars(published.base), "tokens", tokens)
    (choice,) = complete(serving(), prompt="the man", echo=True, logprobs=0, max_tokens=0).json()["choices"]
    assert choice["text"] == "the man"
    # The first token opens the text and is not shown, and the next begins where the text does.
    assert choice["logprobs"]["text_offset"][:4] == [0, 0, 3, 4]
    (choice,) = complete(serving(), prompt=tokens.encode("the"), logprobs=0, max_tokens=2).json()["choices"]
    assert choice["logprobs"]["text_offset"][0] == 0


def test_part_of_a_character_is_told_as_bytes_at_the_characters_place(serving):
    logprobs = complete(serving(), prompt="é!", echo=True, logprobs=1, max_tokens=0).json()["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["bytes:\\xc3", "bytes:\\xa9", "!"]
    assert logprobs["text_offset"] == [0, 0, 1]
    assert logprobs["top_logprobs"] == [None, {"<pad>": -0.5}, {"<pad>": -0.5}]


def test_the_glass_box_tells_each_token_with_and_without_the_adapter(serving):
    body = complete(serving(), max_tokens=3, n=2, sharedllm={"glass_box": True}).json()
    for index, box in enumerate(body["sharedllm"]["glass_box"]):
        assert box["index"] == index
        assert [token["token"] for token in box["tokens"]] == ["a", "b", "c"]
        assert box["logprob_base"] == math.fsum(token["logprob_base"] for token in box["tokens"]) == -2.25
        assert box["logprob_adapter"] == math.fsum(token["logprob_adapter"] for token in box["tokens"]) == -1.5


def test_a_chat_is_answered_as_the_assistant(serving, published, chatty):
    server = serving()
    body = chat(server, max_completion_tokens=2, logprobs=True, top_logprobs=1).json()
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "ab", "refusal": None}
    assert choice["logprobs"]["content"][0] == {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "<pad>", "logprob": -0.5, "bytes": list(b"<pad>")}],
    }
    assert body["object"] == "chat.completion"


def test_a_chat_answer_may_fill_what_the_context_leaves_unless_the_policy_says_less(serving, chatty):
    server = serving()
    chat(server)
    (request,) = server.engine.requests
    assert request.max_tokens == server.engine.context - len(request.prompt)
    server = serving(chat_tokens=20)
    chat(server)
    assert server.engine.requests[0].max_tokens == 20


def test_developer_messages_are_read_as_system_and_parts_of_a_message_are_one_text(serving, chatty, published):
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    server = serving()
    chat(server, messages=[{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}])
    (request,) = server.engine.requests
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "ab"}]
    rendered = published.base.tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
    assert request.prompt == rendered


def test_what_openai_takes_beside_the_conversation_is_taken(serving, chatty):
    server = serving()
    messages = [
        {"role": "user", "content": "hi", "name": "bob"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "you"},
    ]
    beside = {"user": "alice", "metadata": {"run": "7"}, "prompt_cache_key": "k", "safety_identifier": "s"}
    assert chat(server, messages=messages, **beside).status_code == 200
    (request,) = server.engine.requests
    plain = [{"role": each["role"], "content": each["content"] or ""} for each in messages]
    chat(server, messages=plain)
    assert server.engine.requests[1].prompt == request.prompt


def test_an_assistants_last_message_is_gone_on_with_where_that_is_asked(serving, published, monkeypatch):
    told = "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE.replace("<s>assistant\n", told))
    server = serving()
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well, "}]
    chat(server, messages=messages, add_generation_prompt=False, continue_final_message=True)
    chat(server, messages=messages, add_generation_prompt=False)
    chat(server, messages=messages)
    going_on, ended, asked_anew = (published.base.tokenizer.decode(each.prompt) for each in server.engine.requests)
    # This template trims what is said.
    assert going_on == "<s>user\nhi</s>\n<s>assistant\nWell,"
    assert ended == f"{going_on}</s>\n"
    assert asked_anew == f"{ended}<s>assistant\n"


def test_a_base_without_a_chat_template_says_so(serving):
    response = chat(serving())
    assert response.status_code == 400
    assert "no chat template" in response.json()["error"]["message"]


@pytest.mark.parametrize(("reason", "status"), [("deadline", 504), ("erased", 410), ("shutdown", 503), ("failed", 500)])
def test_an_answer_that_was_cut_off_is_an_error(serving, published, reason, status):
    engine = FakeEngine(published.base)
    engine.ending = reason
    assert error_of(complete(serving(engine))) == (status, reason)


def test_a_full_queue_says_when_to_come_back_and_leaves_nothing_behind(serving):
    server = serving()
    submit = server.engine.submit

    def full_after_one(request, deliver):
        if server.engine.requests:
            raise QueueFull("Too many requests are waiting", remedy="Come back.", retry_after=2.1)
        return submit(request, deliver)

    server.engine.submit = full_after_one
    response = complete(server, n=2)
    assert error_of(response) == (429, "queue_full")
    assert response.headers["retry-after"] == "3"
    assert server.engine.cancelled == [1]


def test_a_stopped_engine_is_503(serving):
    server = serving()
    server.engine.refusal = STOPPED
    assert error_of(complete(server)) == (503, "engine_stopped")


def test_what_nobody_foresaw_is_500_without_internals(serving):
    server = serving()
    server.engine.refusal = RuntimeError("secret.txt")
    response = complete(server)
    assert error_of(response) == (500, "internal_error")
    assert "secret" not in response.text


def test_a_deadline_can_be_named_up_to_a_bound(serving):
    server = serving(seconds=5, max_seconds=10)
    complete(server)
    complete(server, sharedllm={"timeout": 2.5})
    assert [request.seconds for request in server.engine.requests] == [5, 2.5]
    assert complete(server, sharedllm={"timeout": 11}).status_code == 400


def test_the_model_is_the_base_and_no_other(serving):
    server = serving()
    assert error_of(complete(server, model="gpt-4")) == (404, "model_not_found")
    assert [each["id"] for each in server.alice.get("/v1/models").json()["data"]] == [server.model]
    assert server.alice.get(f"/v1/models/{server.model}").json()["id"] == server.model
    assert error_of(server.alice.get("/v1/models/gpt-4")) == (404, "model_not_found")
