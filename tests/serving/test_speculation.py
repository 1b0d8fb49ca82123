"""With tokens that are proposed from a sequence's own text everybody is told what they are told without."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models import phi3
from tests.serving.conftest import SMALL, Client, alone, passes
from tests.serving.test_isolation import plan

from sharedllm.adapters.layouts import layout_of
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Sampling
from sharedllm.serving.speculation import Proposals

REPEATED = [5, 6, 7, 8, 9] * 4
AHEAD = replace(SMALL, speculates=True)


def told(client):
    """All that a request was told, in order."""
    end = client.finished
    assert end.error is None
    return (
        [(token.scored.id, token.text) for token in client.tokens],
        (end.reason, end.text, end.prompt_tokens, end.new_tokens),
        [[each.id for each in scores] for scores in (end.prompt_scores, end.glass_box)],
    )


def figures(client):
    """The log-probabilities among it, of the likeliest tokens, too."""
    end = client.finished
    scores = [*(token.scored for token in client.tokens), *end.prompt_scores[1:], *end.glass_box]
    found = [[each.logprob, each.base_logprob, *(logprob for _, logprob in each.top)] for each in scores]
    return [figure for row in found for figure in row if figure is not None]


def spoil(engine, places):
    """What the cache has there is no number."""
    with torch.inference_mode():
        for layer in engine._runner.cache._layers.values():
            for held in layer:
                held[places] = float("nan")


# What is proposed


def test_what_followed_the_last_tokens_where_they_were_last_is_proposed():
    proposals, ids = Proposals(), [1, 2, 10, 1, 2, 20, 21, 22, 1, 2]
    assert proposals.propose(ids, 2) == (20, 21)
    assert proposals.propose([*ids, 20], 2) == (21, 22)
    assert proposals.propose([*ids, 20, 99], 2) == ()


def test_what_repeats_itself_is_proposed_to_do_so_again():
    assert Proposals().propose([9, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3], 6) == (4, 1, 2, 3, 4, 1)


@pytest.mark.parametrize("ids", [[], [1], [1, 2, 3], [1, 2, 3, 4, 5, 6]])
def test_nothing_is_proposed_after_what_is_new(ids):
    assert Proposals().propose(ids, 4) == ()


def test_what_keeps_failing_is_proposed_only_now_and_then_until_it_does_not():
    proposals, ids = Proposals(), [1, 2, 3, 4] * 3
    tries = [bool(proposals.propose(ids, 4)) for _ in range(200)]
    assert sum(tries[:20]) < 10
    assert 0 < sum(tries[20:]) <= -(-180 // 32)
    while not proposals.propose(ids, 4):
        pass
    for _ in range(4):
        proposals.accept()
    assert proposals.propose(ids, 4)


# Exactness


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "gpt2"])
def test_everybody_gets_what_whole_forward_passes_of_their_own_row_give(
    engine_of, base_of, ask, row, architecture, eager, replayed
):
    base = base_of(architecture, torch.float64)
    width = layout_of(base, "norm").size
    chance = np.random.default_rng(3)
    prompts = [chance.integers(3, 250, size).tolist() * 2 for size in (1, 3, 17, 40)]
    values = [np.zeros(width, np.float32), *(row(width, seed) for seed in range(3))]
    expected = [alone(base, prompt, row, 24) for prompt, row in zip(prompts, values, strict=True)]
    engine = engine_of(architecture, limits=AHEAD)
    clients = [
        ask(engine, prompt, f"user {n}", release=f"release {n}", values=values[n], max_tokens=24)
        for n, prompt in enumerate(prompts)
    ]
    assert [client.wait().ids for client in clients] == expected
    assert 0 < engine.counters.accepted_tokens < engine.counters.proposed_tokens


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "seed"), [("llama", 20), ("llama", 21), ("gemma3", 22), ("adapted", 23)])
def test_random_requests_are_told_the_same_with_and_without(base_of, row, architecture, seed, eager):
    base, answers = base_of(architecture, torch.float64), []
    # Of few at once nobody reads a prompt most of the time.
    for limits in (SMALL, replace(AHEAD, running=3)):
        engine, clients = Engine(base, limits), []
        for each in plan(engine, row, np.random.default_rng(seed)):
            clients.append(Client())
            engine.submit(each.request, clients[-1])
        engine.start()
        answers.append([client.wait() for client in clients])
        counters = engine.counters
        engine.close()
    assert 0 < counters.accepted_tokens < counters.proposed_tokens
    without, speculated = answers
    assert [told(client) for client in speculated] == [told(client) for client in without]
    for theirs, own in zip(speculated, without, strict=True):
        assert figures(theirs) == pytest.approx(figures(own), abs=1e-6)


def test_what_is_proposed_and_not_drawn_is_never_looked_at(engine_of, ask, row, eager):
    """Keys and values beyond what was drawn are no numbers after every pass, and nobody notices."""
    expected = None
    for poisoned in (False, True):
        engine = engine_of(limits=AHEAD, start=False)
        clients = [
            ask(engine, REPEATED, f"{n}", release=f"{n}", values=row(engine.layout.size, n), max_tokens=40)
            for n in range(3)
        ]
        while engine._scheduler.busy:
            engine._prepare()
            engine.step()
            for each in engine._scheduler.running.values() if poisoned else ():
                spoil(engine, each.places[each.read :])
        found = [(client.ids, client.finished.reason) for client in clients]
        assert engine.counters.accepted_tokens < engine.counters.proposed_tokens
        engine.close()
        expected = expected or found
        assert found == expected


def test_after_an_erasure_nothing_of_what_was_proposed_is_left(engine_of, ask, row, eager):
    engine = engine_of(limits=AHEAD, start=False)
    client = ask(engine, REPEATED, "gone", release="r", values=row(engine.layout.size, 1), max_tokens=40)
    passes(engine, lambda: engine.counters.proposed_tokens)
    engine.forget("gone")
    assert client.finished.reason == "erased"
    assert not any(each.any() for layer in engine._runner.cache._layers.values() for each in layer)


def test_an_erasure_leaves_nothing_of_others_where_somebody_is_read_ahead(engine_of, ask, row, eager):
    engine = engine_of(limits=AHEAD, start=False)
    values = row(engine.layout.size, 1)
    kept = ask(engine, REPEATED, "kept", release="k", values=values, max_tokens=40)
    passes(engine, lambda: engine.counters.proposed_tokens)
    engine.forget("gone")
    passes(engine, lambda: kept.finished)
    assert kept.ids == alone(engine.base, REPEATED, values, 40)


def test_a_conversation_goes_on_from_what_was_drawn_alone(engine_of, ask, row, eager):
    """What is kept of a request that has ended has nothing in it that was proposed and not drawn."""
    engine = engine_of(limits=AHEAD)
    own = {"release": "r", "values": row(engine.layout.size, 1)}
    first = ask(engine, REPEATED, max_tokens=50, **own).wait()
    longer = [*REPEATED, *first.ids, 9, 8, 7]
    second = ask(engine, longer, max_tokens=12, **own).wait()
    assert second.finished.cached_tokens > len(REPEATED)
    assert second.ids == alone(engine.base, longer, own["values"], 12)


@pytest.mark.parametrize("options", [{"stop": ["\x04"]}, {"stop_ids": frozenset([7])}, {"max_tokens": 3}])
def test_an_answer_ends_where_it_does_without_in_the_middle_of_what_was_accepted(engine_of, ask, options, eager):
    engine = engine_of(limits=AHEAD)
    found = ask(engine, REPEATED, **{"max_tokens": 40, **options}).wait()
    engine.close()
    engine = engine_of(limits=SMALL)
    assert told(found) == told(ask(engine, REPEATED, **{"max_tokens": 40, **options}).wait())


@pytest.mark.slow
def test_a_text_is_read_ahead_no_farther_than_the_original_context(loaded, ask, eager):
    base, found = loaded(phi3, torch.float64), []
    for limits in (SMALL, AHEAD):
        engine = Engine(base, limits)
        engine.start()
        clients = [ask(engine, [5, 6, 7] * 12 + [9] * n, f"{n}", max_tokens=60) for n in range(3)]
        found.append([client.wait().ids for client in clients])
        proposed = engine.counters.proposed_tokens
        engine.close()
    assert found[0] == found[1]
    assert proposed


# When


def repeats(engine, ask, count=1, **options):
    """People who are answered with one token again and again, and after how many passes."""
    again = Sampling(temperature=0, logit_bias=((9, 100.0),))
    clients = [ask(engine, [5, 6 + n], f"{n}", sampling=again, max_tokens=32, **options) for n in range(count)]
    return passes(engine, lambda: all(client.finished for client in clients))


def test_one_who_is_told_what_was_said_before_takes_fewer_passes(engine_of, ask):
    engine = engine_of(limits=AHEAD, start=False)
    assert repeats(engine, ask) < 12
    counters = engine.counters
    assert counters.batches < 12
    assert counters.new_tokens == 32
    assert 20 < counters.accepted_tokens <= counters.proposed_tokens


@pytest.mark.parametrize("limits", [SMALL, replace(AHEAD, deterministic=True)])
def test_nothing_is_read_ahead_where_that_is_not_wanted_or_would_tell_who_is_there(engine_of, ask, limits):
    engine = engine_of(limits=limits, start=False)
    assert repeats(engine, ask) == 32
    assert engine.counters.proposed_tokens == 0


@pytest.mark.parametrize(("dtype", "known"), [(torch.bfloat16, True), (torch.float32, False)])
def test_unless_it_is_said_what_may_come_is_read_ahead_where_that_is_known_to_be_faster(engine_of, ask, dtype, known):
    engine = engine_of(dtype=dtype, limits=replace(SMALL, speculates=None), start=False)
    assert (repeats(engine, ask) < 32) == known


def test_passes_of_many_read_nothing_ahead(engine_of, ask):
    engine = engine_of(limits=AHEAD, start=False)
    assert repeats(engine, ask, 3) == 32
    assert engine.counters.proposed_tokens == 0


def test_nor_do_passes_that_read_prompts(engine_of, ask):
    engine = engine_of(limits=AHEAD, start=False)
    short = ask(engine, REPEATED, sampling=Sampling(temperature=0, logit_bias=((9, 100.0),)), max_tokens=20)
    passes(engine, lambda: short.tokens)
    long = ask(engine, list(range(3, 250)), "bob", max_tokens=1)
    before = engine.counters.proposed_tokens
    passes(engine, lambda: long.finished)
    assert engine.counters.proposed_tokens == before


def test_what_is_proposed_comes_from_the_own_text_alone(engine_of, ask, monkeypatch):
    engine, seen = engine_of(limits=AHEAD, start=False), []
    propose = Proposals.propose
    monkeypatch.setattr(
        Proposals, "propose", lambda self, ids, most: seen.append((self, list(ids))) or propose(self, ids, most)
    )
    clients = [ask(engine, [5, 6, 7, n] * 3, f"{n}", max_tokens=8) for n in (100, 200)]
    passes(engine, lambda: all(client.finished for client in clients))
    texts = [[5, 6, 7, n] * 3 + client.ids for n, client in zip((100, 200), clients, strict=True)]
    own = {}
    for proposals, ids in seen:
        (text,) = [text for text in texts if text[: len(ids)] == ids]
        assert own.setdefault(proposals, text) is text
    assert len(own) == 2
