from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import models

from sharedllm.errors import Diverged, InvalidInput
from sharedllm.evaluation.likelihood import token_losses
from sharedllm.operations.workplace import Workplace, no_bar
from sharedllm.text.windows import windows
from sharedllm.training import curvature
from sharedllm.training.checkpoints import Checkpoints
from sharedllm.training.curvature import kept_curvature, measure_curvature
from sharedllm.training.optimiser import RowState
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors

RECIPE = Recipe("r", optimiser="natural", learning_rate=1e-2, steps=8, window=16, check_every=3)
USERS = ["alice", "bob", "carol"]
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


@pytest.fixture
def general():
    return windows(np.random.default_rng(0).integers(3, models.VOCABULARY, 12 * 16), 16)


@pytest.fixture
def train(base_of, inject, text_of, general):
    base = base_of("adapted", torch.float64)
    injection = inject(base, "norm+bank")
    measured = measure_curvature(base, injection, general)

    def train(users, given=measured, **options):
        texts, recipe = map(text_of, users), replace(RECIPE, method="norm+bank")
        return {each.user: each for each in train_vectors(base, injection, texts, recipe, curvature=given, **options)}

    return train


# The curvature


@pytest.mark.parametrize("format", ["norm", "bank", "norm+bank"])
def test_curvature_is_the_mean_square_of_windows_gradients_a_token_and_a_tenth_of_its_kinds(
    base_of, inject, general, format
):
    base = base_of("adapted", torch.float64)
    injection = inject(base, format)
    squares = []
    for window in torch.from_numpy(general):
        row = torch.zeros(1, injection.layout.size, dtype=torch.float64, requires_grad=True)
        with injection.rows(row, torch.zeros(1, dtype=torch.long)):
            hidden = base.hidden(window[None])
        loss = token_losses(hidden[:, :-1], base.head, window[None, 1:]).mean()
        squares.append(torch.autograd.grad(loss, row)[0][0].square().numpy())
    plain = 15 * np.mean(squares, axis=0)
    kinds = np.repeat([site.kind for site in injection.layout.sites], injection.layout.widths)
    means = {kind: plain[kinds == kind].mean() for kind in set(kinds)}
    expected = plain + 0.1 * np.array([means[kind] for kind in kinds])
    found = measure_curvature(base, injection, general)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32
    assert (found > 0).all()


@pytest.mark.slow
def test_it_is_measured_once_for_a_base_a_format_and_a_text(base_of, tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    measured = []
    monkeypatch.setattr(
        curvature, "measure_curvature", lambda *given, **_: measured.append(1) or measure_curvature(*given)
    )

    def ask(method="norm", general="Some words that are nobody's in particular. " * 400, window=16):
        with Workplace(base_of("adapted"), general=general) as place:
            return place.curvature(replace(RECIPE, method=method, window=window))

    first = ask()
    assert np.array_equal(ask(), first)
    assert len(measured) == 1
    for other in ({"method": "bank"}, {"general": "Other words. " * 1_000}, {"window": 32}):
        ask(**other)
    assert len(measured) == 4
    for path in (tmp_path / "curvatures").glob("*.safetensors"):
        path.write_bytes(b"damaged")
    assert np.array_equal(ask(), first)
    assert len(measured) == 5


def test_a_curvature_that_is_no_number_trains_nobody(base_of, tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    monkeypatch.setattr(
        curvature, "measure_curvature", lambda base, injection, *_, **__: np.full(injection.layout.size, np.nan)
    )
    place = Workplace(base_of("llama"), general="Some words. " * 2_000)
    with place, pytest.raises(Diverged, match="general text are not finite in format norm"):
        place.curvature(RECIPE)
    assert not list(tmp_path.glob("curvatures/*.safetensors"))


def test_where_the_cache_cannot_be_written_to_it_is_measured_all_the_same(base_of, tmp_path, monkeypatch):
    cache = tmp_path / "file"
    cache.write_text("no folder")
    with Workplace(base_of("llama"), general="Some words. " * 2_000) as place:
        windows = place.general("train", 16)
        monkeypatch.setenv("SHAREDLLM_CACHE", str(cache))
        found = kept_curvature(place.base, place.injection("norm"), windows, no_bar)
    assert np.isfinite(found).all()


def test_general_text_of_gates_and_reports_is_not_read_for_it(base_of, tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(
        Workplace,
        "general",
        lambda self, block, window: asked.append(block) or windows(np.arange(3, 3 + 64) % models.VOCABULARY, window),
    )
    with Workplace(base_of("llama")) as place:
        place.curvature(RECIPE)
        assert place.curvature(replace(RECIPE, optimiser="adamw")) is None
    assert asked == ["train"]


# A step


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_row_moves_as_by_momentum_on_its_gradient_over_the_curvature(schedule):
    recipe = replace(RECIPE, schedule=schedule)
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    bends = torch.rand(5, generator=generator, dtype=torch.float64) + 0.1
    parameter = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    optimiser = torch.optim.SGD([parameter], lr=1.0, momentum=recipe.beta1)
    state, velocity = RowState.zeros(1, 5, torch.device("cpu"), torch.float64), torch.zeros(5, dtype=torch.float64)
    for step, gradient in enumerate(gradients):
        state.update([0], gradient[None], [step], recipe, bends)
        velocity = recipe.beta1 * velocity + gradient / bends
        if schedule == "constant":
            optimiser.param_groups[0]["lr"] = recipe.rate(step)
            parameter.grad = gradient / bends
            optimiser.step()
        else:
            parameter.data -= recipe.rate(step) * velocity
        torch.testing.assert_close(state.values[0], parameter.data, rtol=1e-12, atol=1e-12)


# Training


@pytest.mark.slow
def test_everyone_gets_better_alone_and_with_others_alike(train):
    together = train(USERS)
    for user in USERS:
        alone = train([user])[user]
        np.testing.assert_allclose(together[user].adapter.values, alone.adapter.values, **CLOSE)
        (_, first), *_, (_, last) = together[user].losses
        assert last < first


@pytest.mark.parametrize("step", [1, 4, 7])
def test_an_interrupted_run_ends_with_the_same_bits(train, tmp_path, step):
    expected, checkpoints = train(USERS), Checkpoints(tmp_path / "training", "base-1")

    def interrupt(user, taken):
        if (user, taken) == (USERS[-1], step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(USERS, checkpoints=checkpoints, on_step=interrupt)
    resumed = train(USERS, checkpoints=checkpoints)
    for user in USERS:
        assert np.array_equal(resumed[user].adapter.values, expected[user].adapter.values)


def test_a_run_begins_anew_where_the_curvature_is_another(train, general, base_of, inject, tmp_path):
    checkpoints = Checkpoints(tmp_path / "training", "base-1")
    base = base_of("adapted", torch.float64)
    other = 2 * measure_curvature(base, inject(base, "norm+bank"), general)

    def interrupt(user, taken):
        if taken == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(["alice"], checkpoints=checkpoints, on_step=interrupt)
    taken = []
    train(["alice"], given=other, checkpoints=checkpoints, on_step=lambda user, step: taken.append(step))
    assert taken[0] == 1


# What cannot be


def test_without_a_curvature_nothing_is_trained(train):
    with pytest.raises(InvalidInput, match="no curvature is given"):
        train(USERS, given=None)


@pytest.mark.parametrize("other", [{"parameter": "gain"}, {"method": "lora-r4"}])
def test_gains_themselves_and_baselines_have_no_curvature(other):
    with pytest.raises(InvalidInput, match="'natural'"):
        replace(RECIPE, **other)
