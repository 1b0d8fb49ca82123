"""A prior that keeps each person's part private: bounded a person, with noise of the stated scale, accounted."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.test_prior import RECIPE, contributors, same

from sharedllm.errors import Diverged, InvalidInput
from sharedllm.evaluation.likelihood import window_losses
from sharedllm.training import frame_gradients, prior
from sharedllm.training.frame_gradients import FrameGradients
from sharedllm.training.optimiser import clipped
from sharedllm.training.prior import PriorRecipe, train_prior
from sharedllm.training.private import PrivateSteps, privacy_spent

NOISY = replace(RECIPE, noise=0.5)
STEPS = PrivateSteps(key=7, people=40, rate=0.25, bound=0.5, noise=2.0)


def test_nobodys_gradient_is_longer_than_the_bound_and_a_shorter_one_stays_as_it_is():
    long, short = torch.full((4,), 3.0), torch.full((4,), 0.1)
    assert float(clipped(long, 0.5).norm()) == pytest.approx(0.5)
    assert torch.equal(clipped(short, 0.5), short)
    assert torch.equal(clipped(torch.zeros(4), 0.5), torch.zeros(4))


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e30])
def test_a_gradient_without_a_finite_norm_is_seen_in_every_sum(number):
    assert torch.isnan(clipped(torch.tensor([1.0, number]), 0.5)).all()


def test_a_step_follows_the_noise_and_the_bounded_gradients_over_how_many_it_takes_on_average(base_of, monkeypatch):
    """So with or without one person, what it follows differs by the bound over that number at most."""
    followed = []
    adamw = prior.adamw

    def noting(state, gradient, **rest):
        followed.append(gradient)
        return adamw(state, gradient, **rest)

    monkeypatch.setattr(prior, "adamw", noting)
    monkeypatch.setattr(prior.secrets, "randbits", lambda bits: 7)
    recipe = replace(NOISY, steps=1, clip=0.01, people=4)
    train_prior(base_of(), contributors(), recipe)
    steps = PrivateSteps(key=7, people=5, rate=0.8, bound=0.01, noise=0.5)
    gradients, base = FrameGradients(base_of(), recipe.rank), base_of()
    try:
        values, none = gradients.first(recipe.seed), torch.zeros(1, gradients.components)
        total = steps.noise_like(values, 0)
        for person in steps.turn(0):
            ids = np.asarray(base.encode(contributors()[person].read()), np.int32)
            windows = recipe.windows_of(ids, (), f"0 {person}")
            total += clipped(gradients.gradient(values, none, windows)[1], 0.01)
    finally:
        gradients.remove()
    assert len(steps.turn(0)) > 1
    assert torch.allclose(followed[0], total / 4)


def test_the_noise_is_gaussian_of_the_stated_scale_and_another_at_every_step_and_key():
    like = torch.zeros(200_000)
    drawn = [steps.noise_like(like, step) for steps, step in ((STEPS, 0), (STEPS, 1), (replace(STEPS, key=8), 0))]
    for noise in drawn:
        assert float(noise.mean()) == pytest.approx(0, abs=0.01)
        assert float(noise.std()) == pytest.approx(2.0 * 0.5, rel=0.01)
        assert float((noise.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.005)
    assert torch.equal(STEPS.noise_like(like, 0), drawn[0])
    assert all(abs(float((drawn[0] * other).mean())) < 0.01 for other in drawn[1:])


def test_everybody_is_taken_with_the_same_probability_and_independently_of_the_others():
    turns = [STEPS.turn(step) for step in range(4_000)]
    often = np.bincount(np.concatenate(turns), minlength=40) / len(turns)
    assert np.abs(often - 0.25).max() < 0.03
    assert np.var([len(turn) for turn in turns]) == pytest.approx(40 * 0.25 * 0.75, rel=0.1)
    assert replace(STEPS, rate=1.0).turn(0) == list(range(40))


def test_each_persons_gradient_is_what_is_bounded_in_a_training(base_of, monkeypatch):
    lengths, seen = [], []

    def noting(gradient, bound):
        lengths.append((float(gradient.norm()), float(clipped(gradient, bound).norm())))
        return clipped(gradient, bound)

    def one_by_one(hidden, head, windows, first):
        seen.append(len(windows))
        return window_losses(hidden, head, windows, first)

    monkeypatch.setattr(frame_gradients, "clipped", noting)
    monkeypatch.setattr(frame_gradients, "window_losses", one_by_one)
    train_prior(base_of(), contributors(), replace(NOISY, clip=0.01))
    assert set(seen) == {1}
    assert len(seen) == len(lengths)
    assert any(before > 0.01 for before, _ in lengths)
    assert all(after <= 0.01 * (1 + 1e-5) for _, after in lengths)


@pytest.mark.slow
def test_two_private_trainings_of_the_same_people_have_noise_of_their_own(base_of):
    one, other = (train_prior(base_of(), contributors(), NOISY) for _ in range(2))
    assert not same(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 11])
def test_an_interrupted_private_training_goes_on_to_the_same_bits(base_of, tmp_path, monkeypatch, steps):
    monkeypatch.setattr("sharedllm.training.prior.secrets.randbits", lambda bits: 2**127 + 5)
    whole = train_prior(base_of(), contributors(), NOISY)

    def interrupt(step, loss):
        if step == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_prior(base_of(), contributors(), NOISY, folder=tmp_path / "run", on_step=interrupt)
    # Another process has another key, and takes the one of the checkpoint.
    monkeypatch.setattr("sharedllm.training.prior.secrets.randbits", lambda bits: 3)
    assert same(train_prior(base_of(), contributors(), NOISY, folder=tmp_path / "run"), whole)


def test_a_step_that_takes_nobody_is_a_step_all_the_same(base_of):
    losses = []
    recipe = replace(NOISY, people=1, steps=20)
    train_prior(base_of(), contributors(12), recipe, on_step=lambda step, loss: losses.append(loss))
    assert len(losses) == 20
    assert any(map(math.isnan, losses))


def test_a_private_training_whose_loss_stops_being_finite_is_told(base_of):
    with pytest.raises(Diverged, match="step"):
        train_prior(base_of(), contributors(), replace(NOISY, warmup=0, steps=60, learning_rate=1e12))


@pytest.mark.parametrize("changed", [{"noise": -1.0}, {"noise": math.inf}, {"noise": 1.0, "clip": 0.0}])
def test_a_recipe_whose_noise_makes_no_sense_is_refused(changed):
    with pytest.raises(InvalidInput, match=r"noise|clip"):
        PriorRecipe(**changed)


def test_a_recipe_without_noise_says_nothing_of_it():
    assert "noise" not in PriorRecipe().as_dict()
    assert PriorRecipe(noise=1.0).as_dict()["noise"] == 1.0


def test_epsilon_is_the_librarys():
    rdp = pytest.importorskip("opacus.accountants.analysis.rdp")
    orders = [1 + x / 10.0 for x in range(1, 100)] + list(range(12, 64))
    spent = rdp.compute_rdp(q=0.05, noise_multiplier=1.1, steps=300, orders=orders)
    epsilon, _ = rdp.get_privacy_spent(orders=orders, rdp=spent, delta=1 / 1600)
    found = privacy_spent(noise=1.1, rate=0.05, steps=300, people=160)
    assert found.delta == 1 / 1600
    assert found.epsilon == pytest.approx(float(epsilon))


def test_epsilon_bounds_what_gaussian_noise_without_sampling_spends():
    """Of one step in which everybody is taken, the exact curve is known (Balle and Wang 2018, theorem 8)."""
    pytest.importorskip("opacus")
    found = privacy_spent(noise=2.0, rate=1.0, steps=1, people=100)

    def cumulative(x):
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    def delta(epsilon, sigma=2.0):
        below = cumulative(1 / (2 * sigma) - epsilon * sigma)
        return below - math.exp(epsilon) * cumulative(-1 / (2 * sigma) - epsilon * sigma)

    assert delta(found.epsilon) <= found.delta
    # A bound by moments is above the exact curve, and not by much.
    assert delta(0.7 * found.epsilon) > found.delta
