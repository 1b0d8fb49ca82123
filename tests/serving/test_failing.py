"""What one request makes the engine raise is that request's error, and nobody else notices."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tests.serving.conftest import alone, passes

from sharedllm.adapters.layouts import layout_of
from sharedllm.base.tokens import Tokens
from sharedllm.errors import InvalidInput, RequestFailed
from sharedllm.serving.request import Request, Sampling

BOTH = pytest.mark.parametrize("architecture", ["llama", "gemma3"])


@pytest.fixture
def unchecked(monkeypatch):
    """Ids that the base has no embedding for reach the model."""
    monkeypatch.setattr(Tokens, "check", lambda self, ids: None)


@pytest.fixture
def innocents(ask, row, base_of):
    """Several people's requests, under rows of their own; whoever waits for them sees that each got what it gets alone.

    Make it before the engine, as both need the model.
    """

    def innocents(architecture="llama", new=12):
        base = base_of(architecture, torch.float64)
        width = layout_of(base, "norm").size
        chance = np.random.default_rng(1)
        prompts = [chance.integers(3, 250, size).tolist() for size in (3, 20, 60)]
        values = [row(width, seed) for seed in range(3)]
        expected = [alone(base, prompt, own, new) for prompt, own in zip(prompts, values, strict=True)]

        def submit(engine):
            clients = [
                ask(engine, prompt, f"user {n}", release=f"release {n}", values=values[n], max_tokens=new)
                for n, prompt in enumerate(prompts)
            ]

            def check():
                assert [client.wait().ids for client in clients] == expected

            return check

        return submit

    return innocents


@BOTH
@pytest.mark.parametrize("guilty", [[9999], [5, 6, 9999], [*range(5, 100), 9999]])
def test_a_request_that_no_pass_can_be_computed_with_fails_alone(
    engine_of, ask, innocents, unchecked, replayed, architecture, guilty
):
    people = innocents(architecture)
    engine = engine_of(architecture, start=False)
    check = people(engine)
    bad = [ask(engine, guilty, f"eve {n}") for n in range(2)]
    engine.start()
    assert [each.wait().finished.reason for each in bad] == ["failed", "failed"]
    assert isinstance(bad[0].finished.error, IndexError)
    check()
    people(engine)()
    assert engine.healthy


@BOTH
def test_it_fails_alone_also_where_others_are_in_the_middle_of_their_answers(
    engine_of, ask, innocents, unchecked, architecture
):
    people = innocents(architecture)
    engine = engine_of(architecture, start=False)
    check = people(engine)
    passes(engine, lambda: engine.counters.new_tokens > 9)
    bad = ask(engine, [9999, 5], "eve", score_prompt=True)
    passes(engine, lambda: bad.finished)
    engine.start()
    check()


@BOTH
def test_a_pass_that_fails_whoever_is_in_it_ends_the_engine(engine_of, ask, monkeypatch, architecture):
    engine = engine_of(architecture, start=False)
    monkeypatch.setattr(type(engine.base.model), "forward", lambda *_, **__: 1 / 0)
    clients = [ask(engine, owner=f"{n}") for n in range(3)]
    engine.start()
    assert {client.wait().finished.reason for client in clients} == {"failed"}
    engine._thread.join(10)
    assert not engine.healthy


@pytest.mark.parametrize("options", [{}, {"score_prompt": True}, {"glass_box": True}, {"top_logprobs": 3}])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(seed=3), Sampling(top_p=0.5)])
def test_logits_that_are_no_numbers_are_one_error(engine_of, base_of, ask, innocents, monkeypatch, options, sampling):
    people = innocents()
    engine = engine_of(start=False)
    check = people(engine)
    spoilt = ask(engine, owner="eve", sampling=sampling, **options)
    read = engine._runner._logits

    def overflown(plan):
        logits = read(plan)
        eves = [chunk for chunk in plan.chunks if chunk.sequence.request.owner == "eve"]
        # Hers are the last.
        return torch.cat([logits[:-1], logits[-1:] * float("nan")]) if eves else logits

    monkeypatch.setattr(engine._runner, "_logits", overflown)
    engine.start()
    assert spoilt.wait().finished.reason == "failed"
    assert isinstance(spoilt.finished.error, RequestFailed)
    check()


@BOTH
@pytest.mark.parametrize("length", [1, 55, 130])
def test_keys_and_values_that_are_no_numbers_are_nobody_elses(
    engine_of, ask, row, innocents, monkeypatch, architecture, length
):
    people = innocents(architecture)
    engine = engine_of(architecture, start=False)
    acquire = engine._runner.table.acquire

    def spoil(release, owner, values):
        slot = acquire(release, owner, values)
        if owner == "eve":
            engine._runner.table.rows[slot] = float("nan")
        return slot

    monkeypatch.setattr(engine._runner.table, "acquire", spoil)
    eve = ask(engine, list(range(5, 5 + length)), "eve", release="e", values=row(engine.layout.size, 9))
    check = people(engine)
    engine.start()
    assert eve.wait().finished.reason == "failed"
    check()
    people(engine)()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_with_what_is_no_number_is_refused(engine_of, ask, row, innocents, value):
    people = innocents()
    engine = engine_of()
    values = row(engine.layout.size, 1)
    values[3] = value
    client = ask(engine, release="r", values=values).wait()
    assert client.finished.reason == "failed"
    assert "finite float16" in str(client.finished.error)
    people(engine)()


@pytest.mark.parametrize("wrong", ["begin", "tell", "decode", "deliver"])
def test_whatever_else_goes_wrong_for_one_request_is_its_own(engine_of, ask, innocents, monkeypatch, wrong):
    people = innocents()
    engine = engine_of(start=False)

    def fail(*_, **__):
        raise OverflowError("no")

    check = people(engine)
    if wrong == "deliver":
        engine.submit(Request([5, 6], owner="eve", max_tokens=3), fail)
    else:
        client = ask(engine, owner="eve")
        running = next(each for each in engine._scheduler._waiting if each.request.owner == "eve")
        if wrong == "tell":
            monkeypatch.setattr(running, "tell", fail)
        elif wrong == "decode":
            monkeypatch.setattr(running._detokenizer, "end", fail)
        else:
            read = engine._scheduler._read
            monkeypatch.setattr(
                engine._scheduler, "_read", lambda each: fail() if each.request.owner == "eve" else read(each)
            )
    engine.start()
    check()
    if wrong != "deliver":
        assert client.wait().finished.reason == "failed"
        assert isinstance(client.finished.error, OverflowError)
    assert engine.healthy
    people(engine)()


@pytest.mark.parametrize("id", [-1, 259, 10**6])
def test_ids_beyond_the_embeddings_are_refused_before_they_wait(engine_of, ask, id):
    with pytest.raises(InvalidInput, match=f"token {id}"):
        ask(engine_of(), [5, id])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, -float("inf")])
@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p"])
def test_settings_that_are_no_numbers_or_negative_are_refused(name, value):
    with pytest.raises(InvalidInput, match=name):
        Sampling(**{name: value})


def test_whoever_erases_is_told_that_the_device_could_not_be_overwritten(engine_of, ask, monkeypatch):
    engine = engine_of(start=False)
    monkeypatch.setattr(engine._scheduler, "forget", lambda owner: 1 / 0)
    clients = [ask(engine, owner=owner) for owner in ("gone", "ann")]
    with ThreadPoolExecutor(3) as threads:
        engine.start()
        with engine._changed:
            erasures = [threads.submit(engine.forget, owner) for owner in ("gone", "lost", "left")]
        for each in erasures:
            with pytest.raises(ZeroDivisionError):
                each.result(20)
    assert {client.wait().finished.reason for client in clients} <= {"erased", "failed"}
    assert not engine.healthy
