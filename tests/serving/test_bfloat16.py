"""Isolation where the base is a real one, in the precision it is served in."""

import numpy as np
import pytest
import torch
from tests.serving.conftest import Client

from sharedllm.base.loading import load_base, preferred_dtype
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits, Request, Sampling

TOLERANCE = 0.25
"""In nats. A likely token's logit lies above 16 in SmolLM2, where neighbours in bfloat16 are 0.125 apart."""
PROMPTS = (
    "The weather in the north of the country",
    "def quicksort(items):",
    "My dear Watson, you see",
    "Prime Minister",
    "We present observations of a distant galaxy whose",
)


@pytest.fixture
def engine():
    """An engine on SmolLM2 whose passes are too short for all of the prompts."""
    if preferred_dtype("cpu") is not torch.bfloat16:
        pytest.skip("this processor does not multiply bfloat16 natively")
    base = load_base(dtype=torch.bfloat16, device="cpu")
    engine = Engine(base, Limits(running=8, cache_tokens=1024, batch_tokens=16, table_bytes=0))
    engine.start()
    yield engine
    engine.close()


def test_log_probabilities_in_company_are_those_of_ones_own_row_alone_within_the_tolerance(engine):
    chance = np.random.default_rng(0)
    rows = 0.2 * chance.standard_normal((len(PROMPTS), engine.layout.size))
    rows = rows.astype(np.float16).astype(np.float32)
    prompts = [engine.base.encode(prompt) for prompt in PROMPTS]

    def ask(ids, user, **options):
        client = Client()
        request = Request(ids, f"{user}", f"{user}", rows[user], sampling=Sampling(temperature=0), **options)
        engine.submit(request, client)
        return client

    def alone(user, prompt, ids):
        """What a user's row makes of these tokens, with nobody else there."""
        scores = ask([*prompt, *ids], user, max_tokens=0, score_prompt=True).wait().finished.prompt_scores
        return np.array([each.logprob for each in scores[len(prompt) :]])

    together = [ask(prompt, user, max_tokens=8, ignore_end=True) for user, prompt in enumerate(prompts)]
    for user, client in enumerate(together):
        found = np.array(client.wait().logprobs)
        assert np.abs(found - alone(user, prompts[user], client.ids)).max() < TOLERANCE
        # Anybody else's row would have been seen.
        other = (user + 1) % len(rows)
        assert np.abs(found - alone(other, prompts[user], client.ids)).max() > 2 * TOLERANCE
