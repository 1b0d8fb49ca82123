"""Whatever else happens, a request's tokens are those it gets alone: seeded random schedules."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.serving.conftest import Client

from sharedllm.base.int8_weights import multiplies_int8
from sharedllm.serving.engine import Engine
from sharedllm.serving.grammar import Grammars
from sharedllm.serving.request import Limits, Request, Sampling

SCHEDULES = 8
KINDS = ("greedy", "sampled", "nucleus", "stopped", "scored", "few", "penalised", "biased", "held")
SCHEMA = {"type": "array", "items": {"enum": ["a", "bc", 12]}, "maxItems": 3}


@dataclass
class Planned:
    """One request of a schedule, and what is to happen to it."""

    request: Request
    cancelled: bool


def plan(engine, row, chance):
    """Requests of a few owners, some of whom get a new release half-way and one of whom is erased."""
    owners = [f"user {n}" for n in range(5)]
    grammar = Grammars(engine.base).of_schema("anybody", SCHEMA)
    releases = dict.fromkeys(owners, 0)
    planned = []
    for number in range(40):
        owner = str(chance.choice(owners))
        if chance.random() < 0.15:
            releases[owner] += 1
        name = f"{owner}/{releases[owner]}"
        # Conversations go on, and somebody says what another has said.
        prompt = chance.integers(3, 250, int(chance.integers(1, 60))).tolist()
        said = [each.request.prompt for each in planned if each.request.owner == owner or chance.random() < 0.05]
        if said and chance.random() < 0.8:
            prompt = [*said[-1], *prompt][:100]
        seed = int.from_bytes(name.encode()[-4:], "big")
        kind = KINDS[int(chance.integers(len(KINDS)))]
        sampling = {
            "greedy": Sampling(temperature=0),
            "sampled": Sampling(temperature=1.2, seed=number),
            "nucleus": Sampling(temperature=1.2, top_p=0.8, seed=number),
            "few": Sampling(temperature=1.2, top_k=1 + number, seed=number),
            "penalised": Sampling(
                temperature=number % 2, repetition_penalty=1.3, frequency_penalty=0.5, presence_penalty=1, seed=number
            ),
            "biased": Sampling(temperature=number % 2, logit_bias=((number, 4.0), (99, -100.0)), seed=number),
        }.get(kind, Sampling(temperature=0.7, seed=number))
        request = Request(
            prompt=prompt,
            owner=owner,
            release=None if owner == "user 0" else name,
            values=None if owner == "user 0" else row(engine.layout.size, seed),
            max_tokens=int(chance.integers(1, 24)),
            sampling=sampling,
            stop=["a", "e"] if kind == "stopped" else (),
            stop_ids=frozenset(range(100, 110)) if kind == "few" else frozenset(),
            grammar=grammar if kind == "held" else None,
            score_prompt=kind == "scored",
            glass_box=kind == "scored",
            ignore_end=bool(chance.random() < 0.5),
        )
        planned.append(Planned(request, bool(chance.random() < 0.15)))
    return planned


def run(engine, planned, chance, erased):
    """Submit from two threads at random moments, cancel some, erase one owner at the end of the first half."""
    clients = [Client() for _ in planned]
    gaps = chance.exponential(0.002, len(planned))
    pause = threading.Event()

    def submit(numbers):
        for number in numbers:
            pause.wait(gaps[number])
            clients[number].number = engine.submit(planned[number].request, clients[number])
            if planned[number].cancelled:
                engine.cancel(clients[number].number)

    half = len(planned) // 2
    for numbers in (range(half), range(half, len(planned))):
        threads = [threading.Thread(target=submit, args=(list(numbers)[start::2],)) for start in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if numbers.start == 0:
            engine.forget(erased)
    return [client.wait() for client in clients]


COMPANY = [
    ("llama", "norm", 0),
    ("llama", "norm", 1),
    *(pytest.param("llama", "norm", seed, marks=pytest.mark.rare) for seed in range(2, SCHEDULES)),
    ("adapted", "norm+bank", 0),
    ("adapted", "core", 1),
    ("gemma3", "norm", 0),
    ("gemma3", "norm", 1),
]


@pytest.mark.parametrize(("architecture", "format", "seed"), COMPANY)
def test_a_request_in_any_company_gets_what_it_gets_alone(
    base_of, cores, row, architecture, format, seed, replayed, monkeypatch
):
    compare(base_of(architecture, torch.float64), format, row, seed, replayed, monkeypatch)


@pytest.mark.skipif(not multiplies_int8("cpu"), reason="this processor does not multiply in int8")
@pytest.mark.parametrize(("architecture", "format", "seed"), [COMPANY[0], COMPANY[1], *COMPANY[-4:]])
def test_so_does_a_request_to_a_base_whose_weights_are_in_int8(
    base_of, cores, row, architecture, format, seed, monkeypatch
):
    compare(base_of(architecture, torch.float64, weights="int8"), format, row, seed, False, monkeypatch)


@pytest.mark.parametrize(("architecture", "format", "seed"), [*COMPANY[:2], COMPANY[-4], COMPANY[-2]])
def test_so_does_a_request_with_tokens_of_its_own_text_proposed(
    base_of, cores, row, architecture, format, seed, replayed, eager, monkeypatch
):
    counters = compare(base_of(architecture, torch.float64), format, row, 100 + seed, replayed, monkeypatch)
    assert 0 < counters.accepted_tokens < counters.proposed_tokens


@pytest.mark.skipif(not torch.cuda.is_available(), reason="serves from a GPU")
@pytest.mark.parametrize(("architecture", "format", "seed"), COMPANY[-6:])
def test_so_does_a_request_on_a_gpu(base_of, cores, row, architecture, format, seed, monkeypatch):
    compare(base_of(architecture, torch.float64, "cuda"), format, row, seed, True, monkeypatch)


def compare(base, format, row, seed, replayed, monkeypatch):
    """Everybody's tokens in a schedule against what each gets alone, and what was done in it."""
    chance = np.random.default_rng(seed)
    # Few places, a small cache and three rows: requests wait, are read in pieces, and evict one another's rows.
    crowded = Limits(
        running=int(chance.choice([2, 5, 16])),
        cache_tokens=int(chance.choice([128, 256, 2048])),
        batch_tokens=int(chance.choice([8, 32, 256])),
        table_bytes=0,
        speculates=True,
    )
    engine = Engine(base, crowded, format=format)
    if seed % 2:
        # More is let in than the cache has room for, and waits there.
        engine._scheduler.capacity *= 100
    assert (engine._runner._decoding is not None) == replayed
    planned, counters = plan(engine, row, chance), engine.counters
    engine.start()
    found = run(engine, planned, chance, erased="user 3")
    engine.close()

    monkeypatch.undo()
    apart = Limits(running=1, cache_tokens=2048, batch_tokens=2048, table_bytes=0, speculates=False)
    engine = Engine(base, apart, format=format)
    engine.start()
    ended = 0
    for each, client in zip(planned, found, strict=True):
        expected = Client()
        engine.submit(each.request, expected)
        expected.wait()
        if client.finished.reason in ("cancelled", "erased"):
            # What it was told before it ended was right.
            assert client.ids == expected.ids[: len(client.ids)]
            ended += 1
            continue
        assert (client.ids, client.text, client.finished.reason) == (
            expected.ids,
            expected.text,
            expected.finished.reason,
        )
        assert client.logprobs == pytest.approx(expected.logprobs, abs=1e-6)
        for theirs, own in (
            (client.finished.prompt_scores, expected.finished.prompt_scores),
            (client.finished.glass_box, expected.finished.glass_box),
        ):
            assert [one.id for one in theirs] == [one.id for one in own]
            for told in ("logprob", "base_logprob"):
                expected_values = [getattr(one, told) for one in own]
                assert [getattr(one, told) for one in theirs] == pytest.approx(expected_values, abs=1e-6)
    engine.close()
    # A schedule in which everybody was cancelled would have shown nothing.
    assert ended < len(planned) / 2
    return counters
