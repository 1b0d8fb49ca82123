"""A prior: what many people have in common, trained through the coordinates of each."""

import math

import numpy as np
import pytest
import torch

from sharedllm.base.frames import projections
from sharedllm.errors import Diverged, InvalidInput
from sharedllm.training.frame_gradients import FrameGradients
from sharedllm.training.prior import Contributor, PriorRecipe, train_prior

RECIPE = PriorRecipe(rank=2, steps=12, people=3, window=32, warmup=2, learning_rate=1e-2)


def contributors(count=5):
    return [
        Contributor(f"user-{n}", lambda n=n: f"this is what {chr(97 + n)} says, again and again. " * 20)
        for n in range(count)
    ]


def same(these, those):
    return list(these) == list(those) and all(torch.equal(these[name].product, those[name].product) for name in these)


def test_frames_are_at_every_projection_and_help_those_who_contributed(base_of):
    base, losses = base_of(), []
    frames = train_prior(base, contributors(), RECIPE, on_step=lambda step, loss: losses.append(loss))
    assert list(frames) == list(projections(base.model))
    assert all(frame.into.shape[0] == 2 for frame in frames.values())
    assert len(losses) == RECIPE.steps
    assert losses[-1] < losses[0] - 0.2


def test_the_base_is_left_as_it_was(base_of):
    base = base_of()
    before = base.hidden(torch.arange(3, 20).unsqueeze(0))
    train_prior(base, contributors(), RECIPE)
    assert torch.equal(base.hidden(torch.arange(3, 20).unsqueeze(0)), before)


@pytest.mark.parametrize("steps", [1, 5, 11])
def test_an_interrupted_training_goes_on_to_the_same_bits(base_of, tmp_path, steps):
    base = base_of()
    whole = train_prior(base, contributors(), RECIPE)

    def interrupt(step, loss):
        if step == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_prior(base, contributors(), RECIPE, folder=tmp_path / "run", on_step=interrupt)
    taken = []
    resumed = train_prior(
        base, contributors(), RECIPE, folder=tmp_path / "run", on_step=lambda step, _: taken.append(step)
    )
    assert taken[0] == steps + 1
    assert same(whole, resumed)


@pytest.mark.slow
def test_a_checkpoint_of_other_people_or_another_recipe_counts_for_nothing(base_of, tmp_path):
    base, steps = base_of(), []
    train_prior(base, contributors(), RECIPE, folder=tmp_path)
    frames = train_prior(base, contributors(4), RECIPE, folder=tmp_path, on_step=lambda step, _: steps.append(step))
    assert steps[0] == 1
    assert same(frames, train_prior(base, contributors(4), RECIPE))


def test_a_checkpoint_that_cannot_be_read_counts_for_nothing(base_of, tmp_path):
    whole = train_prior(base_of(), contributors(), RECIPE, folder=tmp_path)
    (tmp_path / "frames-in-training.safetensors").write_bytes(b"damaged")
    assert same(train_prior(base_of(), contributors(), RECIPE, folder=tmp_path), whole)


def test_a_folder_holds_no_word_of_anybody(base_of, tmp_path):
    train_prior(base_of(), contributors(), RECIPE, folder=tmp_path)
    ids = np.asarray(base_of().encode(contributors()[0].read())[:8], np.int32)
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert b"again and again" not in data
        assert ids.tobytes() not in data
        assert ids.astype(np.int64).tobytes() not in data


def test_everybodys_turn_comes_before_anybodys_comes_again():
    recipe = PriorRecipe(people=4)
    drawn = [person for step in range(25) for person in recipe.turn(step, 10)]
    rounds = [sorted(drawn[begin : begin + 10]) for begin in range(0, 100, 10)]
    assert rounds == [list(range(10))] * 10
    assert drawn[:10] != drawn[10:20]


def test_gradients_are_those_of_each_persons_own_coordinates(base_of):
    base = base_of("llama", torch.float64)
    gradients = FrameGradients(base, 2)
    random = torch.Generator().manual_seed(0)
    values = 0.2 * torch.randn(gradients.size, generator=random, dtype=torch.float64)
    own = 0.2 * torch.randn(3, gradients.components, generator=random, dtype=torch.float64)
    windows = np.random.default_rng(0).integers(3, 200, (3, 12))
    try:
        losses, of_values, of_own = gradients.gradient(values, own, windows)
        alone = [gradients.gradient(values, own[[n]], windows[[n]]) for n in range(3)]
        assert torch.allclose(losses, torch.cat([each[0] for each in alone]))
        assert torch.allclose(of_values, sum(each[1] for each in alone))
        assert torch.allclose(of_own, torch.cat([each[2] for each in alone]))
        step = 1e-3
        for place in (0, gradients.components - 1):
            moved = own.clone()
            moved[1, place] += step
            slope = (gradients.gradient(values, moved, windows)[0].sum() - losses.sum()) / step
            assert math.isclose(float(slope), float(of_own[1, place]), rel_tol=1e-2, abs_tol=1e-6)
    finally:
        gradients.remove()


def test_nobody_has_anything_in_common_with_themselves(base_of):
    with pytest.raises(InvalidInput, match="in common"):
        train_prior(base_of(), contributors(1), RECIPE)


def test_a_loss_that_stops_being_finite_is_told(base_of):
    with pytest.raises(Diverged, match="step"):
        train_prior(base_of(), contributors(), PriorRecipe(rank=2, steps=60, window=32, warmup=0, learning_rate=1e12))


@pytest.mark.parametrize(("field", "value"), [("rank", 0), ("steps", 1.5), ("learning_rate", math.inf), ("clip", -1.0)])
def test_a_recipe_that_makes_no_sense_is_refused_by_field(field, value):
    with pytest.raises(InvalidInput, match=field):
        PriorRecipe(**{field: value})
