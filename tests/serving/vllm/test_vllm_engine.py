"""Everybody in vLLM's batch is told what this package's own engine tells them, and nobody is told anybody else's."""

from dataclasses import replace

import numpy as np
import pytest
from tests.serving.conftest import Client
from tests.serving.vllm.conftest import LIMITS

from sharedllm.errors import InvalidInput, RequestFailed, UnsupportedBase
from sharedllm.holder import Removed
from sharedllm.serving.request import Limits, Sampling

TOLERANCE = 2e-3
"""In nats, of a base in float32 whose sums are made in another order."""


def same(client, expected):
    """Whether an answer is what was expected: every token, and how likely it is said to be."""
    return client.ids == expected.ids[: len(client.ids)] and np.allclose(
        client.logprobs, expected.logprobs[: len(client.ids)], atol=TOLERANCE
    )


def pages_with_something(engine):
    worker = engine._runner._llm.model_executor.driver_worker.worker
    return sum(int(cache.abs().sum() > 0) for cache in worker.model_runner.kv_caches)


def rows_with_something(engine):
    worker = engine._runner._llm.model_executor.driver_worker.worker
    return {
        slot
        for norm in worker.model_runner.lora_manager._norms
        for slot in norm.site_rows.any(1).nonzero()[:, 0].tolist()
    }


def test_32_people_in_one_batch_get_what_our_engine_gives_each(vllm_engine, submit, rows, expected):
    clients = {user: submit(vllm_engine, user, score_prompt=True) for user in [*list(rows)[:32], "nobody"]}
    for user, client in clients.items():
        assert client.wait().finished.reason == "length"
        assert same(client, expected[user]), user
        given = [each.logprob for each in client.finished.prompt_scores[1:]]
        theirs = [each.logprob for each in expected[user].finished.prompt_scores[1:]]
        assert np.allclose(given, theirs, atol=TOLERANCE)
    assert len({tuple(client.ids) for client in clients.values()}) > 16


def test_text_stop_strings_and_end_tokens_are_as_our_engine_has_them(vllm_engine, submit, expected):
    told = submit(vllm_engine, "user3").wait()
    assert told.text == expected["user3"].text
    third = told.ids[2]
    stopped = submit(vllm_engine, "user3", stop_ids=frozenset([third])).wait()
    assert stopped.finished.reason == "stop"
    assert stopped.ids == told.ids[: told.ids.index(third) + 1]


def test_nobody_is_mixed_up_while_people_come_and_go(vllm_engine, submit, rows, expected):
    chance = np.random.default_rng(2)
    under_way, done = [], 0
    for turn in range(200):
        user = f"user{chance.integers(len(rows))}" if chance.random() < 0.9 else "nobody"
        under_way.append((user, submit(vllm_engine, user, max_tokens=int(chance.integers(1, 9)))))
        if chance.random() < 0.2:
            vllm_engine.cancel(under_way[chance.integers(len(under_way))][1].number)
        if turn % 25 == 24:
            # Whoever runs is read again from the beginning, as when vLLM has no room.
            vllm_engine._order(vllm_engine._runner.wipe, wait=True)
        if len(under_way) > 50:
            user, client = under_way.pop(0)
            done += len(client.wait().ids)
            assert same(client, expected[user]), user
    for user, client in under_way:
        assert client.wait().finished.reason in ("length", "cancelled")
        assert same(client, expected[user]), user
    assert done
    assert vllm_engine.counters.table_misses > len(rows)


def test_what_was_read_for_one_person_is_found_again_for_them_alone(vllm_engine, submit, asking, expected):
    vllm_engine._order(vllm_engine._runner.wipe, wait=True)
    prompt = asking("user1").prompt
    first = submit(vllm_engine, "user1").wait()
    other = submit(vllm_engine, "user2", prompt=prompt).wait()
    again = submit(vllm_engine, "user1").wait()
    assert first.finished.cached_tokens == other.finished.cached_tokens == 0
    assert again.finished.cached_tokens >= 64
    assert same(again, expected["user1"])
    assert other.ids != first.ids


def test_what_the_base_read_for_one_person_is_not_found_again_for_another(vllm_engine, submit, asking):
    prompt = asking("user1").prompt
    for user in ("user1", "user2"):
        told = submit(vllm_engine, user, prompt=prompt, release=None, values=None).wait()
        assert told.finished.cached_tokens == 0
    # Nor by way of the comparison with the base, which reads prompt and answer of others.
    told = submit(vllm_engine, "user3", prompt=prompt, glass_box=True).wait()
    told = submit(vllm_engine, "user4", prompt=[*prompt, *told.ids], release=None, values=None).wait()
    assert told.finished.cached_tokens == 0


def test_a_text_that_fills_the_context_is_scored_and_compared(vllm_engine, submit):
    whole = [3 + place % 50 for place in range(vllm_engine.context)]
    scored = submit(vllm_engine, "user4", prompt=whole, max_tokens=0, score_prompt=True).wait()
    assert scored.finished.reason == "length"
    assert len(scored.finished.prompt_scores) == len(whole)
    compared = submit(vllm_engine, "user4", prompt=whole[2:], max_tokens=2, glass_box=True).wait()
    assert len(compared.finished.glass_box) == 2


def test_keys_and_values_would_be_mixed_up_if_vllm_did_not_ask_whose_they_are(vllm_engine, submit, asking, monkeypatch):
    from vllm.v1.core import kv_cache_utils

    prompt = asking("user1").prompt
    alone = submit(vllm_engine, "user2", prompt=prompt).wait()
    vllm_engine._order(vllm_engine._runner.wipe, wait=True)
    # Neither the release nor the person.
    monkeypatch.setattr(kv_cache_utils, "generate_block_hash_extra_keys", lambda *given: (None, given[-1]))
    submit(vllm_engine, "user1").wait()
    mixed = submit(vllm_engine, "user2", prompt=prompt).wait()
    monkeypatch.undo()
    vllm_engine._order(vllm_engine._runner.wipe, wait=True)
    assert mixed.finished.cached_tokens >= 64
    assert not np.allclose(mixed.logprobs, alone.logprobs, atol=TOLERANCE)


def test_nothing_of_an_erased_person_is_left_and_others_go_on(vllm_engine, submit, rows, expected):
    long = submit(vllm_engine, "user5", max_tokens=200)
    others = [submit(vllm_engine, f"user{number}") for number in range(6, 12)]
    assert vllm_engine.forget("user5") == [Removed("running requests", "server", 1)]
    assert long.wait().finished.reason == "erased"
    assert all(owner != "user5" for pairs in vllm_engine.releases() for owner, _ in pairs)
    for number, client in enumerate(others, start=6):
        assert same(client.wait(), expected[f"user{number}"])
    slots = set(vllm_engine._scheduler._table._slots.values())
    assert rows_with_something(vllm_engine) <= slots
    for number in range(len(rows)):
        vllm_engine.forget(f"user{number}")
    assert pages_with_something(vllm_engine) == 0
    assert rows_with_something(vllm_engine) == set()


def test_the_glass_box_compares_with_the_base(vllm_engine, submit):
    client = submit(vllm_engine, "user4", glass_box=True).wait()
    told = client.finished.glass_box
    assert [each.id for each in told] == client.ids
    assert np.allclose([each.logprob for each in told], client.logprobs, atol=TOLERANCE)
    assert not np.allclose([each.base_logprob for each in told], client.logprobs, atol=TOLERANCE)


def test_a_seed_gives_the_same_answer_again(vllm_engine, submit):
    drawn = [
        submit(vllm_engine, "user4", sampling=Sampling(seed=seed, temperature=2.0)).wait().ids for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_vllm_cannot_do_is_refused_before_anything_is_done(vllm_engine, asking, wide):
    from sharedllm.serving.vllm.vllm_engine import VllmEngine

    with pytest.raises(InvalidInput, match="schema or a grammar"):
        vllm_engine.submit(asking("user1", grammar=object()), Client())
    with pytest.raises(InvalidInput, match="does not fit"):
        vllm_engine.submit(asking("user1", max_tokens=10_000), Client())
    with pytest.raises(InvalidInput, match="reads requests together"):
        VllmEngine(wide, Limits(deterministic=True))
    with pytest.raises(InvalidInput, match="loads the base's weights itself"):
        VllmEngine(replace(wide, weights="int8"))


def test_a_pass_is_refused_whose_slot_holds_somebody_elses_row(vllm_engine, rows):
    from vllm.lora.request import LoRARequest

    worker = vllm_engine._runner._llm.model_executor.driver_worker.worker
    held = worker.model_runner.lora_manager
    held.write(1, "ann-1", np.zeros(len(rows["user1"]), "<f2").tobytes())
    try:
        assert held.add_adapter(LoRARequest("ann-1", 1, "nowhere"))
        with pytest.raises(RequestFailed, match="does not hold 'ben-1'"):
            held.set_active_adapters({LoRARequest("ben-1", 1, "nowhere")}, None)
    finally:
        held.clear(1)


def test_the_base_is_vllms_own_to_the_last_bit(installed, wide, vllm_engine, submit, asking, tmp_path):
    from vllm import SamplingParams
    from vllm.inputs import tokens_input

    from sharedllm.serving.vllm import passes

    told = submit(vllm_engine, "nobody", top_logprobs=4).wait()
    asked = passes.arguments(wide, LIMITS, context=512)
    plain = passes.started({"model": str(passes.without_frames(wide.folder, tmp_path)), **asked})
    parameters = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, detokenize=False, logprobs=4)
    plain.add_request("1", tokens_input(list(asking("nobody").prompt)), parameters)
    outputs = []
    while plain.has_unfinished_requests():
        outputs = plain.step() or outputs
    plain.engine_core.shutdown()
    (answer,) = outputs[0].outputs
    assert list(answer.token_ids) == told.ids
    assert [each[id].logprob for id, each in zip(answer.token_ids, answer.logprobs, strict=True)] == told.logprobs


# The last, since the end of an engine is the end of all of vLLM's in a process.
def test_a_model_that_gathers_other_rows_is_not_served(installed, wide, monkeypatch):
    from sharedllm.serving.vllm import rows
    from sharedllm.serving.vllm.vllm_engine import VllmEngine

    forward = rows.ScaledNorm.forward

    def neighbours(self, *args, **kwargs):
        self.token_slots.copy_(self.token_slots.roll(1))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(rows.ScaledNorm, "forward", neighbours)
    with pytest.raises(UnsupportedBase, match="cannot be served"):
        VllmEngine(wide, Limits(running=4, cache_tokens=1024, batch_tokens=48, table_bytes=0))
