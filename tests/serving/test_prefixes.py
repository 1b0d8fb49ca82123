"""A conversation goes on from what was read of it: its own keys and values, of its own release, and nobody else's."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.serving.conftest import SMALL, alone, passes

from sharedllm.serving.cache import PAGE_TOKENS
from sharedllm.serving.request import Limits, Sampling


def turn(seed, length):
    return np.random.default_rng(seed).integers(3, 250, length).tolist()


@pytest.fixture
def say(ask, row):
    """One turn of somebody's conversation, driven pass by pass; how many passes it took is its `passes`."""

    def say(engine, prompt, owner="ann", release="a1", seed=1, **options):
        width = engine.layout.size
        values = None if release is None else row(width, seed)
        client = ask(engine, prompt, owner, release=release, values=values, **options)
        client.passes = passes(engine, lambda: client.finished)
        return client

    return say


def kept(engine):
    return len(engine._scheduler._prefixes)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "qwen3"])
def test_a_second_turn_reads_its_new_words_alone(engine_of, say, row, architecture):
    engine = engine_of(architecture, start=False)
    first = turn(1, 150)
    answer = say(engine, first, max_tokens=20).ids
    second = [*first, *answer, *turn(2, 10)]
    told = say(engine, second, max_tokens=12)
    # The last token that was drawn was never read, and pages are whole.
    read = (len(first) + len(answer) - 1) // PAGE_TOKENS * PAGE_TOKENS
    assert (told.finished.cached_tokens, told.finished.prompt_tokens) == (read, len(second))
    assert engine.counters.cached_tokens == read
    # One pass for what is new, and one for each token after the first.
    assert told.passes == 12
    assert told.ids == alone(engine.base, second, row(engine.layout.size, 1), 12)


def test_an_answer_is_as_likely_as_without_what_was_kept(engine_of, say):
    prompt = turn(1, 100)
    options = {"sampling": Sampling(temperature=1.2, seed=5), "max_tokens": 20, "glass_box": True}
    engine = engine_of(start=False)
    expected = say(engine, prompt, **options)
    engine.forget("ann")
    say(engine, prompt[:90], max_tokens=4)
    found = say(engine, prompt, **options)
    assert (expected.finished.cached_tokens, found.finished.cached_tokens) == (0, 64)
    assert found.ids == expected.ids
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-9)
    told = [[(each.logprob, each.base_logprob) for each in one.finished.glass_box] for one in (found, expected)]
    np.testing.assert_allclose(*told, atol=1e-9)


def test_nobody_goes_on_from_what_was_read_under_another_row(engine_of, say, row):
    engine = engine_of(start=False)
    prompt = turn(1, 100)
    say(engine, prompt)
    # Of another owner, even of one whose release has the same name or whose names come to the same letters.
    for owner, release, seed in (("bob", "a1", 1), ("an", "na1", 1), ("anna", "1", 1), ("bob", None, 1)):
        found = say(engine, prompt, owner, release, seed)
        assert found.finished.cached_tokens == 0
    # Of another release, which lets go of the one before.
    found = say(engine, prompt, release="a2", seed=2)
    assert found.finished.cached_tokens == 0
    assert found.ids == alone(engine.base, prompt, row(engine.layout.size, 2), 8)
    assert ("ann", "a1") not in engine._scheduler._prefixes.releases
    assert say(engine, prompt).finished.cached_tokens == 0


def test_what_the_base_has_read_is_not_kept(engine_of, say):
    engine = engine_of(start=False)
    say(engine, turn(1, 100), release=None)
    assert kept(engine) == 0


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_an_erasure_zeroes_exactly_its_own_pages(engine_of, say, row, architecture):
    engine = engine_of(architecture, start=False)
    cache, prefixes = engine._runner.cache, engine._scheduler._prefixes
    prompt = turn(1, 100)
    say(engine, prompt, "gone", "g1", 2)
    say(engine, prompt)

    def held(owner):
        pages = [each.page for each in prefixes._kept.values() if each.owner == owner]
        rows = [place for page in pages for place in range(page * PAGE_TOKENS, (page + 1) * PAGE_TOKENS)]
        return rows, [each[rows].clone() for number in cache._layers for each in cache._layers[number]]

    (gone, before), (mine, whole) = held("gone"), held("ann")
    assert gone
    assert all(each.any() for each in before)
    assert engine.releases()[1] == {("gone", "g1"), ("ann", "a1")}
    engine.forget("gone")
    assert ("gone", "g1") not in engine.releases()[1]
    # Not even their name.
    assert set(prefixes._pages) == {"ann"}
    assert not any(each[gone].any() for number in cache._layers for each in cache._layers[number])
    assert held("ann")[0] == mine
    assert all(torch.equal(one, other) for one, other in zip(held("ann")[1], whole, strict=True))
    assert say(engine, prompt).finished.cached_tokens == 96
    assert say(engine, prompt, "gone", "g1", 2).finished.cached_tokens == 0


def test_pages_are_told_of_though_their_row_has_left_the_device(engine_of, say):
    engine = engine_of(limits=replace(SMALL, running=1), start=False)
    say(engine, turn(1, 40), "ann", "a1")
    for number in range(4):
        say(engine, turn(2, 5), f"other {number}", f"o{number}", number)
    assert "a1" not in engine._runner.table
    assert ("ann", "a1") in engine.releases()[1]


def test_what_was_used_longest_ago_makes_room_its_end_first(engine_of, say):
    engine = engine_of(limits=replace(SMALL, cache_tokens=320), start=False)
    for number, owner in enumerate(("ann", "bob")):
        say(engine, turn(number, 97), owner, f"{owner}1", max_tokens=4)
    assert kept(engine) == 6
    # Ten pages in all, of which four are free; five are wanted.
    say(engine, turn(5, 150), "carol", "c1", max_tokens=4)
    assert Counter(each.owner for each in engine._scheduler._prefixes._kept.values()) == {
        "ann": 2,
        "bob": 3,
        "carol": 4,
    }
    assert say(engine, turn(0, 97), "ann", "ann1", max_tokens=4).finished.cached_tokens == 64


def test_nobody_keeps_more_than_half_of_the_room(engine_of, say):
    engine = engine_of(limits=replace(SMALL, cache_tokens=320), start=False)
    say(engine, turn(9, 40), "bob", "b1")
    for number in range(6):
        say(engine, turn(number, 97), max_tokens=4)
    held = [each.owner for each in engine._scheduler._prefixes._kept.values()]
    assert (held.count("ann"), held.count("bob")) == (5, 1)


def test_several_at_once_go_on_apart_and_leave_one_copy(engine_of, ask, say, row):
    engine = engine_of(start=False)
    prompt, values = turn(1, 70), row(engine.layout.size, 1)
    say(engine, prompt)
    clients = [ask(engine, prompt, release="a1", values=values) for _ in range(3)]
    passes(engine, lambda: all(each.finished for each in clients))
    assert sorted(each.finished.cached_tokens for each in clients) == [0, 0, 64]
    assert {tuple(each.ids) for each in clients} == {tuple(alone(engine.base, prompt, values, 8))}
    assert kept(engine) == 2
    cache = engine._runner.cache
    assert len(cache._free) + kept(engine) == cache.tokens // PAGE_TOKENS


def test_a_prompt_that_is_scored_is_read_whole(engine_of, say):
    engine = engine_of(start=False)
    prompt = turn(1, 70)
    say(engine, prompt)
    scored = say(engine, prompt, score_prompt=True).finished
    assert (scored.cached_tokens, len(scored.prompt_scores)) == (0, 70)


def test_a_request_that_was_cancelled_leaves_what_it_has_read_and_one_that_failed_nothing(engine_of, ask, row):
    engine = engine_of(start=False)
    values = row(engine.layout.size, 1)
    client = ask(engine, turn(1, 100), release="a1", values=values)
    engine._prepare()
    engine.step()
    engine.cancel(client.number)
    # A pass of 48 tokens is a page and a half.
    assert kept(engine) == 1
    client = ask(engine, turn(2, 100), release="a1", values=values)
    engine._prepare()
    engine.step()
    engine._scheduler.end(lambda _: True, "failed", error=ValueError("it broke"))
    assert kept(engine) == 1


def test_an_engine_that_answers_the_same_to_the_bit_keeps_nothing(engine_of, say):
    limits = Limits(running=4, cache_tokens=1024, batch_tokens=48, table_bytes=0, deterministic=True)
    engine = engine_of(dtype=torch.float32, limits=limits, start=False)
    prompt = turn(1, 100)
    first, second = say(engine, prompt), say(engine, prompt)
    assert (first.logprobs, kept(engine)) == (second.logprobs, 0)


def test_one_person_with_ever_new_prompts_lets_others_keep_what_is_theirs(engine_of, say):
    engine = engine_of(limits=replace(SMALL, cache_tokens=320), start=False)
    for number, owner in enumerate(("ann", "bob")):
        say(engine, turn(number, 70), owner, f"{owner}1", max_tokens=4)
    for number in range(4):
        say(engine, turn(10 + number, 150), "eve", "e1", 3, max_tokens=4)
    for number, owner in enumerate(("ann", "bob")):
        assert say(engine, turn(number, 70), owner, f"{owner}1", max_tokens=4).finished.cached_tokens == 64
