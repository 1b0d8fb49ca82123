"""Read apart, a request is answered to the bit as if nobody else were there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.serving.conftest import SMALL

from sharedllm.base.int8_weights import multiplies_int8
from sharedllm.base.tokens import Tokens
from sharedllm.serving.request import Sampling

INT8 = pytest.param(
    "llama",
    torch.bfloat16,
    "int8",
    marks=pytest.mark.skipif(not multiplies_int8("cpu"), reason="this processor does not multiply in int8"),
)
BASES = [
    *((each, dtype, "plain") for each in ("llama", "gemma3", "gpt2") for dtype in (torch.float32, torch.bfloat16)),
    INT8,
]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "dtype", "weights"), BASES)
def test_a_seed_gives_the_same_answer_and_the_same_figures_alone_and_among_others(
    engine_of, ask, row, architecture, dtype, weights
):
    engine = engine_of(architecture, dtype, replace(SMALL, deterministic=True), weights=weights)
    chance = np.random.default_rng(1)
    prompts = [chance.integers(3, 250, size).tolist() for size in (3, 60, 17, 130, 40, 5)]
    rows = [row(engine.layout.size, seed) for seed in range(6)]

    def submit(n):
        return ask(
            engine,
            prompts[n],
            f"user {n}",
            release=f"release {n}",
            values=rows[n],
            max_tokens=12,
            top_logprobs=3,
            score_prompt=n % 2 == 0,
            glass_box=n == 5,
            sampling=Sampling(temperature=n % 3, top_p=[1.0, 0.9][n % 2], seed=n),
        )

    def told(client):
        end = client.wait().finished
        return [token.scored for token in client.tokens], end.prompt_scores, end.glass_box

    together = [told(client) for client in [submit(n) for n in range(6)]]
    assert [told(submit(n)) for n in range(6)] == together
    assert [told(client) for client in [submit(n) for n in (5, 3, 1)]] == [together[n] for n in (5, 3, 1)]


def test_nothing_changes_beside_a_request_that_no_pass_can_be_computed_with(engine_of, ask, row, monkeypatch):
    monkeypatch.setattr(Tokens, "check", lambda self, ids: None)
    engine = engine_of(dtype=torch.float32, limits=replace(SMALL, deterministic=True), start=False)
    chance = np.random.default_rng(1)
    people = [(f"user {n}", chance.integers(3, 250, size).tolist()) for n, size in enumerate((3, 17, 5, 9))]
    rows = [row(engine.layout.size, seed) for seed in range(4)]

    def submit():
        return [
            ask(engine, prompt, owner, release=owner, values=rows[n], max_tokens=6)
            for n, (owner, prompt) in enumerate(people)
        ]

    beside = submit()
    bad = ask(engine, [9999], "eve")
    engine.start()
    assert bad.wait().finished.reason == "failed"
    told = [client.wait().logprobs for client in beside]
    assert told == [client.wait().logprobs for client in submit()]
