"""The API over the engine itself: each user their own answer, and every way of asking the same tokens."""

import gc
import json
import math
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest
import torch
from fastapi.testclient import TestClient
from tests.http.conftest import PASSED

from sharedllm.base.tokens import Vocabulary
from sharedllm.http.app import create_app
from sharedllm.http.erased import stop_erased
from sharedllm.http.service import Service
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Finished, Limits, Request, Token

PROMPT = "Who came to the door?"
SMALL = Limits(running=8, waiting=32, waiting_per_owner=16, cache_tokens=2048, batch_tokens=64, table_bytes=0)


@pytest.fixture
def server(serving, published):
    return serving(Engine(published.base, SMALL), fallback=True)


def ask(server, client="alice", **asked):
    body = {"model": server.model, "prompt": PROMPT, "seed": 11, "max_tokens": 12, "logprobs": 0, **asked}
    response = getattr(server, client).post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def tokens(body):
    return [choice["logprobs"]["tokens"] for choice in body["choices"]]


@pytest.mark.slow
def test_users_at_once_get_what_each_gets_alone(server):
    alone = {client: tokens(ask(server, client)) for client in ("alice", "bob", "carol")}
    assert len({str(each) for each in alone.values()}) == 3
    with ThreadPoolExecutor(12) as threads:
        everybody = [client for client in alone for _ in range(4)]
        together = list(threads.map(lambda client: (client, tokens(ask(server, client))), everybody))
    assert all(each == alone[client] for client, each in together)


@pytest.mark.slow
def test_a_new_release_and_an_erasure_take_effect_on_the_next_request(server, published):
    base = tokens(ask(server, "carol"))
    first = tokens(ask(server))
    published.store.publish("alice", published.adapter(7), PASSED)
    assert tokens(ask(server)) not in (first, base)
    assert server.service.delete("/v1/users/alice").status_code == 200
    body = ask(server, "service", user="alice")
    assert body["sharedllm"]["route"] == "base"
    assert tokens(body) == base


def test_sampling_is_of_the_seed_and_the_choice(server):
    asked = {"temperature": 1.5, "seed": 11, "n": 3}
    first = tokens(ask(server, **asked))
    assert first == tokens(ask(server, **asked))
    assert len({str(each) for each in first}) == 3
    assert first != tokens(ask(server, **asked | {"seed": 12}))
    assert ask(server, temperature=1.5, seed=-1)["sharedllm"]["seed"] == -1


@pytest.mark.slow
def test_a_stream_is_the_whole_answer_in_pieces(server):
    whole = ask(server)["choices"][0]
    body = {"model": server.model, "prompt": PROMPT, "seed": 11, "max_tokens": 12, "stream": True}
    response = server.alice.post("/v1/completions", json=body)
    *chunks, done = [line[6:] for line in response.text.split("\n\n") if line]
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert done == "[DONE]"
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    assert choices[-1]["finish_reason"] == whole["finish_reason"]


def test_scores_are_the_models_own(server, published):
    (choice,) = ask(server, "carol", echo=True, logprobs=1, max_tokens=0)["choices"]
    ids = torch.tensor([published.base.encode(PROMPT)])
    expected = published.base.model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    first, *scores = choice["logprobs"]["token_logprobs"]
    assert first is None
    torch.testing.assert_close(torch.tensor(scores), expected, rtol=0, atol=1e-5)


def test_the_glass_box_adds_up_to_what_each_model_says_of_the_answer(server, published):
    answered = ask(server, sharedllm={"glass_box": True})
    (box,) = answered["sharedllm"]["glass_box"]
    told = answered["choices"][0]["logprobs"]["token_logprobs"]
    assert math.isclose(box["logprob_adapter"], math.fsum(told), abs_tol=1e-5)
    vocabulary = Vocabulary(published.base.tokenizer)
    id_of = {vocabulary.text(id): id for id in range(published.base.head.shape[0])}
    ids = published.base.encode(PROMPT) + [id_of[token["token"]] for token in box["tokens"]]
    scored = ask(server, "carol", prompt=ids, echo=True, max_tokens=0)["choices"][0]["logprobs"]["token_logprobs"]
    assert math.isclose(box["logprob_base"], math.fsum(scored[-len(box["tokens"]) :]), abs_tol=1e-5)


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(server):
    text = ask(server, max_tokens=64)["choices"][0]["text"]
    stop = next(character for character in text[2:] if character.isascii() and character not in text[:2])
    (choice,) = ask(server, max_tokens=64, stop=[stop, "never in there"])["choices"]
    assert (choice["text"], choice["finish_reason"]) == (text[: text.index(stop)], "stop")


def test_a_deadline_that_passes_is_504(server):
    body = {"model": server.model, "prompt": PROMPT, "max_tokens": 400, "sharedllm": {"timeout": 1e-6}}
    response = server.alice.post("/v1/completions", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline")


def test_usage_and_metrics_count_what_the_engine_read_and_drew(server):
    counts = ask(server, n=2)["usage"]
    metrics = server.nobody.get("/metrics").text.splitlines()
    assert f"sharedllm_prompt_tokens_total {2.0 * counts['prompt_tokens']}" in metrics
    assert f"sharedllm_new_tokens_total {float(counts['completion_tokens'])}" in metrics
    for kind in ("proposed", "accepted"):
        assert any(line.startswith(f"sharedllm_{kind}_tokens_total ") for line in metrics)
    assert "sharedllm_table_misses_total 1.0" in metrics


@pytest.mark.slow
def test_an_erasure_by_another_process_ends_what_runs_here_and_clears_the_row(server, published, monkeypatch):
    step = server.engine.step
    # Slow enough that nothing ends of itself meanwhile.
    monkeypatch.setattr(server.engine, "step", lambda: (time.sleep(0.02), step()))
    release = published.store.served("alice")
    events = SimpleQueue()
    values = release.adapter.values
    request = Request([5, 6, 7], "alice", release.id, values, max_tokens=500, ignore_end=True)
    # The base answers somebody the store has never heard of, and goes on answering them.
    stranger = Request([5, 6, 7], "stranger", max_tokens=500, ignore_end=True)
    server.engine.submit(stranger, lambda event: None)
    server.engine.submit(request, events.put)
    assert isinstance(events.get(timeout=60), Token)
    theirs = {("alice", release.id)}
    assert server.engine.releases() == (theirs, theirs)
    stop_erased(server.core, theirs, {})
    assert server.engine.releases() == (theirs, theirs)
    published.store.erase("alice")
    until = time.monotonic() + 30
    while (event := events.get(timeout=60)) and not isinstance(event, Finished):
        assert time.monotonic() < until
    assert event.reason == "erased"
    assert server.engine.releases() == (set(), set())
    assert server.engine.counters.finished == {"erased": 1}


@pytest.mark.slow
def test_nothing_of_a_server_that_has_ended_stays_in_memory(published):
    engine = Engine(published.base, SMALL)
    left = weakref.ref(engine)
    with TestClient(create_app(Service(engine, published.store))) as client:
        assert client.get("/v1/users/alice").status_code == 200
    del client, engine
    gc.collect()
    assert left() is None


def test_a_second_turn_is_told_how_much_of_it_had_been_read(server):
    prompt = PROMPT * 8
    assert "prompt_tokens_details" not in ask(server, prompt=prompt)["usage"]
    usage = ask(server, prompt=prompt + " And then?")["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == len(prompt) // 32 * 32
    assert "prompt_tokens_details" not in ask(server, "bob", prompt=prompt)["usage"]
    assert "sharedllm_cached_tokens_total" in server.nobody.get("/metrics").text
