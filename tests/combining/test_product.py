import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import models

from sharedllm.combining.product import product_of_experts, row_product
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.perplexity import base_token_log_probabilities, token_log_probabilities


def experts(count, tokens, vocabulary=37, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = list(torch.randn(count, tokens, width, generator=generator, dtype=torch.float64))
    heads = list(torch.randn(count, vocabulary, width, generator=generator, dtype=torch.float64))
    return hidden, heads, torch.randint(vocabulary, (tokens,), generator=generator)


def log_probabilities(hidden, heads):
    return torch.stack([torch.log_softmax(h @ head.T, dim=1) for h, head in zip(hidden, heads, strict=True)])


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 4), tokens=st.integers(1, 300), seed=st.integers(0, 99))
def test_it_is_the_mean_of_log_probabilities_made_a_distribution(count, tokens, seed):
    hidden, heads, targets = experts(count, tokens, seed=seed)
    mean = log_probabilities(hidden, heads).mean(dim=0)
    expected = (mean - torch.logsumexp(mean, dim=1, keepdim=True)).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(product_of_experts(hidden, heads, targets), expected, rtol=1e-12, atol=1e-12)


def test_it_is_at_least_the_mean_of_the_experts():
    hidden, heads, targets = experts(3, 200)
    own = log_probabilities(hidden, heads).gather(2, targets.expand(3, -1)[..., None])[..., 0]
    assert (product_of_experts(hidden, heads, targets) >= own.mean(dim=0) - 1e-12).all()


def test_probabilities_add_up_to_one():
    hidden, heads, _ = experts(3, 1)
    states = [h.expand(37, -1) for h in hidden]
    assert product_of_experts(states, heads, torch.arange(37)).exp().sum() == pytest.approx(1)


def test_one_expert_that_rules_a_token_out_takes_it_from_all():
    certain = torch.tensor([[60.0, 0.0]], dtype=torch.float64).T
    agree, veto = torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[-3.0]], dtype=torch.float64)
    target = torch.tensor([0])
    assert product_of_experts([agree, agree, veto], [certain] * 3, target).item() < -19


def test_experts_without_heads_are_refused():
    hidden, heads, targets = experts(2, 3)
    for states, projections in (([], []), (hidden, heads[:1])):
        with pytest.raises(InvalidInput, match="make no product"):
            product_of_experts(states, projections, targets)


def test_rows_of_a_table_as_experts(base_of, inject):
    base = base_of("llama", torch.float64)
    injection = inject(base)
    random = np.random.default_rng(0)
    table = random.normal(0, 0.3, (2, injection.layout.size)).astype(np.float32)
    windows = random.integers(3, models.VOCABULARY, (3, 24))
    found = row_product(base, injection, table, windows)
    assert found.shape == (3, 23)
    assert (found >= token_log_probabilities(base, injection, table, windows).mean(axis=0) - 1e-9).all()
    zeros = np.zeros_like(table)
    unadapted = base_token_log_probabilities(base, windows)
    np.testing.assert_allclose(row_product(base, injection, zeros, windows), unadapted, rtol=1e-9)
