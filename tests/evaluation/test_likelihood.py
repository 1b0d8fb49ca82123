import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from sharedllm.evaluation import likelihood
from sharedllm.evaluation.likelihood import token_losses


def case(tokens, vocabulary=37, width=8, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    head = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64).to(dtype)
    return hidden, head, torch.randint(vocabulary, (tokens,), generator=generator)


def expected(hidden, head, targets):
    return cross_entropy((hidden @ head.T).flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("tokens", [1, 127, 128, 129, 255, 256, 257, 300])
def test_it_is_cross_entropy_in_value_and_gradient(tokens, dtype, tolerance):
    hidden, head, targets = case(tokens, dtype=dtype)
    weights = torch.linspace(-1, 2, tokens, dtype=dtype)
    close = {"rtol": tolerance, "atol": tolerance}
    ours, theirs = token_losses(hidden, head, targets), expected(hidden, head, targets)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, **close)
    (our_gradient,) = torch.autograd.grad((ours * weights).sum(), hidden)
    (their_gradient,) = torch.autograd.grad((theirs * weights).sum(), hidden)
    torch.testing.assert_close(our_gradient, their_gradient, **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [1, 3, 300])
def test_how_many_probabilities_are_at_hand_at_a_time_changes_no_bit(dtype, rows, monkeypatch):
    hidden, head, targets = case(300, dtype=dtype)

    def found():
        losses = token_losses(hidden, head, targets)
        return losses.detach(), *torch.autograd.grad(losses.sum(), hidden)

    usual = found()
    monkeypatch.setattr(likelihood, "_CACHED_BYTES", 4 * len(head) * rows)
    assert all(torch.equal(one, other) for one, other in zip(found(), usual, strict=True))


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 4), tokens=st.integers(1, 150), vocabulary=st.integers(1, 300), seed=st.integers(0, 99))
def test_any_shape(batch, tokens, vocabulary, seed):
    hidden, head, targets = case(batch * tokens, vocabulary, seed=seed)
    hidden, targets = hidden.view(batch, tokens, -1), targets.view(batch, tokens)
    losses = token_losses(hidden, head, targets)
    assert losses.shape == (batch, tokens)
    torch.testing.assert_close(losses, expected(hidden, head, targets), rtol=1e-12, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences():
    hidden, head, targets = case(5)
    assert torch.autograd.gradcheck(lambda tensor: token_losses(tensor, head, targets), hidden)


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_extreme_logits_stay_finite(scale):
    hidden, head, targets = case(200, dtype=torch.float32)
    losses = token_losses(hidden * scale, head, targets)
    assert torch.isfinite(losses).all()
    (gradient,) = torch.autograd.grad(losses.sum(), hidden)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(losses, expected(hidden * scale, head, targets), rtol=1e-5, atol=1e-5 * scale)


def test_bfloat16_states_give_float32_losses():
    hidden, head, targets = case(200, dtype=torch.bfloat16)
    losses = token_losses(hidden, head, targets)
    assert losses.dtype == torch.float32
    logits = (hidden @ head.T).float()
    torch.testing.assert_close(losses, cross_entropy(logits, targets, reduction="none"), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(losses.sum(), hidden)
    assert gradient.dtype == torch.bfloat16


def test_a_state_that_is_not_a_number_spoils_its_own_token_alone():
    hidden, head, targets = case(150)
    clean = token_losses(hidden, head, targets).detach()
    with torch.no_grad():
        hidden[3] = torch.nan
    losses = token_losses(hidden, head, targets)
    (gradient,) = torch.autograd.grad(losses.sum(), hidden)
    others = torch.arange(150) != 3
    assert torch.isnan(losses[3])
    assert torch.equal(losses[others].detach(), clean[others])
    assert torch.isfinite(gradient[others]).all()


def test_nothing_is_kept_for_a_gradient_that_nobody_wants():
    hidden, head, targets = case(10)
    with torch.inference_mode():
        losses = token_losses(hidden.detach(), head, targets)
    assert not losses.requires_grad


def test_hidden_states_of_another_dtype_are_read_in_the_heads():
    random = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(5, 8, generator=random), torch.randn(11, 8, generator=random).bfloat16()
    targets = torch.arange(5)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = token_losses(hidden, head, targets)
    assert torch.equal(mixed, token_losses(hidden.bfloat16(), head, targets))
