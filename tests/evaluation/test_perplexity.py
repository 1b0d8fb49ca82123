import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import models

from sharedllm.base.loading import load_base
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.perplexity import (
    Losses,
    base_losses,
    base_token_log_probabilities,
    row_losses,
    spread,
    token_log_probabilities,
)
from sharedllm.text.windows import text_windows


def token_windows(count, length, seed=0):
    return np.random.default_rng(seed).integers(3, models.VOCABULARY, (count, length))


def test_golden():
    """Two windows of two predicted tokens with probabilities 1/2, 1/8 and 1/4, 1/4: exp(8 ln 2 / 4) = 4."""
    assert Losses(np.array([math.log(16), math.log(16)]), 2).perplexity == pytest.approx(4, rel=1e-15)


@given(st.lists(st.floats(0, 500), min_size=1, max_size=20), st.integers(1, 100))
def test_it_is_weighted_by_tokens_not_by_windows(nats, tokens):
    losses = Losses(np.array(nats), tokens)
    assert losses.nats_per_token == pytest.approx(math.fsum(nats) / (tokens * len(nats)), rel=1e-12, abs=1e-300)
    assert losses.perplexity == pytest.approx(math.exp(losses.nats_per_token), rel=1e-12)


def test_a_perplexity_too_large_for_a_float_is_infinite_and_its_logarithm_is_not():
    losses = Losses(np.array([2000.0]), 1)
    assert losses.perplexity == math.inf
    assert losses.nats_per_token == 2000


@pytest.mark.parametrize("losses", [Losses(np.empty(0), 5), Losses(np.zeros(3), 0)])
def test_no_data_is_no_perplexity(losses):
    with pytest.raises(InvalidInput, match="no windows"):
        _ = losses.perplexity


@pytest.mark.parametrize(("opening", "predicted"), [("", 11), ("<s>", 11), ("<s> </s>", 10)])
def test_what_a_tokenizer_begins_a_text_with_is_context_and_is_not_predicted(tmp_path, monkeypatch, opening, predicted):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    folder = models.llama(tmp_path / "base", vocab_size=400)
    models.sentencepiece(opening=opening).save_pretrained(folder)
    base = load_base(str(folder), dtype=torch.float64, device="cpu")
    cut = text_windows("said " * 20, base.encode, 12)
    found = base_token_log_probabilities(base, cut)
    with torch.no_grad():
        logits = base.model(torch.from_numpy(cut)).logits.log_softmax(-1)[:, :-1]
    expected = logits.gather(-1, torch.from_numpy(cut)[:, 1:, None])[..., 0].numpy()[:, -predicted:]
    assert found == pytest.approx(expected)
    assert base_losses(base, cut).tokens == predicted


def test_no_windows_are_measured_as_no_losses(base_of):
    losses = base_losses(base_of(), np.empty((0, 16), np.int64))
    assert losses.nats.shape == (0,)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_it_equals_the_exponential_of_the_models_own_loss(base_of, architecture):
    base = base_of(architecture)
    windows = token_windows(5, 24)
    with torch.no_grad():
        ids = torch.from_numpy(windows)
        expected = math.exp(base.model(input_ids=ids, labels=ids).loss)
    assert base_losses(base, windows).perplexity == pytest.approx(expected, rel=1e-5)


def test_it_does_not_depend_on_how_the_windows_are_batched(base_of):
    base = base_of("llama", torch.float64)
    windows = token_windows(20, 200)
    alone = np.concatenate([base_losses(base, window[None]).nats for window in windows])
    np.testing.assert_allclose(base_losses(base, windows).nats, alone, rtol=1e-9)


def test_a_row_of_zeros_is_the_base_and_rows_keep_their_order(base_of, inject):
    base = base_of()
    injection = inject(base)
    table = np.zeros((3, injection.layout.size), np.float32)
    table[1] = np.random.default_rng(0).normal(0, 0.5, injection.layout.size)
    windows = token_windows(4, 24)
    first, second, third = row_losses(base, injection, table, windows)
    unadapted = base_losses(base, windows)
    assert first.tokens == second.tokens == unadapted.tokens == 23
    np.testing.assert_allclose(first.nats, unadapted.nats, rtol=1e-6)
    np.testing.assert_allclose(third.nats, unadapted.nats, rtol=1e-6)
    (alone,) = row_losses(base, injection, table[1:2], windows)
    np.testing.assert_allclose(second.nats, alone.nats, rtol=1e-5)
    assert abs(second.nats - first.nats).min() > 0.1


def test_progress_counts_every_window_of_every_row(base_of, inject):
    base = base_of()
    injection = inject(base)
    heard = []
    table = np.zeros((3, injection.layout.size), np.float32)
    row_losses(base, injection, table, token_windows(7, 200), on_batch=heard.append)
    assert sum(heard) == 21
    assert len(heard) > 1


def test_log_probabilities_of_tokens_add_up_to_the_losses_of_windows(base_of, inject):
    base = base_of()
    injection = inject(base)
    table = np.random.default_rng(0).normal(0, 0.5, (2, injection.layout.size)).astype(np.float32)
    windows = token_windows(5, 24)
    measured = token_log_probabilities(base, injection, table, windows)
    assert (measured.shape, measured.dtype) == ((2, 5, 23), np.float64)
    for of_row, losses in zip(measured, row_losses(base, injection, table, windows), strict=True):
        np.testing.assert_array_equal(-of_row.sum(axis=1), losses.nats)


def test_log_probabilities_are_the_models_own_of_the_next_token(base_of):
    base = base_of("llama", torch.float64)
    windows = token_windows(3, 24)
    with torch.no_grad():
        ids = torch.from_numpy(windows)
        expected = base.model(input_ids=ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    np.testing.assert_allclose(base_token_log_probabilities(base, windows), expected.numpy(), rtol=1e-9)


@given(st.integers(0, 200), st.integers(1, 50))
def test_spread_takes_different_windows_from_end_to_end(count, limit):
    windows = np.arange(count)[:, None]
    chosen = spread(windows, limit)[:, 0].tolist()
    assert len(chosen) == min(count, limit)
    assert chosen == sorted(set(chosen))
    if count > limit > 1:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
