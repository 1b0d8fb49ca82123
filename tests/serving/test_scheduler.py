"""Who has a turn in which pass, and what is left after it: an engine that is driven pass by pass."""

import gc
from dataclasses import replace

import numpy as np
import pytest
from tests.serving.conftest import alone, likely, passes

from sharedllm.serving.request import Limits, Request, Scored
from sharedllm.serving.sequence import Sequence
from sharedllm.serving.table import BASE_SLOT


def test_logits_are_computed_for_what_is_scored_or_drawn_from_alone(base_of):
    prompt = list(range(5, 13))

    def of(**asked):
        return Sequence(base_of(), 1, Request(prompt, "ann", **asked), print)

    answered, both = of(max_tokens=4), of(max_tokens=4, score_prompt=True)
    scored = of(max_tokens=0, score_prompt=True)
    scored.scored = range(2, 7)

    def places(length):
        found = []
        for each in (answered, scored, both):
            chunk = each.chunk(length)
            each.take(chunk.end, (), Scored(9, None) if chunk.draws else None)
            found.append(list(chunk.wanted))
        return found

    assert places(4) == [[], [2, 3], [0, 1, 2, 3]]
    assert places(4) == [[7], [4, 5, 6], [4, 5, 6, 7]]
    # The next tokens that are drawn.
    assert places(1) == [[8], [], [8]]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_after_an_erasure_nothing_waits_for_the_next_request_to_be_overwritten(engine_of, ask, row, architecture):
    engine = engine_of(architecture, start=False)
    prompt = np.random.default_rng(5).integers(3, 250, 40).tolist()
    other = ask(engine, [9] * 5, "other", release="o", values=row(engine.layout.size, 2), max_tokens=40)
    gone = ask(engine, prompt, "gone", release="r", values=row(engine.layout.size, 1), max_tokens=60)
    passes(engine, lambda: len(gone.tokens) == 40)
    gathered = engine._runner._gathered[1].pieces
    assert all(piece.any() for piece in gathered)
    engine.forget("gone")
    assert not any(piece.any() for piece in gathered)
    gc.collect()
    held = [each for each in gc.get_objects() if type(each) is list and each is not prompt]
    assert not [each for each in held if each[:40] == prompt or each[:30] == gone.ids[:30]]
    passes(engine, lambda: other.finished)
    assert other.ids == alone(engine.base, [9] * 5, row(engine.layout.size, 2), 40)


def test_who_waits_runs_and_has_a_row_is_told_with_their_releases(engine_of, ask, row):
    engine = engine_of(limits=Limits(running=1, cache_tokens=512, table_bytes=0), start=False)
    values = row(engine.layout.size, 1)
    assert engine.releases() == (set(), set())
    first = ask(engine, owner="ann", release="a", values=values)
    ask(engine, owner="bob", release="b", values=values)
    ask(engine, owner="eve")
    assert engine.releases() == ({("ann", "a"), ("bob", "b")}, set())
    passes(engine, lambda: first.tokens)
    assert engine.releases() == ({("ann", "a"), ("bob", "b")}, {("ann", "a")})
    passes(engine, lambda: not engine._scheduler.busy)
    assert engine.releases() == (set(), {("bob", "b")})


def test_everybody_who_is_cancelled_in_a_full_cache_makes_room_for_the_next(engine_of, ask, row):
    limits = Limits(running=8, cache_tokens=128, batch_tokens=32, table_bytes=0)
    engine = engine_of(limits=limits, start=False)
    values = row(engine.layout.size, 1)
    # More is let in than there is room for.
    engine._scheduler.capacity *= 4
    crowd = [ask(engine, [5 + n] * 20, f"{n}", max_tokens=100) for n in range(4)]
    passes(engine, lambda: engine.counters.batches == 3)
    assert sum(bool(client.tokens) for client in crowd) == 1
    for client in crowd:
        engine.cancel(client.number)
    assert {client.finished.reason for client in crowd} == {"cancelled"}
    late = ask(engine, release="r", values=values)
    passes(engine, lambda: late.finished, most=20)
    assert late.ids == alone(engine.base, (5, 6, 7), values, 8)


def test_one_owners_long_prompts_do_not_keep_anothers_short_one_waiting(engine_of, ask):
    engine = engine_of(start=False)
    flood = [ask(engine, [5 + n] * 200, max_tokens=2) for n in range(4)]
    passes(engine, lambda: engine.counters.batches)
    late = ask(engine, owner="bob", max_tokens=2)
    assert passes(engine, lambda: late.tokens) == 1
    passes(engine, lambda: all(client.finished for client in flood))


ROOMY = Limits(running=8, cache_tokens=4096, batch_tokens=512, table_bytes=0)
"""Passes that are longer than what is read beside those who draw."""


def anything(length, seed=5):
    """A prompt of which nothing was read before."""
    return np.random.default_rng(seed).integers(3, 250, length).tolist()


def reads(engine, client):
    """How many tokens each pass reads of a prompt, until it is answered."""
    read, begun = [], engine._scheduler.next

    def followed():
        plan = begun()
        read.append(sum(each.end - each.begin for each in plan.chunks if each.sequence.number == client.number))
        return plan

    engine._scheduler.next = followed
    passes(engine, lambda: client.tokens)
    engine._scheduler.next = begun
    return read


@pytest.mark.parametrize(("drawing", "read"), [(0, [400]), (1, [256, 144]), (3, [128, 128, 128, 16])])
def test_a_long_prompt_leaves_time_to_those_who_draw_by_heads(engine_of, ask, drawing, read):
    engine = engine_of(limits=ROOMY, start=False)
    others = [ask(engine, owner=f"{n}", max_tokens=90) for n in range(drawing)]
    passes(engine, lambda: all(client.tokens for client in others))
    told = sum(len(client.tokens) for client in others)
    assert reads(engine, ask(engine, anything(400), "late", max_tokens=1)) == read
    assert sum(len(client.tokens) for client in others) == told + drawing * len(read)


def test_of_prompts_some_is_read_however_many_draw(engine_of, ask):
    engine = engine_of(limits=ROOMY, start=False)
    drawing = [ask(engine, owner=f"{n}", max_tokens=90) for n in range(7)]
    passes(engine, lambda: all(client.tokens for client in drawing))
    assert reads(engine, ask(engine, anything(300), "late", max_tokens=1)) == [128, 128, 44]


def test_where_a_pass_takes_no_longer_the_more_it_reads_nothing_is_put_off(engine_of, ask):
    engine = engine_of(limits=ROOMY, start=False)
    engine._scheduler._shares = False
    drawing = ask(engine, max_tokens=90)
    passes(engine, lambda: drawing.tokens)
    assert reads(engine, ask(engine, anything(400), "late", max_tokens=1)) == [400]


def test_those_who_draw_have_their_share_of_passes_that_are_not_theirs(engine_of, ask):
    engine = engine_of(limits=ROOMY, start=False)
    engine._scheduler._original = 300
    drawing = [ask(engine, owner=f"{n}", max_tokens=90) for n in range(7)]
    passes(engine, lambda: all(client.tokens for client in drawing))
    # A text of more tokens than the original context is read in passes of its own, between theirs.
    assert reads(engine, ask(engine, anything(400), "late", max_tokens=1)) == [128, 0, 128, 0, 128, 0, 16]


def test_neither_does_a_short_prompt_wait_for_a_long_one_nor_that_for_many_short_ones(engine_of, ask):
    engine = engine_of(limits=replace(ROOMY, batch_tokens=128), start=False)
    first = ask(engine, anything(500), "first", max_tokens=1)
    passes(engine, lambda: engine.counters.batches)
    short = ask(engine, anything(60, 6), "second", max_tokens=1)
    assert passes(engine, lambda: short.tokens) == 1
    for seed in range(7):
        ask(engine, anything(200, 10 + seed), f"{seed}", max_tokens=1)
    # 128 and 68 of 500 are read; then half of every pass is its own, until it is the shortest.
    assert reads(engine, first) == [64, 64, 64, 112]


def test_short_prompts_fill_a_pass_whosever_they_are(engine_of, ask):
    for owners in (1, 8):
        engine = engine_of(limits=Limits(running=16, cache_tokens=1024, batch_tokens=48), start=False)
        clients = [ask(engine, [5 + n] * 6, f"{n % owners}", max_tokens=4) for n in range(8)]
        assert passes(engine, lambda clients=clients: all(client.tokens for client in clients)) == 1
        engine.close()


def test_an_owners_next_prompt_is_let_in_before_the_one_being_read_leaves_a_pass_unfilled(engine_of, ask):
    engine = engine_of(start=False)
    # Ten passes of 48 tokens read them all.
    clients = [ask(engine, [5 + n] * 60, max_tokens=1) for n in range(8)]
    assert passes(engine, lambda: all(client.finished for client in clients)) == 8 * 60 // 48


@pytest.mark.parametrize("asked", [{"max_tokens": 0, "score_prompt": True}, {"max_tokens": 1, "glass_box": True}])
def test_a_long_text_is_scored_in_pieces_while_everybody_else_draws(engine_of, ask, row, asked):
    engine = engine_of(start=False)
    other = ask(engine, owner="bob", max_tokens=60)
    passes(engine, lambda: other.tokens)
    prompt = np.random.default_rng(5).integers(3, 250, 400).tolist()
    scored = ask(engine, prompt, release="r", values=row(engine.layout.size, 1), **asked)
    before = len(other.tokens)
    taken = passes(engine, lambda: scored.finished)
    # Of 48 tokens in a pass one is bob's: 400 to score a prompt, and 400 to answer it and 2 x 401 to compare.
    assert taken == -(-400 // 47) + (-(-2 * 401 // 47) if "glass_box" in asked else 0)
    assert len(other.tokens) == before + taken


def test_a_prompt_that_is_scored_and_answered_is_read_once(engine_of, ask, row):
    engine = engine_of(start=False)
    prompt = np.random.default_rng(5).integers(3, 250, 400).tolist()
    values = row(engine.layout.size, 1)
    client = ask(engine, prompt, release="r", values=values, score_prompt=True, max_tokens=3)
    # The last pass of 48 reads the end of it and draws.
    assert passes(engine, lambda: client.finished) == -(-400 // 48) + 2
    assert client.ids == alone(engine.base, prompt, values, 3)
    first, *scores = [score.logprob for score in client.finished.prompt_scores]
    assert (first, scores) == (None, pytest.approx(likely(engine.base, values, prompt), abs=1e-9))


@pytest.mark.parametrize(
    ("asked", "batches", "drawn", "own"),
    [
        ({"max_tokens": 5, "score_prompt": True}, 3, 0, True),
        ({"max_tokens": 1, "glass_box": True}, 7, 1, False),
        ({"max_tokens": 1, "glass_box": True}, 12, 1, True),
    ],
    ids=["prompt", "answer under the base", "answer under the own row"],
)
def test_a_request_can_be_cancelled_while_it_is_scored(engine_of, ask, row, asked, batches, drawn, own):
    engine = engine_of(start=False)
    # 200 tokens are read in five passes.
    scored = ask(engine, [9] * 200, release="r", values=row(engine.layout.size, 1), **asked)
    passes(engine, lambda: engine.counters.batches == batches)
    (sequence,) = engine._scheduler._reading.values()
    assert (len(sequence.scored) > 0, sequence.slot != BASE_SLOT) == (True, own)
    engine.cancel(scored.number)
    assert (scored.finished.reason, len(scored.tokens)) == ("cancelled", drawn)
    assert (len(engine._scheduler._reading), len(engine._scheduler._pending)) == (0, 0)
    late = ask(engine)
    passes(engine, lambda: late.finished)
    assert late.finished.reason == "length"


def test_what_one_owner_has_scored_does_not_keep_another_waiting(engine_of, ask, row):
    engine = engine_of(limits=Limits(running=32, cache_tokens=4096, batch_tokens=48, table_bytes=0), start=False)
    values = row(engine.layout.size, 1)
    flood = [ask(engine, [5 + n] * 6, release="r", values=values, max_tokens=100, glass_box=True) for n in range(8)]
    # They all end in one pass, and the next is full of what is to be read again.
    passes(engine, lambda: len(flood[0].tokens) == 100)
    late = ask(engine, [7] * 4, "bob", max_tokens=1)
    assert passes(engine, lambda: late.finished) <= 4
    passes(engine, lambda: all(client.finished for client in flood))


@pytest.mark.slow
@pytest.mark.parametrize("asked", [{"max_tokens": 0, "score_prompt": True}, {"max_tokens": 1}])
def test_a_long_text_has_its_turn_among_many_short_ones(engine_of, ask, asked):
    engine = engine_of(limits=Limits(running=16, cache_tokens=512, batch_tokens=48, table_bytes=0), start=False)
    crowd = {}

    def more():
        for owner in [f"user {n}" for n in range(6)]:
            held = crowd.setdefault(owner, [])
            held[:] = [client for client in held if not client.finished]
            held += [ask(engine, [9] * 20, owner, max_tokens=100) for _ in range(2 - len(held))]

    more()
    passes(engine, lambda: engine.counters.batches == 60)
    long = ask(engine, [5] * 400, "ann", **asked)
    # One of six after the other, at a hundred passes each and several at once.
    for _ in range(400):
        if long.finished:
            break
        more()
        passes(engine, lambda before=engine.counters.batches: engine.counters.batches > before)
    assert long.finished and long.finished.reason == "length"
