"""Text too little to hold any of it out: its folds are rows of the same batch."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cli.conftest import writing

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.evaluation.perplexity import row_losses, spread
from sharedllm.text.folds import FOLDS, tokenize_to_train
from sharedllm.text.splits import split_text
from sharedllm.training import little, vectors
from sharedllm.training.checkpoints import Checkpoints
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors

RECIPE = Recipe("r", learning_rate=2e-2, steps=8, windows_per_step=1, window=64, check_every=4)
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


@pytest.fixture
def base(base_of):
    return base_of("llama", torch.float64)


@pytest.fixture
def train(base):
    """Train some texts, to what came of them by user."""

    def train(texts, recipe=RECIPE, **options):
        injection = Injection(base, layout_of(base, recipe.method))
        try:
            return {each.user: each for each in train_vectors(base, injection, iter(texts), recipe, **options)}
        finally:
            injection.remove()

    return train


@pytest.fixture
def page(base):
    """A page of somebody's, in folds."""

    def page(user, characters=2_400):
        text = tokenize_to_train(user, split_text(writing(user, characters)), base.encode, window=RECIPE.window)
        assert len(text.folds) == FOLDS
        return text

    return page


def same_bits(first, second):
    return (
        first.adapter.values.tobytes() == second.adapter.values.tobytes()
        and first.losses == second.losses
        and first.cross_validated.nats.tobytes() == second.cross_validated.nats.tobytes()
    )


@pytest.mark.slow
def test_a_page_is_trained_on_whole_and_says_how_it_was_judged(train, page):
    found = train([page("alice")])["alice"]
    provenance = found.adapter.provenance
    assert provenance["cross_validated"] == found.cross_validated.as_dict()
    assert provenance["cross_validated"]["blocks"] == FOLDS
    assert provenance["cross_validated"]["characters"] == 2_400
    assert (provenance["text_sha256"], provenance["recipe"]) == (page("alice").sha256, RECIPE.as_dict())
    step, scale = found.cross_validated.chosen
    assert 0 < step <= provenance["steps"] and 0 < scale <= 1
    assert [each for each, _ in found.losses] == [1, 2, 4, 8][: len(found.losses)]


def test_the_row_is_that_of_the_whole_text_at_the_chosen_step_and_scale(train, page, base):
    """As training on all of it would give without any folds."""
    text = page("alice")
    constant = train([text], replace(RECIPE, schedule="constant"))["alice"]
    at, by = constant.cross_validated.chosen
    plain = train([replace(text, folds=())], replace(RECIPE, steps=at, schedule="constant", check_every=0))["alice"]
    np.testing.assert_allclose(constant.adapter.values, np.float32(by) * plain.adapter.values, rtol=1e-4, atol=1e-6)


def test_every_block_is_read_by_a_row_that_has_not_seen_it(train, page, base):
    text = page("alice")
    recipe = replace(RECIPE, check_every=0, steps=4)
    found = train([text], recipe)["alice"].cross_validated
    injection = Injection(base, layout_of(base, "norm"))
    try:
        for number, fold in enumerate(text.folds):
            alone = replace(text, train=fold.train, folds=())
            (row,) = train_vectors(base, injection, [alone], recipe)
            table = np.stack([np.zeros_like(row.adapter.values), row.adapter.values])
            nothing, whole = row_losses(base, injection, table, spread(fold.windows, little.BLOCK_WINDOWS))
            tested = found.blocks == number
            np.testing.assert_allclose(found.nats[0, tested], nothing.nats, rtol=1e-6)
            np.testing.assert_allclose(found.nats[found.candidates.index((4, 1.0)), tested], whole.nats, rtol=1e-5)
    finally:
        injection.remove()


@pytest.mark.slow
def test_pages_and_long_texts_train_in_one_batch_as_alone(train, page, text_of):
    texts = [text_of("carol", window=64), page("alice"), text_of("dan", window=64), page("bob", 2_700)]
    together = train(texts)
    for text in texts:
        alone = train([text])[text.user]
        np.testing.assert_allclose(together[text.user].adapter.values, alone.adapter.values, **CLOSE)
        assert [step for step, _ in together[text.user].losses] == [step for step, _ in alone.losses]


def test_where_nothing_helps_the_row_is_zero_which_is_the_prior_exactly(train, page):
    found = train([page("alice")], replace(RECIPE, learning_rate=0.0))["alice"]
    assert found.cross_validated.chosen == (0, 0.0)
    assert not found.adapter.values.any()
    prior, own = found.cross_validated.losses()
    assert np.array_equal(prior.nats, own.nats)


def test_training_ends_when_steps_were_doubled_without_reading_better(train, page, monkeypatch):
    read = little.read_blocks
    calls = []

    def worse(*arguments):
        found = read(*arguments)
        calls.append(found)
        found[-len(little.SCALES) :] += 1_000 * len(calls)
        return found

    monkeypatch.setattr(little, "read_blocks", worse)
    found = train([page("alice")])["alice"]
    assert [step for step, _ in found.losses] == [1]
    assert found.adapter.provenance["steps"] == 1


@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2_000, 8_000), st.integers(0, 5))
def test_any_little_text_is_trained(train, base, characters, seed):
    split = split_text(writing(f"person {seed}", characters))
    text = tokenize_to_train("alice", split, base.encode, window=256)
    found = train([text], replace(RECIPE, window=256, steps=4))["alice"]
    assert found.error is None
    assert np.isfinite(found.adapter.values).all()


# Resuming


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, pytest.param(2, marks=pytest.mark.rare), 5])
def test_an_interrupted_run_ends_with_the_same_bits(train, page, tmp_path, step):
    texts = [page("alice"), page("bob", 2_600)]
    expected = train(texts)
    checkpoints = Checkpoints(tmp_path / "training", "base-1")

    def interrupt(user, at):
        if (user, at) == ("bob", step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(texts, checkpoints=checkpoints, on_step=interrupt)
    taken = []
    resumed = train(texts, checkpoints=checkpoints, on_step=lambda _, at: taken.append(at))
    assert min(taken) == step + 1
    assert all(same_bits(resumed[user], expected[user]) for user in ("alice", "bob"))


@pytest.mark.slow
def test_a_page_alone_that_was_killed_ends_with_the_same_bits(train, page, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "_CHECKPOINT_SECONDS", 0.0)
    checkpoints, copied = Checkpoints(tmp_path / "training", "base-1"), tmp_path / "as it was"

    def on_step(user, step):
        if step == 5:
            shutil.copytree(tmp_path / "training", copied)

    expected = train([page("alice")], checkpoints=checkpoints, on_step=on_step)["alice"]
    taken = []
    survivor = Checkpoints(copied, "base-1")
    resumed = train([page("alice")], checkpoints=survivor, on_step=lambda _, step: taken.append(step))["alice"]
    assert taken[0] == 5
    assert same_bits(resumed, expected)


@pytest.mark.slow
def test_a_checkpoint_of_other_folds_is_trained_over(train, page, tmp_path):
    text, checkpoints = page("alice"), Checkpoints(tmp_path, "base-1")
    expected = train([text])["alice"]

    def interrupt(user, step):
        if step == 3:
            raise KeyboardInterrupt

    for other in (replace(text, folds=()), replace(text, folds=text.folds[:2])):
        with pytest.raises(KeyboardInterrupt):
            train([other], replace(RECIPE, check_every=0), checkpoints=checkpoints, on_step=interrupt)
        path = next(iter(tmp_path.glob("*.safetensors")))
        path.rename(tmp_path / Checkpoints(tmp_path, "base-1")._path("alice", text.sha256, RECIPE, None).name)
        assert same_bits(train([text], checkpoints=checkpoints)["alice"], expected)
