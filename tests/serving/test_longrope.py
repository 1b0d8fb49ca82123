"""A base that reads a text otherwise from its first token on once it is longer than the original context (LongRoPE)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import models
from tests.serving.conftest import SMALL, alone, likely, passes, rerunning, under

from sharedllm.adapters.layouts import layout_of
from sharedllm.serving import runner
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits

ORIGINAL = 64
# Tokens given and drawn: within the original context, up to its last token, over it while drawing, and beyond it.
LENGTHS = [(3, 8), (60, 4), (60, 5), (50, 40), (64, 2), (65, 3), (200, 12), (1, 70)]


@pytest.fixture
def base(loaded):
    return loaded(models.phi3, torch.float64)


@pytest.fixture
def start(base):
    """An engine, closed after the test."""
    engines = []

    def start(limits=SMALL):
        engines.append(Engine(base, limits))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def everybody(base, row):
    """Prompts, rows and how many tokens are drawn, of everybody."""
    width = layout_of(base, "norm").size
    chance = np.random.default_rng(3)
    return [
        (chance.integers(3, 250, given).tolist(), row(width, number), new)
        for number, (given, new) in enumerate(LENGTHS)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, pytest.param(-1, marks=pytest.mark.rare)])
@pytest.mark.parametrize(
    "limits",
    [
        replace(SMALL, cache_tokens=2048),
        Limits(running=3, cache_tokens=512, batch_tokens=16, table_bytes=0),
        Limits(running=8, cache_tokens=2048, batch_tokens=512, table_bytes=0),
        replace(SMALL, cache_tokens=2048, deterministic=True),
    ],
    ids=["some wait", "short passes", "all at once", "apart"],
)
def test_neighbours_on_both_sides_of_the_limit_get_what_whole_passes_of_their_own_give(
    base, start, ask, row, limits, order
):
    people = everybody(base, row)
    expected = [alone(base, *each) for each in people]
    engine = start(limits)
    clients = {}
    for number, (prompt, values, new) in list(enumerate(people))[::order]:
        own = {"release": f"{number}", "values": values, "max_tokens": new, "top_logprobs": None}
        clients[number] = ask(engine, prompt, f"user {number}", **own)
    engine.start()
    assert [clients[number].wait().ids for number in range(len(people))] == expected


@pytest.mark.slow
def test_so_they_do_where_passes_are_recorded(base, start, ask, row, monkeypatch):
    people = everybody(base, row)
    expected = [alone(base, *each) for each in people]
    monkeypatch.setattr(runner, "recorder", lambda device: rerunning())
    engine = start(replace(SMALL, cache_tokens=2048))
    engine.start()
    clients = [
        ask(engine, prompt, f"{number}", release=f"{number}", values=values, max_tokens=new)
        for number, (prompt, values, new) in enumerate(people)
    ]
    assert [client.wait().ids for client in clients] == expected


@pytest.mark.slow
def test_what_is_told_of_given_and_new_tokens_is_what_whole_passes_say(base, start, ask, row):
    people = everybody(base, row)
    expected = [alone(base, *each) for each in people]
    scores = [likely(base, values, prompt) for prompt, values, _ in people]
    boxes = [likely(base, values, prompt + ids) for (prompt, values, _), ids in zip(people, expected, strict=True)]
    engine = start()
    clients = [
        ask(
            engine,
            prompt,
            f"{number}",
            release=f"{number}",
            values=values,
            max_tokens=new,
            score_prompt=True,
            glass_box=True,
        )
        for number, (prompt, values, new) in enumerate(people)
    ]
    engine.start()
    for (prompt, _, _), client, ids, given, box in zip(people, clients, expected, scores, boxes, strict=True):
        finished = client.wait().finished
        assert client.ids == ids
        assert [each.id for each in finished.prompt_scores] == prompt
        assert [each.logprob for each in finished.prompt_scores[1:]] == pytest.approx(given, abs=1e-6)
        assert [each.logprob for each in finished.glass_box] == pytest.approx(box[len(prompt) - 1 :], abs=1e-6)


def test_log_probabilities_of_new_tokens_follow_the_text_as_long_as_it_was_then(base, start, ask, row):
    prompt, values, new = everybody(base, row)[3]
    engine = start()
    engine.start()
    client = ask(engine, prompt, release="r", values=values, max_tokens=new).wait()
    engine.close()
    with under(base, values) as logits:
        for before in (0, 13, 14, 15, 39):
            told = logits(prompt + client.ids[:before])[-1].log_softmax(-1)
            assert client.logprobs[before] == pytest.approx(float(told[client.ids[before]]))


@pytest.mark.slow
def test_whoever_is_erased_or_cancelled_while_read_again_leaves_others_alone(base, start, ask, row):
    people = everybody(base, row)
    expected = [alone(base, *each) for each in people]
    engine = start()
    clients = [
        ask(engine, prompt, f"{number}", release=f"{number}", values=values, max_tokens=new)
        for number, (prompt, values, new) in enumerate(people)
    ]
    passes(engine, lambda: len(clients[3].tokens) == 15)
    engine.forget("3")
    passes(engine, lambda: len(clients[7].tokens) == 64)
    engine.cancel(clients[7].number)
    passes(engine, lambda: all(client.finished for client in clients))
    for number, client in enumerate(clients):
        assert client.ids == expected[number][: len(client.ids)]
    assert {client.finished.reason for client in clients} == {"length", "erased", "cancelled"}


def test_the_whole_context_is_served(base, start, ask):
    engine = start()
    assert engine.context == 512
    engine.start()
    assert ask(engine, [5] * 500, max_tokens=12).wait().finished.reason == "length"


@pytest.mark.slow
def test_a_conversation_goes_on_from_what_was_read_within_the_original_context_alone(base, start, ask, row):
    engine = start(replace(SMALL, cache_tokens=2048))
    values = row(layout_of(base, "norm").size, 1)
    prompt = np.random.default_rng(4).integers(3, 250, 300).tolist()
    # Within it, over it while drawing, beyond it, and within it once more.
    for given, new, cached in ((40, 4, 0), (50, 30, 32), (100, 4, 0), (150, 4, 0), (60, 4, 0), (60, 3, 32)):
        client = ask(engine, prompt[:given], release="r", values=values, max_tokens=new)
        passes(engine, lambda client=client: client.finished)
        assert client.ids == alone(base, prompt[:given], values, new)
        assert client.finished.cached_tokens == cached
