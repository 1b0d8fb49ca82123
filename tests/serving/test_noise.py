"""Noise by token: what is drawn, and how little it minds rounding."""

import numpy as np
import pytest
import torch

from sharedllm.serving.noise import keys_of, noisiest, variables
from sharedllm.serving.request import Sampling


def keys(count, **sampling):
    return keys_of([Sampling(**sampling)] * count, range(count))


def of_all(keys, size):
    """The variables of a whole vocabulary, ``[rows, size]``."""
    blocks = torch.arange(-(-size // 64), dtype=torch.int32)
    return torch.stack([variables(key.expand(len(blocks), -1), blocks, torch.float64).flatten()[:size] for key in keys])


def test_it_depends_on_seed_choice_and_position_alone():
    made = [
        keys_of([Sampling(seed=s, choice=c)], [p]) for s in (0, 1, -1, 2**63) for c in (0, 1) for p in (0, 1, 10**9)
    ]
    assert len({tuple(each[0].tolist()) for each in made}) == len(made)
    asked = [Sampling(seed=7), Sampling(seed=7, temperature=2, top_p=0.1)]
    assert keys_of(asked, [3, 3])[0].tolist() == keys_of(asked, [3, 3])[1].tolist()


def test_it_stays_what_it_was():
    for seed, choice, position in ((0, 0, 0), (7, 1, 63), (7, 1, 64), (-3, 2, 1000), (2**53 - 1, 0, 10**9)):
        generator = np.random.Philox(key=np.array([seed % 2**64, choice], np.uint64), counter=position)
        expected = np.array([generator.random_raw()], np.uint64).view(np.int32).tolist()
        assert keys_of([Sampling(seed=seed, choice=choice)], [position])[0].tolist() == expected


@pytest.mark.slow
def test_variables_are_exponential_and_those_of_different_tokens_and_places_have_nothing_to_do_with_one_another():
    found = of_all(keys(2000, seed=3), 200).numpy()
    # The mean and the share below some bounds, for each token of its own.
    assert found.mean(0) == pytest.approx(np.ones(200), abs=0.12)
    for bound in (0.01, 0.1, 1.0, 3.0):
        assert (found < bound).mean() == pytest.approx(1 - np.exp(-bound), abs=0.005)
    below = (found < 0.7).astype(float)
    assert np.abs(np.corrcoef(below.T) - np.eye(200)).max() < 0.12
    assert np.abs(np.corrcoef(below[:300]) - np.eye(300)).max() < 0.4


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("size", [1, 5, 64, 65, 1000])
def test_looking_at_the_blocks_that_can_win_finds_what_looking_at_all_does(size, spread):
    scores = spread * torch.randn(60, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    scores[:, ::7] = -torch.inf if size > 1 else 0.0
    made = keys(60, seed=5)
    assert noisiest(scores, made) == (scores - of_all(made, size).log()).argmax(1).tolist()


def test_of_tokens_that_are_alike_each_is_drawn_as_often():
    drawn = np.bincount(noisiest(torch.zeros(6000, 130), keys(6000)), minlength=130)
    assert ((drawn - 6000 / 130) ** 2 / (6000 / 130)).sum() < 200


def test_a_token_is_drawn_however_unlikely_where_it_is_the_only_one():
    scores = torch.full((500, 300), -torch.inf)
    scores[:, 77] = 0.0
    assert noisiest(scores, keys(500)) == [77] * 500


def test_rounding_turns_few_tokens():
    """By a place in the sum of all probabilities, it turns one of three at this size."""
    scores = 2.5 * torch.randn(300, 20_000, generator=torch.Generator().manual_seed(1))
    rounded = scores + 0.02 * torch.randn(scores.shape, generator=torch.Generator().manual_seed(2))
    made = keys(300)
    turned = np.mean(np.array(noisiest(scores, made)) != np.array(noisiest(rounded, made)))
    assert turned < 0.06
