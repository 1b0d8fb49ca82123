import copy
from dataclasses import replace

import pytest
import torch

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import Diverged, InvalidInput, UnsupportedBase, WrongBase
from sharedllm.evaluation.perplexity import base_losses
from sharedllm.training.baselines import train_baseline
from sharedllm.training.recipes import Recipe
from sharedllm.training.step_windows import step_windows

LORA = Recipe("r", method="lora-r4", learning_rate=1e-2, steps=20, window=16, check_every=10)
FULL = replace(LORA, method="full", learning_rate=3e-3)
BOTH = pytest.mark.parametrize("recipe", [LORA, FULL], ids=lambda recipe: recipe.method)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3"])
def test_it_learns_and_the_base_stays_as_it_was(base_of, text_of, weights_hash, architecture, dtype, recipe):
    base, text = base_of(architecture, dtype), text_of("alice")
    weights = weights_hash(base.model)
    before = base_losses(base, text.heldout)
    baseline = train_baseline(base, text, recipe)
    assert weights_hash(base.model) == weights
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert [step for step, _ in baseline.losses] == [10, 20]
    assert base_losses(baseline.base, text.heldout).nats_per_token < before.nats_per_token - 0.2
    assert baseline.base.dtype == dtype
    assert {tensor.dtype for tensor in baseline.state.values()} == {torch.float32}
    assert baseline.bytes == 4 * sum(tensor.numel() for tensor in baseline.state.values())


@BOTH
def test_what_it_leaves_is_the_best_step_it_measured(base_of, text_of, recipe):
    text = text_of("alice")
    rates = (0.03, 0.1, 0.3, 1.0, 3.0)
    wild = [replace(recipe, learning_rate=rate, schedule="constant", check_every=2) for rate in rates]
    baselines = (train_baseline(base_of(), text, each) for each in wild)
    # One that was better before its last step, so that keeping the last would show.
    baseline = next(each for each in baselines if each.losses[-1] != min(each.losses, key=lambda check: check[1]))
    measured = base_losses(baseline.base, text.validation).nats_per_token
    assert measured == pytest.approx(min(loss for _, loss in baseline.losses), rel=1e-5)


@BOTH
def test_the_same_seed_gives_the_same_bits_and_the_global_generator_is_not_moved(base_of, text_of, recipe):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        results.append(train_baseline(base_of(), text_of("alice"), recipe).state)
        assert torch.equal(torch.get_rng_state(), state)
    first, second = results
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_starts_another_lora(base_of, text_of):
    first, second = (train_baseline(base_of(), text_of("alice"), replace(LORA, seed=seed)).state for seed in (0, 1))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_lora_is_rank_four_on_every_projection(base_of, text_of):
    state = train_baseline(base_of(), text_of("alice"), replace(LORA, steps=1)).state
    assert len(state) == 2 * 7 * 2
    assert {min(tensor.shape) for tensor in state.values()} == {4}


def test_lora_starts_from_the_base(base_of, text_of):
    text = text_of("alice")
    still = train_baseline(base_of(), text, replace(LORA, learning_rate=0.0, steps=1))
    assert base_losses(still.base, text.heldout).nats.tolist() == base_losses(base_of(), text.heldout).nats.tolist()


def test_full_moves_every_weight_as_adamw_would(base_of, text_of):
    base, text = base_of("llama", torch.float64), text_of("alice")
    recipe = replace(FULL, steps=3, check_every=0, schedule="constant", weight_decay=0.1)
    model = copy.deepcopy(base.model).requires_grad_()
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.1)
    for step in range(3):
        ids = torch.from_numpy(step_windows(text, recipe, step))
        optimiser.zero_grad()
        logits = model(input_ids=ids).logits
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimiser.step()
    state = train_baseline(base, text, recipe).state
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(state[name], parameter.detach(), rtol=1e-6, atol=1e-6)
        assert not torch.equal(state[name], base.model.get_parameter(name))


@BOTH
def test_patience_stops_it_early(base_of, text_of, recipe):
    steps = []
    wild = replace(recipe, learning_rate=0.5, schedule="constant", steps=60, check_every=1, patience=2)
    baseline = train_baseline(base_of(), text_of("alice"), wild, lambda user, step: steps.append((user, step)))
    assert steps == [("alice", step) for step in range(1, len(steps) + 1)]
    assert len(steps) == len(baseline.losses) < 60
    best = min(loss for _, loss in baseline.losses)
    assert [loss for _, loss in baseline.losses].index(best) == len(steps) - 3


@BOTH
def test_a_loss_that_is_no_number_ends_it(base_of, text_of, recipe, monkeypatch):
    monkeypatch.setattr("sharedllm.training.baselines._finite", lambda loss, trained: False)
    with pytest.raises(Diverged, match=r"'alice'.*step 0"):
        train_baseline(base_of(), text_of("alice"), recipe)


def test_a_rate_beyond_all_reason_ends_it(base_of, text_of):
    with pytest.raises(Diverged):
        train_baseline(base_of(), text_of("alice"), replace(FULL, learning_rate=1e30, schedule="constant"))


def test_a_vectors_recipe_is_refused(base_of, text_of):
    with pytest.raises(InvalidInput, match="norm"):
        train_baseline(base_of(), text_of("alice"), Recipe("r", window=16))


def test_lora_is_refused_where_its_projections_are_not(base_of, text_of):
    with pytest.raises(UnsupportedBase, match="q_proj"):
        train_baseline(base_of("gpt2"), text_of("alice"), LORA)


@BOTH
def test_no_vector_of_the_base_fits_it(base_of, text_of, recipe):
    adapted = train_baseline(base_of(), text_of("alice"), replace(recipe, steps=1)).base
    with pytest.raises(WrongBase):
        Injection(adapted, layout_of(base_of()))
