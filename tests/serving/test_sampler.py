import math

import numpy as np
import pytest
import torch

from sharedllm.serving.request import Sampling
from sharedllm.serving.sampler import draw, scored


def many(logits, draws=4000, **sampling):
    """How often each token is drawn, over positions."""
    rows = logits.expand(draws, -1)
    tokens = draw(rows, [Sampling(**sampling)] * draws, range(draws))
    return np.bincount(tokens, minlength=logits.shape[-1]) / draws


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_they_are_likely(temperature):
    logits = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = (logits / temperature).softmax(0).numpy()
    assert many(logits, temperature=temperature) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 4000))


def test_no_temperature_takes_the_likeliest():
    logits = torch.randn(5, 300)
    assert draw(logits, [Sampling(temperature=0)] * 5, [0] * 5) == logits.argmax(1).tolist()


@pytest.mark.parametrize("size", [6, 2000])
@pytest.mark.parametrize("top_p", [0.05, 0.6, 0.95, 0.999999])
def test_the_nucleus_is_the_shortest_list_that_reaches_the_bound(top_p, size):
    logits = torch.randn(size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ordered = logits.softmax(0).sort(descending=True)
    nucleus = ordered.indices[: int((ordered.values.cumsum(0) < top_p).sum()) + 1]
    found = many(logits, draws=600, top_p=top_p)
    assert set(np.flatnonzero(found)) <= set(nucleus.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("size", [6, 2000])
@pytest.mark.parametrize("top_p", [1.0, 0.6])
@pytest.mark.parametrize("min_p", [0.01, 0.3, 1.0])
def test_no_token_is_drawn_that_is_less_than_its_share_as_likely_as_the_likeliest(min_p, top_p, size):
    logits = 2 * torch.randn(size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = (logits / 1.5).softmax(0)
    ordered = expected.sort(descending=True)
    nucleus = ordered.indices[: int((ordered.values.cumsum(0) < top_p).sum()) + 1].tolist()
    likely = {token for token in nucleus if expected[token] >= min_p * expected.max()}
    found = many(logits, temperature=1.5, top_p=top_p, min_p=min_p)
    assert set(np.flatnonzero(found)) <= likely
    kept = np.array([float(expected[token]) if token in likely else 0.0 for token in range(size)])
    assert found == pytest.approx(kept / kept.sum(), abs=4 * math.sqrt(0.25 / 4000))


@pytest.mark.parametrize("size", [6, 2000])
@pytest.mark.parametrize("top_k", [1, 3, 6, 5000])
def test_no_token_is_drawn_that_is_not_among_the_likeliest(top_k, size):
    logits = torch.randn(size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    kept = set(logits.sort(descending=True).indices[:top_k].tolist())
    found = many(logits, draws=600, top_k=top_k)
    assert set(np.flatnonzero(found)) <= kept
    assert top_k > 1 or found.max() == 1


@pytest.mark.slow
def test_every_bound_is_of_the_whole_distribution():
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    assert set(np.flatnonzero(many(logits, top_k=3, top_p=0.65))) == {0, 1}
    assert set(np.flatnonzero(many(logits, top_k=2, top_p=0.95))) == {0, 1}
    assert set(np.flatnonzero(many(logits, top_k=3, min_p=0.6))) == {0, 1}


def test_how_many_are_likeliest_is_each_requests_own():
    logits = torch.tensor([2.0, 1.9, 1.8, 1.7], dtype=torch.float64).expand(900, -1)
    tokens = draw(logits, [Sampling(top_k=1), Sampling(top_k=2), Sampling()] * 300, range(900))
    assert [set(tokens[start::3]) for start in range(3)] == [{0}, {0, 1}, {0, 1, 2, 3}]


def test_a_bound_of_one_request_is_no_bound_of_its_neighbour():
    logits = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64).expand(800, -1)
    tokens = draw(logits, [Sampling(min_p=0.9), Sampling()] * 400, range(800))
    assert set(tokens[::2]) == {0}
    assert set(tokens[1::2]) == {0, 1, 2}


def test_extreme_settings_still_draw_a_token():
    logits = torch.tensor([[0.0, 1e4, -1e4], [0.0, 0.0, 0.0]])
    for sampling in (Sampling(temperature=1e-30), Sampling(top_p=1e-30), Sampling(temperature=100, top_p=1 - 1e-16)):
        assert all(0 <= token < 3 for token in draw(logits, [sampling] * 2, [0, 1]))
    assert draw(logits[:1], [Sampling(temperature=1e-30)], [0]) == [1]


@pytest.mark.parametrize("temperature", [1e-2, 1e-30, 1e-44, 1e-46, 1e-300, 5e-324])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.0])
def test_the_colder_the_likelier_the_likeliest_token(temperature, dtype, top_p):
    logits = 5 * torch.randn(40, 300, dtype=dtype, generator=torch.Generator().manual_seed(1))
    logits[:, 7] = -torch.inf
    found = draw(logits, [Sampling(temperature=temperature, top_p=top_p)] * 40, range(40))
    assert found == logits.argmax(1).tolist()


@pytest.mark.parametrize("temperature", [1e3, 1e38, 1e39, 1e308])
def test_the_hotter_the_more_alike_are_all_that_may_be_drawn(temperature):
    logits = torch.tensor([0.0, 9.0, -9.0, -torch.inf])
    assert many(logits, temperature=temperature) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.04)


@pytest.mark.parametrize("sampling", [{"top_p": 0.0}, {"top_p": 1e-300}, {"min_p": 1.0}, {"top_p": 0.0, "min_p": 1.0}])
def test_the_tightest_bounds_leave_the_likeliest(sampling):
    logits = torch.randn(30, 500, generator=torch.Generator().manual_seed(1))
    assert draw(logits, [Sampling(temperature=50, **sampling)] * 30, range(30)) == logits.argmax(1).tolist()


def test_a_row_draws_the_same_whatever_rows_are_beside_it():
    logits = torch.randn(6, 50, dtype=torch.float64)
    samplings = [Sampling(seed=n, temperature=n % 3, top_p=[1, 0.5][n % 2]) for n in range(6)]
    together = draw(logits, samplings, range(6))
    assert together == [draw(logits[n : n + 1], samplings[n : n + 1], [n])[0] for n in range(6)]


def test_scores_are_log_probabilities_at_temperature_one():
    logits = torch.randn(3, 40, dtype=torch.float64)
    expected = logits.log_softmax(1)
    for row, found in enumerate(scored(logits, [4, 5, 6], [0, 2, 5])):
        assert found.logprob == pytest.approx(float(expected[row, 4 + row]))
        best = expected[row].sort(descending=True)
        top = [0, 2, 5][row]
        assert [token for token, _ in found.top] == best.indices[:top].tolist()
        assert [logprob for _, logprob in found.top] == pytest.approx(best.values[:top].tolist())
