from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm.training.optimiser import RowState
from sharedllm.training.recipes import Recipe

RECIPE = Recipe("r", learning_rate=1e-2, schedule="cosine", steps=40, warmup=5, weight_decay=0.1, beta2=0.95)
SIZE = 6


def gradients(seed, steps, dtype):
    generator = torch.Generator().manual_seed(seed)
    # Over many orders of magnitude, as gradients are.
    scale = 10 ** (4 * torch.rand(SIZE, generator=generator, dtype=torch.float64) - 4)
    return (scale * torch.randn(steps, SIZE, generator=generator, dtype=torch.float64)).to(dtype)


def reference(gradient, recipe):
    """What torch's AdamW makes of one row's gradients."""
    parameter = torch.nn.Parameter(torch.zeros(SIZE, dtype=gradient.dtype))
    optimiser = torch.optim.AdamW(
        [parameter], betas=(recipe.beta1, recipe.beta2), weight_decay=recipe.weight_decay, eps=1e-8
    )
    for step, each in enumerate(gradient):
        optimiser.param_groups[0]["lr"] = recipe.rate(step)
        parameter.grad = each.clone()
        optimiser.step()
    return parameter.detach()


@settings(max_examples=30, deadline=None)
@given(
    joins=st.lists(st.integers(0, 15), min_size=1, max_size=4),
    schedule=st.sampled_from(["constant", "cosine"]),
    decay=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 999),
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_every_row_is_adamw_on_its_own_clock(joins, schedule, decay, seed, dtype, tolerance):
    recipe = replace(RECIPE, schedule=schedule, weight_decay=decay)
    own = [gradients(seed + row, 30 - join, dtype) for row, join in enumerate(joins)]
    state = RowState.zeros(len(joins) + 1, SIZE, torch.device("cpu"), dtype)
    for time in range(30):
        # In any order, and the last row never takes part.
        present = [row for row, join in reversed(list(enumerate(joins))) if time >= join]
        clocks = [time - joins[row] for row in present]
        batch = [own[row][clock] for row, clock in zip(present, clocks, strict=True)]
        state.update(present, torch.stack(batch) if batch else torch.zeros(0, SIZE, dtype=dtype), clocks, recipe)
    for row, gradient in enumerate(own):
        torch.testing.assert_close(state.values[row], reference(gradient, recipe), rtol=tolerance, atol=tolerance)
    assert not any(tensor[-1].any() for tensor in (state.values, state.mean, state.square))


def test_a_rows_bits_do_not_depend_on_the_rows_beside_it():
    own = gradients(0, 10, torch.float32)
    results = []
    for others in (1, 7):
        state = RowState.zeros(others + 1, SIZE, torch.device("cpu"), torch.float32)
        for step in range(10):
            noise = torch.randn(others, SIZE, generator=torch.Generator().manual_seed(step))
            state.update(
                list(range(others + 1)), torch.cat([noise, own[step : step + 1]]), [step] * (others + 1), RECIPE
            )
        results.append(state.values[-1])
    assert torch.equal(*results)


def test_a_gradient_of_zero_moves_nothing():
    state = RowState.zeros(1, SIZE, torch.device("cpu"), torch.float32)
    state.update([0], torch.zeros(1, SIZE), [0], RECIPE)
    assert not state.values.any()
