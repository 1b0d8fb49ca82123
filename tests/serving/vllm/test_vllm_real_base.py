"""The shipped base, prior and all, and 32 people in one batch: what our engine and vLLM tell of the same requests."""

import numpy as np
import pytest
import torch
from tests.serving.conftest import Client
from tests.serving.vllm.conftest import GREEDY

from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import load_base
from sharedllm.base.resolve import DEFAULT_BASE
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits, Request

pytestmark = [pytest.mark.rare, pytest.mark.usefixtures("installed")]
PEOPLE, NEW = 32, 16
LIMITS = Limits(running=PEOPLE, cache_tokens=64 * PEOPLE, batch_tokens=128, table_bytes=0)
PROMPTS = (
    "The history of the village begins with",
    "Dear Anna,\n\nthank you for",
    "def main(arguments):\n    ",
    "I never",
)


def answers(engine, base, rows):
    """Everybody's clients, who were answered in one batch and had their prompts scored."""
    clients = [Client() for _ in rows]
    engine.start()
    for person, (client, values) in enumerate(zip(clients, rows, strict=True)):
        prompt = base.encode(PROMPTS[person % len(PROMPTS)])
        own = {"release": f"{person}-1", "values": values} if values is not None else {}
        asked = {"max_tokens": NEW, "sampling": GREEDY, "score_prompt": True, "ignore_end": True, "top_logprobs": 2}
        engine.submit(Request(prompt, f"{person}", **asked, **own), client)
    told = [client.wait() for client in clients]
    engine.close()
    return told


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.25)], ids=str)
def test_32_people_on_the_shipped_base_get_what_our_engine_gives_each(dtype, tolerance, record_property):
    from sharedllm.serving.vllm.vllm_engine import VllmEngine

    base = load_base(DEFAULT_BASE, dtype=dtype, device="cpu")
    chance = np.random.default_rng(0)
    width = layout_of(base).size
    rows = [(0.05 * chance.standard_normal(width)).astype(np.float16).astype(np.float32) for _ in range(PEOPLE - 1)]
    ours = answers(Engine(base, LIMITS), base, [*rows, None])
    theirs = answers(VllmEngine(base, LIMITS), base, [*rows, None])
    apart, given = [], []
    for own, told in zip(ours, theirs, strict=True):
        given += [
            abs(each.logprob - other.logprob)
            for each, other in zip(own.finished.prompt_scores[1:], told.finished.prompt_scores[1:], strict=True)
        ]
        same = next(
            (place for place, pair in enumerate(zip(own.ids, told.ids, strict=True)) if len(set(pair)) > 1), NEW
        )
        apart += [abs(each - other) for each, other in zip(own.logprobs[:same], told.logprobs[:same], strict=True)]
        if same < NEW:
            # Where they part, rounding decides: the two likeliest are as likely as one another.
            (_, first), (_, second) = own.tokens[same].scored.top
            assert first - second < 2 * tolerance
    record_property("tokens the same", f"{len(apart)} of {PEOPLE * NEW}")
    for what, nats in (("of new tokens", apart), ("of prompts", given)):
        record_property(f"nats apart {what}: half, 95 %, most", np.quantile(nats, [0.5, 0.95, 1]).tolist())
    assert np.quantile([*apart, *given], 0.95) < tolerance
    if dtype is torch.float32:
        assert [each.ids for each in ours] == [each.ids for each in theirs]
