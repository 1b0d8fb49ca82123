"""What one request gets from the engine, whoever else is there."""

import gc
import threading
import time

import numpy as np
import pytest
import torch
from tests.serving.conftest import alone, likely

from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import EngineStopped, InvalidInput, QueueFull
from sharedllm.holder import Removed
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits, Sampling

GREEDY = Sampling(temperature=0)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "gpt2"])
def test_everybody_gets_what_whole_forward_passes_of_their_own_row_give(engine_of, base_of, ask, row, architecture):
    base = base_of(architecture, torch.float64)
    width = layout_of(base, "norm").size
    chance = np.random.default_rng(3)
    prompts = [chance.integers(3, 250, size).tolist() for size in (1, 3, 17, 40, 70, 2)]
    values = [np.zeros(width, np.float32), *(row(width, seed) for seed in range(5))]
    expected = [alone(base, prompt, row, 12) for prompt, row in zip(prompts, values, strict=True)]
    engine = engine_of(architecture)
    clients = [
        ask(engine, prompt, f"user {n}", release=f"release {n}", values=values[n], max_tokens=12)
        for n, prompt in enumerate(prompts)
    ]
    assert [client.wait().ids for client in clients] == expected


# Regressions that others have shipped


def test_a_release_loaded_while_others_run_does_not_answer_for_them(engine_of, ask, row):
    engine = engine_of()
    mine, theirs = row(engine.layout.size, 1), row(engine.layout.size, 2)
    before = ask(engine, release="mine", values=mine, max_tokens=20).wait().ids
    running = ask(engine, release="mine", values=mine, max_tokens=20)
    others = [ask(engine, owner=f"user {n}", release=f"theirs {n}", values=theirs) for n in range(20)]
    assert running.wait().ids == before
    assert len({tuple(other.wait().ids) for other in others}) == 1


def test_a_prompt_that_was_read_under_one_release_is_read_again_under_another(engine_of, ask, row):
    engine = engine_of()
    prompt = list(range(10, 74))
    first = ask(engine, prompt, release="first", values=row(engine.layout.size, 1)).wait()
    read = engine.counters.prompt_tokens
    second = ask(engine, prompt, release="second", values=row(engine.layout.size, 2)).wait()
    assert engine.counters.prompt_tokens == read + len(prompt)
    assert second.ids != first.ids
    assert second.ids == ask(engine, prompt, "somebody", release="second", values=row(engine.layout.size, 2)).wait().ids


def test_a_release_does_something_and_the_base_is_the_base(engine_of, ask, row):
    engine = engine_of()
    own, base = ask(engine, release="own", values=row(engine.layout.size, 1)), ask(engine)
    assert own.wait().ids != base.wait().ids
    assert base.ids == alone(engine.base, (5, 6, 7), np.zeros(engine.layout.size, np.float32), 8)


def test_a_release_without_values_is_refused_and_not_answered_by_the_base(engine_of, ask):
    with pytest.raises(InvalidInput, match="without values"):
        ask(engine_of(), release="unknown")


def test_values_that_are_not_a_stored_releases_are_refused_by_name(engine_of, ask):
    engine = engine_of()
    for values in (np.full(engine.layout.size, 0.1, np.float32), np.zeros(engine.layout.size - 1, np.float32)):
        finished = ask(engine, release="strange", values=values).wait().finished
        assert (finished.reason, "strange" in str(finished.error)) == ("failed", True)
    assert engine.healthy


def test_an_erased_owners_row_is_gone_and_their_requests_end(engine_of, ask, row):
    engine = engine_of()
    values = row(engine.layout.size, 1)
    expected = ask(engine, owner="other", release="o", values=row(engine.layout.size, 2), max_tokens=40).wait().ids
    theirs = [ask(engine, owner="gone", release="r", values=values, max_tokens=400) for _ in range(6)]
    other = ask(engine, owner="other", release="o", values=row(engine.layout.size, 2), max_tokens=40)
    assert engine.forget("gone") == [Removed("running requests", "server", 6)]
    assert {client.wait().finished.reason for client in theirs} == {"erased"}
    rows = engine._runner.table.rows
    assert not any(torch.equal(held, torch.from_numpy(values).half()) for held in rows)
    assert other.wait().ids == expected
    engine.forget("other")
    cached = engine._runner.cache._layers.values()
    assert not any(each.any() for layer in cached for each in layer)


# Answers


def test_an_end_token_ends_the_answer_and_is_counted_but_not_shown(engine_of, ask):
    engine = engine_of()
    drawn = ask(engine, max_tokens=30).wait().ids
    engine._scheduler.ends = (drawn[3],)
    client = ask(engine, max_tokens=30, ignore_end=False).wait()
    end = drawn.index(drawn[3])
    assert (client.finished.reason, client.finished.new_tokens, client.ids) == ("stop", end + 1, drawn[: end + 1])
    assert client.text == engine.base.decode(drawn[:end])


def test_a_stop_token_ends_the_answer_also_where_the_bases_own_end_tokens_do_not(engine_of, ask):
    engine = engine_of()
    drawn = ask(engine, max_tokens=30).wait().ids
    client = ask(engine, max_tokens=30, stop_ids=frozenset([drawn[3]])).wait()
    end = drawn.index(drawn[3])
    assert (client.finished.reason, client.ids) == ("stop", drawn[: end + 1])
    assert client.text == engine.base.decode(drawn[:end])


def test_biases_and_penalties_change_what_is_drawn_and_not_how_likely_it_is_said_to_be(engine_of, ask):
    engine = engine_of()
    plain = ask(engine, max_tokens=12, top_logprobs=3).wait()
    favoured = ask(engine, max_tokens=1, sampling=Sampling(temperature=0, logit_bias=((77, 100.0),))).wait()
    assert favoured.ids == [77]
    assert favoured.logprobs[0] < plain.logprobs[0]
    varied = ask(
        engine,
        max_tokens=12,
        top_logprobs=3,
        sampling=Sampling(temperature=0, repetition_penalty=10, presence_penalty=2),
    ).wait()
    assert len(set(varied.ids)) == 12 > len(set(plain.ids))
    assert varied.tokens[0].scored.top == plain.tokens[0].scored.top


@pytest.mark.parametrize(
    "options", [{"stop_ids": frozenset([9999])}, {"sampling": Sampling(logit_bias=((9999, 1.0),))}]
)
def test_a_token_that_the_base_does_not_have_is_neither_biased_nor_waited_for(engine_of, ask, options):
    with pytest.raises(InvalidInput, match="9999"):
        ask(engine_of(), **options)


def test_a_stop_string_ends_the_answer_before_it(engine_of, ask):
    engine = engine_of()
    whole = ask(engine, max_tokens=40).wait().text
    stop = whole[11:14]
    client = ask(engine, max_tokens=40, stop=["never to be seen", stop]).wait()
    assert client.finished.reason == "stop"
    assert client.text == whole[: whole.index(stop)]


def test_log_probabilities_are_told_to_whoever_asks_and_nobody_elses_tokens_change(engine_of, ask):
    engine = engine_of()
    asked = {"bob": None, "ann": 2, "eve": None, "joe": 0}
    options = {
        owner: {"prompt": (5, 6, 7 + number), "owner": owner, "sampling": Sampling(temperature=number % 2, seed=number)}
        for number, owner in enumerate(asked)
    }
    alone = {owner: ask(engine, **options[owner], top_logprobs=2).wait() for owner in asked}
    together = {owner: ask(engine, **options[owner], top_logprobs=top) for owner, top in asked.items()}
    assert len({tuple(client.ids) for client in alone.values()}) == len(asked)
    for owner, top in asked.items():
        client = together[owner].wait()
        assert client.ids == alone[owner].ids
        assert {len(token.scored.top) for token in client.tokens} == {top or 0}
        if top is None:
            assert set(client.logprobs) == {None}
        else:
            assert client.logprobs == pytest.approx(alone[owner].logprobs)


def test_the_pieces_of_text_make_the_whole_text(engine_of, ask):
    engine = engine_of()
    client = ask(engine, max_tokens=60, stop=[chr(1)]).wait()
    assert client.text == engine.base.decode(client.ids)


@pytest.mark.slow
def test_a_seed_gives_the_same_answer_in_any_company(engine_of, ask, row):
    engine = engine_of()
    drawn = {
        "sampling": Sampling(temperature=1.3, top_p=0.9, seed=7),
        "release": "r",
        "values": row(engine.layout.size, 1),
    }
    first = ask(engine, max_tokens=30, **drawn).wait().ids
    company = [ask(engine, owner=f"{n}", sampling=Sampling(seed=n), max_tokens=25) for n in range(12)]
    again = ask(engine, max_tokens=30, **drawn)
    assert again.wait().ids == first
    assert ask(engine, max_tokens=30, **{**drawn, "sampling": Sampling(temperature=1.3, seed=8)}).wait().ids != first
    choice = Sampling(temperature=1.3, top_p=0.9, seed=7, choice=1)
    assert ask(engine, max_tokens=30, **{**drawn, "sampling": choice}).wait().ids != first
    assert all(client.wait().finished for client in company)


def test_the_log_probabilities_told_are_those_of_whole_forward_passes(engine_of, ask, row):
    engine = engine_of(dtype=torch.float32)
    values = row(engine.layout.size, 1)
    client = ask(engine, release="r", values=values, max_tokens=20, glass_box=True, top_logprobs=3).wait()
    box = client.finished.glass_box
    assert [scored.id for scored in box] == client.ids
    assert sum(scored.logprob for scored in box) == pytest.approx(sum(client.logprobs), abs=1e-5)
    base = ask(engine, [5, 6, 7, *client.ids], max_tokens=0, score_prompt=True).wait().finished.prompt_scores[3:]
    assert [scored.base_logprob for scored in box] == pytest.approx([each.logprob for each in base], abs=1e-5)
    for token in client.tokens:
        assert len(token.scored.top) == 3
        assert token.scored.top[0] == (token.scored.id, token.scored.logprob)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize("length", [1, 2, 48, 90])
def test_what_is_told_of_given_tokens_is_what_whole_forward_passes_say(
    engine_of, base_of, ask, row, architecture, length
):
    base = base_of(architecture, torch.float64)
    own, zeros = row(layout_of(base, "norm").size, 1), np.zeros(layout_of(base, "norm").size, np.float32)
    prompt = np.random.default_rng(length).integers(3, 250, length).tolist()
    options = {"release": "r", "values": own, "score_prompt": True, "glass_box": True, "top_logprobs": 2}
    engine = engine_of(architecture)
    finished = ask(engine, prompt, **options, max_tokens=12).wait().finished
    ids = [*prompt, *(scored.id for scored in finished.glass_box)]
    engine.close()
    expected, unchanged = likely(base, own, ids), likely(base, zeros, ids)
    first, *rest = finished.prompt_scores
    assert (first.id, first.logprob, [scored.id for scored in rest]) == (prompt[0], None, prompt[1:])
    assert [scored.logprob for scored in rest] == pytest.approx(expected[: length - 1])
    assert all(len(scored.top) == 2 and scored.top[0][1] >= scored.logprob for scored in rest)
    assert [scored.logprob for scored in finished.glass_box] == pytest.approx(expected[length - 1 :])
    assert [scored.base_logprob for scored in finished.glass_box] == pytest.approx(unchanged[length - 1 :])


def test_the_glass_box_of_the_base_shows_no_difference(engine_of, ask):
    box = ask(engine_of(), glass_box=True).wait().finished.glass_box
    assert all(scored.logprob == scored.base_logprob for scored in box)


def test_scoring_alone_draws_nothing(engine_of, ask):
    client = ask(engine_of(), max_tokens=0, score_prompt=True).wait()
    assert (client.ids, client.finished.reason, client.finished.new_tokens) == ([], "length", 0)
    first, *rest = client.finished.prompt_scores
    assert (first.id, first.logprob, [scored.id for scored in rest]) == (5, None, [6, 7])


# Limits


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(engine_of, ask):
    engine = engine_of()
    for prompt, new in (([], 1), ([5] * 505, 8), ([5], 512)):
        with pytest.raises(InvalidInput, match="512"):
            ask(engine, prompt, max_tokens=new)


@pytest.mark.slow
def test_more_than_the_cache_holds_is_answered_one_after_the_other(engine_of, ask, row):
    engine = engine_of(limits=Limits(running=8, cache_tokens=128, batch_tokens=16, table_bytes=0))
    values = row(engine.layout.size, 1)
    clients = [ask(engine, [5 + n] * 20, f"{n}", release="r", values=values, max_tokens=60) for n in range(8)]
    found = [client.wait().ids for client in clients]
    assert found == [alone(engine.base, [5 + n] * 20, values, 60) for n in range(8)]


def test_a_full_queue_says_when_to_come_back(engine_of, ask):
    engine = engine_of(limits=Limits(running=1, waiting=3, waiting_per_owner=2, cache_tokens=512), start=False)
    for owner in ("ann", "ann", "bob"):
        ask(engine, owner=owner)
    with pytest.raises(QueueFull, match="3 requests") as full:
        ask(engine, owner="eve")
    assert full.value.retry_after > 0


def test_one_owners_flood_does_not_fill_everybodys_queue(engine_of, ask):
    engine = engine_of(limits=Limits(running=1, waiting=9, waiting_per_owner=2, cache_tokens=512), start=False)
    ask(engine), ask(engine)
    with pytest.raises(QueueFull, match="your requests"):
        ask(engine)
    ask(engine, owner="bob")


@pytest.mark.slow
def test_one_owners_flood_does_not_keep_others_waiting(engine_of, ask):
    engine = engine_of(start=False)
    flood = [ask(engine, max_tokens=60) for _ in range(30)]
    late = ask(engine, owner="bob", max_tokens=4)
    engine.start()
    late.wait()
    assert sum(client.finished is not None for client in flood) == 0
    assert all(client.wait().finished.reason == "length" for client in flood)


@pytest.mark.slow
def test_one_owners_long_requests_do_not_fill_the_cache(engine_of, ask):
    engine = engine_of(limits=Limits(running=16, cache_tokens=512, batch_tokens=64))
    flood = [ask(engine, [5 + n] * 100, max_tokens=200) for n in range(6)]
    while len(flood[0].tokens) < 20:
        time.sleep(0.001)
    late = ask(engine, [7] * 60, owner="bob", max_tokens=4).wait()
    assert late.finished.reason == "length"
    assert sum(client.finished is not None for client in flood) == 0
    assert all(client.wait().finished.reason == "length" for client in flood)


def test_a_request_for_more_than_half_of_the_cache_is_answered_all_the_same(engine_of, ask):
    engine = engine_of(limits=Limits(running=4, cache_tokens=128, batch_tokens=64))
    clients = [ask(engine, [5 + n] * 80, max_tokens=20) for n in range(3)]
    assert {client.wait().finished.reason for client in clients} == {"length"}


def test_a_request_that_is_cancelled_ends_waiting_or_running(engine_of, ask):
    engine = engine_of(limits=Limits(running=2, cache_tokens=512))
    clients = [ask(engine, max_tokens=400) for _ in range(3)]
    for client in clients:
        engine.cancel(client.number)
    assert {client.wait().finished.reason for client in clients} == {"cancelled"}
    engine.cancel(clients[0].number)
    assert ask(engine).wait().finished.reason == "length"


@pytest.mark.slow
def test_a_deadline_ends_a_request_that_waits_or_runs(engine_of, ask):
    engine = engine_of(limits=Limits(running=2, cache_tokens=1024))
    blocking = ask(engine, max_tokens=400)
    late = [ask(engine, max_tokens=400, seconds=0.05) for _ in range(2)]
    assert {client.wait().finished.reason for client in late} == {"deadline"}
    assert blocking.wait().finished.reason == "length"


def test_rows_that_nobody_uses_make_room_and_come_back(engine_of, ask, row):
    engine = engine_of(limits=Limits(running=2, cache_tokens=512, table_bytes=0))
    rows = {n: row(engine.layout.size, n) for n in range(6)}
    first = {n: ask(engine, release=f"{n}", values=rows[n]).wait().ids for n in rows}
    again = {n: ask(engine, release=f"{n}", values=rows[n]).wait().ids for n in rows}
    assert first == again
    assert engine.counters.table_misses == 12


# The end of the engine


def test_draining_finishes_what_runs_and_takes_nothing_new(engine_of, ask):
    engine = engine_of()
    clients = [ask(engine, max_tokens=20) for _ in range(10)]
    engine.drain(30)
    assert {client.finished.reason for client in clients} == {"length"}
    with pytest.raises(EngineStopped):
        ask(engine)


def test_draining_waits_for_a_request_that_is_just_being_let_in(engine_of, ask, row, monkeypatch):
    engine = engine_of(start=False)
    waits, draining = threading.Event(), threading.Thread(target=engine.drain, args=(60,))
    wait, acquire = engine._changed.wait, engine._runner.table.acquire

    def noted(seconds=None):
        if threading.current_thread() is draining:
            waits.set()
        return wait(seconds)

    def acquired(*given):
        draining.start()
        waits.wait(5)
        return acquire(*given)

    monkeypatch.setattr(engine._changed, "wait", noted)
    monkeypatch.setattr(engine._runner.table, "acquire", acquired)
    client = ask(engine, release="r", values=row(engine.layout.size, 1))
    engine.start()
    assert client.wait().finished.reason == "length"
    draining.join(60)


def test_what_draining_has_no_time_for_ends_with_shutdown(engine_of, ask):
    engine = engine_of()
    clients = [ask(engine, max_tokens=400) for _ in range(10)]
    engine.drain(0)
    assert {client.wait().finished.reason for client in clients} == {"shutdown"}


@pytest.mark.slow
def test_nothing_is_kept_of_a_request_that_has_ended(engine_of, ask):
    engine = engine_of()
    prompt = np.random.default_rng(5).integers(3, 250, 60).tolist()
    ids = ask(engine, prompt, max_tokens=30).wait().ids
    cancelled = ask(engine, prompt, max_tokens=400)
    engine.cancel(cancelled.number)
    cancelled.wait()
    ask(engine).wait()
    gc.collect()
    held = [each for each in gc.get_objects() if type(each) is list and each is not prompt and each is not ids]
    assert not [each for each in held if each[:60] == prompt or each[:30] == ids]


def test_a_thread_that_fails_tells_everybody_and_takes_nothing_new(engine_of, ask, monkeypatch):
    engine = engine_of(start=False)
    clients = [ask(engine, owner=f"{n}") for n in range(12)]
    monkeypatch.setattr(engine, "step", lambda: 1 / 0)
    engine.start()
    assert {client.wait().finished.reason for client in clients} == {"failed"}
    assert isinstance(clients[0].finished.error, ZeroDivisionError)
    engine._thread.join(10)
    assert not engine.healthy
    with pytest.raises(EngineStopped):
        ask(engine)
    assert engine.forget("anybody") == [Removed("running requests", "server", 0)]


def test_requests_from_many_threads_all_end(engine_of, ask):
    engine = engine_of()
    found = []

    def client(n):
        found.append(ask(engine, [5 + n], owner=f"{n}").wait().finished.reason)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["length"] * 24
    assert engine.counters.finished == {"length": 24}
    until = time.monotonic() + 10
    while engine.counters.running and time.monotonic() < until:
        time.sleep(0.01)
    assert (engine.counters.running, engine.counters.waiting) == (0, 0)


def test_what_ends_while_an_engine_is_made_ends_whoever_makes_it(base_of, monkeypatch):
    def leave(*_):
        raise SystemExit("a library has had enough")

    monkeypatch.setattr(Engine, "_make", leave)
    with pytest.raises(SystemExit, match="had enough"):
        Engine(base_of("llama"))
