import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sharedllm.combining.mixture import (
    attributions,
    bayesian_mixture,
    best_fixed_mixture,
    soft_bayes,
    soft_bayes_rate,
    soft_bayes_regret,
    uniform_mixture,
)
from sharedllm.errors import InvalidInput

LOG_PROBABILITY = st.floats(-200, 0)
MEMBERS = arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=LOG_PROBABILITY)
CLOSE = 1e-10


def perplexity(log_probabilities):
    return math.exp(-log_probabilities.mean())


def test_golden():
    """Half of 1/2 and 1/8 is 5/16; then, once the first was right four times as often, 4/5 of 1/4 and 1/5 of 1/2."""
    members = np.log([[1 / 2, 1 / 4], [1 / 8, 1 / 2]])
    assert np.exp(uniform_mixture(members).log_probabilities) == pytest.approx([5 / 16, 3 / 8])
    mixture = bayesian_mixture(members[0], members[1:])
    assert np.exp(mixture.log_probabilities) == pytest.approx([5 / 16, 4 / 5 / 4 + 1 / 5 / 2])
    assert np.exp(mixture.log_weights) == pytest.approx(np.array([[1 / 2, 4 / 5], [1 / 2, 1 / 5]]))


@given(MEMBERS)
def test_a_uniform_mixture_lies_between_the_mean_and_the_best_member(members):
    mixed = uniform_mixture(members).log_probabilities
    assert (mixed >= members.mean(axis=0) - CLOSE).all()
    assert (mixed <= members.max(axis=0) + CLOSE).all()
    assert (mixed >= members.max(axis=0) - np.log(len(members)) - CLOSE).all()


@given(arrays.arrays(np.float64, (3, 20), elements=st.floats(-10, 0)))
def test_its_perplexity_is_at_most_the_geometric_mean_of_the_members(members):
    geometric_mean = math.prod(map(perplexity, members)) ** (1 / len(members))
    assert perplexity(uniform_mixture(members).log_probabilities) <= geometric_mean * (1 + 1e-9)


@pytest.mark.slow
@given(MEMBERS, st.floats(0.01, 5))
def test_a_uniform_mixture_protects_against_nothing_when_all_are_worse_than_the_base(members, lead):
    base = np.minimum(members.max(axis=0) + lead, 0)
    worse = members - lead
    assert (uniform_mixture(worse).log_probabilities <= base + CLOSE).all()


@pytest.mark.slow
@given(MEMBERS, st.data())
def test_the_bayesian_mixture_loses_at_most_log_n_plus_1_to_the_best_whatever_the_text(members, data):
    base = data.draw(arrays.arrays(np.float64, members.shape[1], elements=LOG_PROBABILITY))
    total = bayesian_mixture(base, members).log_probabilities.sum()
    best = max(base.sum(), members.sum(axis=1).max())
    assert total >= best - math.log(len(members) + 1) - 1e-8
    assert total <= best + 1e-8


def test_adapters_that_always_harm_cost_a_constant_in_all():
    base, harmful = np.full(5_000, -3.0), np.full((3, 5_000), -4.0)
    loss = -bayesian_mixture(base, harmful).log_probabilities.sum()
    assert loss == pytest.approx(15_000 + math.log(4), abs=1e-6)
    assert -uniform_mixture(harmful).log_probabilities.sum() == pytest.approx(20_000)


@pytest.mark.slow
@given(MEMBERS)
def test_a_bayesian_mixture_is_the_posterior_predictive(members):
    """The same, said as a ratio of evidences rather than with weights."""
    base, others = members[0], members[1:]
    evidence = np.logaddexp.reduce(np.cumsum(members, axis=1), axis=0) - np.log(len(members))
    expected = np.diff(evidence, prepend=0.0)
    np.testing.assert_allclose(bayesian_mixture(base, others).log_probabilities, expected, atol=1e-8)


@pytest.mark.slow
@given(MEMBERS)
def test_no_token_is_predicted_with_weights_that_have_seen_it(members):
    changed = members.copy()
    changed[:, -1] = -1.0
    before, after = (bayesian_mixture(each[0], each[1:]).log_weights for each in (members, changed))
    assert (before == after).all()
    np.testing.assert_allclose(np.exp(before).sum(axis=0), 1)


@pytest.mark.slow
@given(MEMBERS)
def test_attributions_add_up_to_the_mixture(members):
    for mixture in (uniform_mixture(members), bayesian_mixture(members[0], members[1:])):
        credited = attributions(members, mixture.log_weights)
        assert np.abs(credited.sum(axis=0) - mixture.log_probabilities).max() < CLOSE
        assert (credited <= CLOSE).all()


def test_the_residual_of_bet_18s_size_is_rounding():
    """1,000 tokens and 3 specialists, their log-probabilities as a model gives them."""
    logits = np.random.default_rng(0).normal(0, 3, (3, 1000, 500))
    members = logits[..., 0] - np.logaddexp.reduce(logits, axis=2)
    mixture = uniform_mixture(members)
    # Against probabilities summed the plain way, not against the function's own logarithms.
    expected = np.log(np.exp(members).mean(axis=0))
    assert np.abs(attributions(members, mixture.log_weights).sum(axis=0) - expected).max() < CLOSE


def test_a_token_that_one_member_alone_expected_is_attributed_to_it():
    members = np.array([[-0.1], [-60.0], [-800.0]])
    credited = attributions(members, uniform_mixture(members).log_weights)
    assert credited[0, 0] == pytest.approx(-0.1 - math.log(3))
    assert np.abs(credited[1:]).max() < 1e-20


def test_a_mixture_may_be_a_member():
    certain = np.zeros((3, 5))
    mixed = uniform_mixture(certain).log_probabilities
    assert (bayesian_mixture(mixed, certain).log_probabilities <= 0).all()


def test_members_that_agree_share_alike():
    members = np.full((4, 3), -2.0)
    assert attributions(members, uniform_mixture(members).log_weights) == pytest.approx(np.full((4, 3), -0.5))


def test_windows_may_stay_apart():
    members = np.random.default_rng(0).uniform(-5, 0, (3, 4, 10))
    mixture = bayesian_mixture(members[0], members[1:])
    assert mixture.log_probabilities.shape == (4, 10)
    np.testing.assert_allclose(mixture.log_weights[:, :, 0], -np.log(3))
    alone = bayesian_mixture(members[0, 2], members[1:, 2])
    np.testing.assert_allclose(mixture.log_probabilities[2], alone.log_probabilities)
    np.testing.assert_allclose(attributions(members, mixture.log_weights).sum(axis=0), mixture.log_probabilities)


@pytest.mark.parametrize("bad", [0.1, np.nan, np.inf, -np.inf])
def test_what_is_no_log_probability_is_refused(bad):
    members = np.full((2, 3), -1.0)
    members[1, 2] = bad
    with pytest.raises(InvalidInput, match="above zero or not finite"):
        uniform_mixture(members)
    with pytest.raises(InvalidInput, match="above zero or not finite"):
        bayesian_mixture(members[0], members[1:])
    with pytest.raises(InvalidInput, match="above zero or not finite"):
        attributions(members, np.full((2, 3), -np.log(2)))


def test_shapes_that_do_not_go_together_are_refused():
    with pytest.raises(InvalidInput, match="not a mixture"):
        uniform_mixture(np.empty((0, 3)))
    with pytest.raises(InvalidInput, match="did not read"):
        bayesian_mixture(np.full(4, -1.0), np.full((2, 3), -1.0))
    with pytest.raises(InvalidInput, match="not those of"):
        attributions(np.full((2, 3), -1.0), np.full((3, 3), -1.0))


def loss_of(weights, predictors):
    return -np.logaddexp.reduce(np.log(np.maximum(weights, 1e-300))[:, None] + predictors, axis=0).sum()


def against(forecast, tokens):
    """Log-probabilities of two predictors of which each time the one that has more weight is the wrong one."""
    predictors = np.zeros((2, tokens))
    for token in range(tokens):
        wrong = int(forecast(predictors).log_weights[:, token].argmax())
        predictors[:, token] = np.log([0.999, 0.999])
        predictors[wrong, token] = np.log(0.001)
    return predictors


def test_soft_bayes_goes_a_part_of_the_way_to_the_posterior():
    """From a half each, the posterior after 1/2 and 1/8 is 4/5 and 1/5; half the way there is 13/20 and 7/20."""
    predictors = np.log([[1 / 2, 1 / 4], [1 / 8, 1 / 2]])
    mixture = soft_bayes(predictors, 0.5)
    assert np.exp(mixture.log_weights) == pytest.approx(np.array([[1 / 2, 13 / 20], [1 / 2, 7 / 20]]))
    assert np.exp(mixture.log_probabilities) == pytest.approx([5 / 16, 13 / 80 + 7 / 40])


@pytest.mark.slow
@given(MEMBERS, st.floats(1e-4, 0.9999), st.data())
def test_soft_bayes_never_loses_more_to_a_fixed_mixture_than_its_bound_says(predictors, rate, data):
    mixture = soft_bayes(predictors, rate)
    loss, tokens = -mixture.log_probabilities.sum(), predictors.shape[1]
    corner = np.eye(len(predictors))[data.draw(st.integers(0, len(predictors) - 1))]
    drawn = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=len(predictors), max_size=len(predictors))))
    for fixed in (best_fixed_mixture(predictors, tolerance=1e-3), corner, drawn / drawn.sum()):
        allowed = soft_bayes_regret(len(predictors), tokens, rate)
        assert loss - loss_of(fixed, predictors) <= allowed + 1e-6
    assert loss + predictors.sum(axis=1).max() <= math.log(len(predictors)) / rate + 1e-6
    np.testing.assert_allclose(np.exp(mixture.log_weights).sum(axis=0), 1)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_nor_where_whoever_is_believed_is_wrong_the_next_time(rate):
    predictors = against(lambda seen: soft_bayes(seen, rate), 60)
    regret = -soft_bayes(predictors, rate).log_probabilities.sum() - loss_of(
        best_fixed_mixture(predictors, tolerance=1e-3), predictors
    )
    assert 0 < regret <= soft_bayes_regret(2, 60, rate)


def test_two_who_are_right_in_turn_are_worth_more_together_than_the_bayesian_mixture_finds():
    predictors = np.log(np.where(np.arange(400) % 2 == np.arange(2)[:, None], 0.9, 0.1))
    rate = soft_bayes_rate(2, 400)
    assert soft_bayes_regret(2, 400, rate) <= 2 * math.sqrt(2 * 400 * math.log(2)) + math.log(2)
    soft = -soft_bayes(predictors, rate).log_probabilities.sum()
    best = loss_of(best_fixed_mixture(predictors, tolerance=1e-3), predictors)
    assert best == pytest.approx(-400 * math.log(0.5), abs=1)
    assert best <= soft < -bayesian_mixture(predictors[0], predictors[1:]).log_probabilities.sum()


@pytest.mark.slow
@given(MEMBERS, st.data())
def test_no_fixed_mixture_is_better_than_the_best(predictors, data):
    best = best_fixed_mixture(predictors, tolerance=1e-3)
    assert best.sum() == pytest.approx(1)
    other = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(predictors), max_size=len(predictors)))) + 1e-3
    assert loss_of(best, predictors) <= loss_of(other / other.sum(), predictors) + 1e-3 * predictors.shape[1]


@pytest.mark.parametrize("rate", [0.0, 1.0, math.nan])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(InvalidInput, match="The rate is"):
        soft_bayes(np.zeros((2, 3)), rate)
    with pytest.raises(InvalidInput, match="The rate is"):
        soft_bayes_regret(2, 3, rate)


def test_one_predictor_has_no_rate_and_several_sequences_no_one_best_mixture():
    with pytest.raises(InvalidInput, match="1 predictors of 3 tokens"):
        soft_bayes_rate(1, 3)
    with pytest.raises(InvalidInput, match="one sequence"):
        best_fixed_mixture(np.zeros((2, 2, 3)))
