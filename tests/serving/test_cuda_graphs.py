"""Passes that are recorded and replayed, as on a GPU; here what is recorded is computed again into the same memory."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from tests.serving.conftest import SMALL, alone, likely, passes, rerunning
from transformers import AutoModelForCausalLM

from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import load_base
from sharedllm.serving import runner
from sharedllm.serving.attention import cuda_graphs
from sharedllm.serving.attention.cuda_graphs import Recordings, unseen
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Counters, Request, Sampling
from sharedllm.serving.runner import Runner
from sharedllm.serving.sampler import sample
from sharedllm.serving.scheduler import Scheduler
from sharedllm.serving.sequence import Sequence

CPU = torch.device("cpu")


@pytest.fixture
def recorded(monkeypatch):
    """Engines record, and what they have recorded is listed."""
    made = []
    rerun = rerunning()

    def record(compute):
        made.append(compute)
        return rerun(compute)

    monkeypatch.setattr(runner, "recorder", lambda device: record)
    return made


def doubled(given):
    return {"twice": 2 * given["once"]}


def called(double, value, size=3):
    """What comes of equal numbers, which should be twice as much."""
    return double({"once": torch.full((size,), value)})["twice"].tolist()


def test_what_has_the_same_shapes_is_recorded_once_and_replayed_with_what_is_given(recorded):
    ran = []

    def counted(given):
        ran.append(given)
        return doubled(given)

    double = Recordings(counted, runner.recorder(CPU), CPU)
    for value, size in ((1.0, 3), (2.0, 3), (3.0, 4), (4.0, 3), (5.0, 4), (6.0, 3)):
        assert called(double, value, size) == [2 * value] * size
    assert len(recorded) == 2
    # Each was recorded, then replayed and computed twice; the last two of three numbers were replayed alone.
    assert len(ran) == 2 * (1 + 2 + 2) + 2


def test_all_that_was_computed_is_overwritten():
    seen = []

    def watched(given):
        seen.append(given["once"].tolist())
        return doubled(given)

    double = Recordings(watched, rerunning(), CPU)
    given = torch.ones(3)
    found = [double({"once": given})["twice"], double({"once": torch.ones(4)})["twice"]]
    double.forget({})
    for kept in double._recordings.values():
        assert not kept.inputs["once"].any()
        assert not kept.outputs["twice"].any()
    assert given.all(), "what the caller gave is the caller's"
    assert all(each.all() for each in found), "and so is what was computed beside"
    double.forget({"once": 7})
    assert [kept.inputs["once"].tolist() for kept in double._recordings.values()] == [[7] * 3, [7] * 4]
    assert seen[-2:] == [[7] * 3, [7] * 4], "what lies between in and out is overwritten by computing with nothing"


def breaks(compute):
    raise RuntimeError("operation not permitted when stream is capturing\nand more")


def does_nothing(compute):
    return compute(), lambda: None


def knows_one_answer(compute):
    outputs = compute()
    first = outputs["twice"].clone()
    return outputs, lambda: outputs["twice"].copy_(first)


def is_no_number(compute):
    outputs = compute()
    return outputs, lambda: outputs["twice"].fill_(float("nan"))


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (breaks, "could not be recorded (operation not permitted when stream is capturing)"),
        (does_nothing, "answered otherwise when it was replayed"),
        (knows_one_answer, "answered otherwise when it was replayed"),
        (is_no_number, "answered otherwise when it was replayed"),
    ],
)
def test_what_cannot_be_replayed_is_computed_and_the_log_says_so_once(record, why, caplog):
    double = Recordings(doubled, record, CPU)
    with caplog.at_level(logging.WARNING, "sharedllm.serving"):
        for value in (1.0, 2.0, 3.0, 4.0):
            assert called(double, value) == [2 * value] * 3
    (line,) = caplog.messages
    assert why in line
    assert "and more" not in line
    assert double.given_up


def test_what_was_recorded_before_is_given_up_too():
    how = [rerunning(), breaks]

    def record(compute):
        return how.pop(0)(compute)

    double = Recordings(doubled, record, CPU)
    for size in (3, 4, 3):
        assert called(double, 1.0, size) == [2.0] * size
    assert not (how or double._recordings)


def test_one_users_numbers_that_are_none_end_nothing():
    double = Recordings(doubled, rerunning(), CPU)
    for value in (float("nan"), float("inf"), 1.0):
        found = double({"once": torch.tensor([1.0, value, 3.0])})["twice"]
        assert found[[0, 2]].tolist() == [2.0, 6.0]
    assert not double.given_up


@pytest.mark.parametrize(
    "looks",
    [
        lambda each: each * each.max().item(),
        lambda each: each if each.any() else -each,
        lambda each: each[each > 0],
        lambda each: each.to("meta"),
    ],
)
def test_a_computation_that_looks_at_numbers_is_found_before_it_is_recorded(looks):
    with pytest.raises(RuntimeError, match="looks at what is on the device"):
        unseen(lambda: {"found": looks(torch.ones(3))})


@pytest.mark.slow
def test_as_many_requests_as_there_may_be_take_few_recordings(engine_of, ask, row, recorded):
    engine = engine_of(start=False)
    # When it was made, others were for the check of the base.
    recorded.clear()
    rows = [row(engine.layout.size, seed) for seed in range(8)]
    clients = [
        ask(engine, [5 + n] * (1 + n), f"{n}", release=f"{n}", values=rows[n], max_tokens=10 + 10 * n) for n in range(8)
    ]
    passes(engine, lambda: all(client.finished for client in clients))
    for n, client in enumerate(clients):
        assert client.ids == alone(engine.base, [5 + n] * (1 + n), rows[n], 10 + 10 * n)
    # Filled up to 8 and 4 requests of at most 64 keys, then to 4, 2 and 1 of at most 128.
    assert len(recorded) == 5


@pytest.mark.parametrize("count", [1, 3, 5])
def test_prompts_of_one_token_have_no_keys_from_before(engine_of, ask, row, recorded, count):
    engine = engine_of(start=False)
    rows = [row(engine.layout.size, seed) for seed in range(count)]
    clients = [ask(engine, [5 + n], f"{n}", release=f"{n}", values=rows[n]) for n in range(count)]
    passes(engine, lambda: all(client.finished for client in clients))
    assert [client.ids for client in clients] == [alone(engine.base, [5 + n], rows[n], 8) for n in range(count)]
    assert len(recorded) == 1


@pytest.mark.parametrize("company", [False, True])
def test_the_last_piece_of_a_text_that_is_scored_may_be_one_token(engine_of, ask, row, recorded, company):
    engine = engine_of(start=False)
    values = [row(engine.layout.size, seed) for seed in range(2)]
    other = ask(engine, owner="bob", release="b", values=values[1], max_tokens=40) if company else None
    passes(engine, lambda: other is None or other.tokens)
    prompt = np.random.default_rng(5).integers(3, 250, 48 if company else 49).tolist()
    scored = ask(engine, prompt, release="r", values=values[0], score_prompt=True, max_tokens=0)
    passes(engine, lambda: scored.finished)
    assert recorded
    _, *scores = [score.logprob for score in scored.finished.prompt_scores]
    assert scores == pytest.approx(likely(engine.base, values[0], prompt), abs=1e-9)
    if other is not None:
        passes(engine, lambda: other.finished)
        assert other.ids == alone(engine.base, (5, 6, 7), values[1], 40)


def test_a_pass_is_filled_up_with_requests_of_nobody(engine_of, ask, row, recorded):
    engine = engine_of(start=False)
    values = row(engine.layout.size, 1)
    clients = [ask(engine, [5 + n], f"{n % 2}", release=f"{n % 2}", values=values) for n in range(3)]
    passes(engine, lambda: all(len(client.tokens) > 2 for client in clients))
    assert engine.counters.owners == 2
    decoding = engine._runner._decoding
    (kept,) = decoding._passes._recordings.values()
    assert (kept.inputs["slots"] == 0).tolist() == [False, False, False, True]
    assert (kept.inputs["lines"] == 0).tolist() == [False, False, False, True]
    assert (decoding._places[0] == decoding._cache.nowhere).all()


def test_nothing_of_whoever_is_erased_is_left_in_what_was_recorded(engine_of, ask, row, recorded):
    engine = engine_of(start=False)
    other = ask(engine, [9] * 5, "other", release="o", values=row(engine.layout.size, 2), max_tokens=40)
    passes(engine, lambda: len(other.tokens) == 5)
    gone = ask(engine, [5, 6, 7], "gone", release="r", values=row(engine.layout.size, 1), max_tokens=60)
    passes(engine, lambda: len(gone.tokens) == 20)
    kept = list(engine._runner._decoding._passes._recordings.values())
    assert len(kept) == 2
    assert all(each.inputs["ids"].any() for each in kept)
    engine.forget("gone")
    for each in kept:
        assert not any(each.inputs[name].any() for name in ("ids", "positions", "slots", "lines", "keys"))
        assert not any(output.any() for output in each.outputs.values())
    passes(engine, lambda: other.finished)
    assert other.ids == alone(engine.base, [9] * 5, row(engine.layout.size, 2), 40)


def test_an_engine_whose_passes_cannot_be_replayed_answers_all_the_same(engine_of, ask, row, monkeypatch, caplog):
    def wrongly(compute):
        outputs = dict(compute())
        return outputs, lambda: [each.add_(1) for each in outputs.values()]

    monkeypatch.setattr(runner, "recorder", lambda device: wrongly)
    engine = engine_of(start=False)
    values = row(engine.layout.size, 1)
    client = ask(engine, release="r", values=values, max_tokens=20)
    passes(engine, lambda: client.finished)
    assert client.ids == alone(engine.base, (5, 6, 7), values, 20)
    assert len(caplog.messages) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records on a GPU")
def test_a_gpu_answers_like_a_cpu_and_forgets(folder_of, ask, row, caplog):
    found = []
    for device in ("cpu", "cuda"):
        engine = Engine(load_base(str(folder_of("llama")), dtype=torch.float32, device=device), SMALL)
        rows = [row(engine.layout.size, seed) for seed in range(5)]
        clients = [
            ask(engine, [5 + n] * (1 + 20 * n), f"{n}", release=f"{n}", values=rows[n], max_tokens=40) for n in range(5)
        ]
        passes(engine, lambda clients=clients: len(clients[4].tokens) == 20)
        engine.forget("2")
        passes(engine, lambda clients=clients: all(client.finished for client in clients))
        found.append([client.ids for client in clients if client.finished.reason == "length"])
        if device == "cuda":
            assert engine._runner._decoding._passes._recordings
        engine.close()
    assert found[0] == found[1]
    assert not caplog.messages


@pytest.fixture
def blind_base(base_of, monkeypatch):
    """A base on a device like a GPU: what is there cannot be looked at, or used beside what is on the CPU.

    On torch's own, "meta", there are no numbers at all; those that are asked for are made up.
    """

    def blind_base(architecture):
        base = base_of(architecture)
        layout = layout_of(base, "norm")
        monkeypatch.setattr(runner, "layout_of", lambda *_: layout)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(base.model.config, dtype=torch.bfloat16)
        return dataclasses.replace(base, model=model.eval().requires_grad_(False))

    return blind_base


@pytest.fixture
def look(monkeypatch):
    """Copies from that device: allowed between passes, and not while one is recorded."""
    recording_now = []

    def made_up(real, substitute):
        def copied(tensor, *arguments):
            if tensor.device.type == "cpu":
                return real(tensor, *arguments)
            assert not recording_now, "what is recorded waits for the device"
            return substitute(tensor)

        return copied

    monkeypatch.setattr(
        torch.Tensor, "cpu", made_up(torch.Tensor.cpu, lambda each: torch.zeros(each.shape, dtype=each.dtype))
    )
    monkeypatch.setattr(torch.Tensor, "tolist", made_up(torch.Tensor.tolist, lambda each: [5] * len(each)))
    return recording_now


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_pass_uses_nothing_of_the_cpu_beside_what_is_on_a_device(blind_base, row, look, monkeypatch, architecture):
    made = []

    def record(compute):
        look.append(True)
        made.append(outputs := unseen(compute))
        look.clear()
        return outputs, lambda: None

    monkeypatch.setattr(runner, "recorder", lambda device: record)
    # There is nothing to compare.
    monkeypatch.setattr(cuda_graphs, "_alike", lambda replayed, expected: True)
    base = blind_base(architecture)
    requests = Runner(base, SMALL, format="norm")
    scheduler = Scheduler(requests.table, requests.cache, SMALL, Counters(), ends=(), original=512)
    told = [[] for _ in range(3)]
    for n, events in enumerate(told):
        own = {"release": f"{n}", "values": row(requests.layout.size, n)} if n else {}
        asked = Request(
            np.arange(5, 6 + 20 * n).tolist(),
            f"{n}",
            max_tokens=4,
            top_logprobs=None,
            sampling=Sampling(temperature=0),
            ignore_end=True,
            **own,
        )
        scheduler.submit(Sequence(base, n, asked, events.append))
    while scheduler.busy:
        scheduler.take(sample(requests.run(scheduler.next())))
    assert [len(events) for events in told] == [5, 5, 5]
    assert {each.device.type for outputs in made for each in outputs.values()} <= {"meta"}
    assert len(made) == 2
    requests.close()
