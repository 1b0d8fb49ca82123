"""Training that goes on from a row somebody has, in place of the base."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sharedllm.adapters.adapter import Adapter
from sharedllm.errors import WrongBase
from sharedllm.evaluation.perplexity import row_losses
from sharedllm.training.checkpoints import Checkpoints
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors

RECIPE = Recipe("r", learning_rate=2e-2, steps=8, window=16, check_every=3)


@pytest.fixture
def base(base_of):
    return base_of("llama", torch.float64)


@pytest.fixture
def train(base, inject, text_of):
    """Train some users on the small float64 base, from a row each where one is given."""
    injection = inject(base)

    def train(users, recipe=RECIPE, **options):
        results = train_vectors(base, injection, map(text_of, users), recipe, **options)
        return {result.user: result for result in results}

    return train


@pytest.fixture
def start(train):
    """Alice's row, made from a text of hers."""
    return train(["alice"], replace(RECIPE, steps=20))["alice"].adapter


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "training", "base-1")


def stop_at(step):
    def on_step(_, taken):
        if taken == step:
            raise KeyboardInterrupt

    return on_step


@pytest.mark.parametrize("parameter", ["relative", "gain"])
def test_no_step_leaves_the_row_it_began_with(train, start, parameter):
    still = replace(RECIPE, parameter=parameter, steps=1, learning_rate=0.0)
    row = train(["bob"], still, starts={"bob": start})["bob"].adapter.values
    np.testing.assert_allclose(row, start.values, rtol=1e-6)


@pytest.mark.slow
def test_a_row_of_zeros_is_the_base(train, base):
    zeros = Adapter("norm", base.fingerprint, np.zeros_like(train(["alice"])["alice"].adapter.values))
    plain, begun = (train(["alice"], starts=starts)["alice"] for starts in ({}, {"alice": zeros}))
    assert np.array_equal(plain.adapter.values, begun.adapter.values)


@pytest.mark.slow
def test_training_goes_on_where_it_was_and_others_begin_at_the_base(train, start):
    alone = train(["bob", "carol"])
    grown = train(["bob", "carol"], starts={"bob": start})
    assert np.array_equal(grown["carol"].adapter.values, alone["carol"].adapter.values)
    near, far = (np.abs(each["bob"].adapter.values - start.values).mean() for each in (grown, alone))
    assert near < far


@pytest.mark.slow
def test_what_was_learnt_is_kept_better_than_by_beginning_anew(train, start, base, inject, text_of):
    """Bob's text comes to Alice's row, and Alice's own is gone."""
    again = train(["bob"], replace(RECIPE, steps=20))["bob"].adapter
    grown = train(["bob"], replace(RECIPE, steps=20), starts={"bob": start})["bob"].adapter
    table = np.stack([np.zeros_like(start.values), again.values, grown.values])
    injection = inject(base)
    nothing, new, added = (each.nats_per_token for each in row_losses(base, injection, table, text_of("bob").heldout))
    assert max(new, added) < nothing
    _, forgot, kept = (each.nats_per_token for each in row_losses(base, injection, table, text_of("alice").heldout))
    assert kept < forgot


@pytest.mark.parametrize("step", [1, 3, 8])
def test_an_interrupted_run_ends_with_the_same_bits(train, start, checkpoints, step):
    expected = train(["bob"], starts={"bob": start})["bob"]
    with pytest.raises(KeyboardInterrupt):
        train(["bob"], starts={"bob": start}, checkpoints=checkpoints, on_step=stop_at(step))
    taken = []
    resumed = train(["bob"], starts={"bob": start}, checkpoints=checkpoints, on_step=lambda *each: taken.append(each))
    assert np.array_equal(resumed["bob"].adapter.values, expected.adapter.values)
    assert taken == [("bob", each) for each in range(step + 1, 9)]


def test_a_run_from_another_row_begins_anew(train, start, checkpoints):
    with pytest.raises(KeyboardInterrupt):
        train(["bob"], checkpoints=checkpoints, on_step=stop_at(4))
    taken = []
    train(["bob"], starts={"bob": start}, checkpoints=checkpoints, on_step=lambda *each: taken.append(each))
    assert taken[0] == ("bob", 1)


@pytest.mark.parametrize("stray", [{"base": "other"}, {"format": "ia3"}, {"values": np.zeros(3, np.float32)}])
def test_a_row_of_another_base_or_format_is_refused(train, start, stray):
    with pytest.raises(WrongBase):
        train(["bob"], starts={"bob": replace(start, **stray)})
