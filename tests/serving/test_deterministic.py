"""Read apart, a request is answered to the bit as if nobody else were there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.serving.conftest import SMALL

from sharedllm.serving.request import Sampling


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_seed_gives_the_same_answer_and_the_same_figures_alone_and_among_others(
    engine_of, ask, row, architecture, dtype
):
    engine = engine_of(architecture, dtype, replace(SMALL, deterministic=True))
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
