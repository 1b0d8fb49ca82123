import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sharedllm.evaluation.cross_validation import CrossValidated
from sharedllm.evaluation.gate import Gate, characters_wanted
from sharedllm.evaluation.intervals import Interval, improvement
from sharedllm.evaluation.perplexity import Losses

CANDIDATES = [(0, 0.0), *((step, scale) for step in (5, 10, 20) for scale in (0.25, 0.5, 0.75, 1.0))]
BLOCKS = np.repeat(np.arange(4), 2)
TOKENS = 50
READ = arrays(np.float64, (len(CANDIDATES), len(BLOCKS)), elements=st.floats(1, 500))
GENERAL = [Losses(np.full(8, 100.0), TOKENS)] * 2


def measured(nats):
    return CrossValidated(CANDIDATES, np.asarray(nats, np.float64), TOKENS, BLOCKS, 2_400)


def falling(per_scale, noise=0.0):
    """Every step's row lowers each window's loss by so much, and no two windows alike."""
    random = np.random.default_rng(0)
    nats = np.tile(random.uniform(150, 250, len(BLOCKS)), (len(CANDIDATES), 1))
    for number, (step, scale) in enumerate(CANDIDATES):
        nats[number] -= (scale > 0) * (per_scale * scale * min(step, 10) + random.normal(0, noise, len(BLOCKS)))
    return measured(nats)


@settings(max_examples=50, deadline=None)
@given(READ)
def test_the_candidate_that_reads_everything_best_is_chosen_and_of_equals_what_learns_least(nats):
    found = measured(nats)
    assert nats.sum(axis=1)[CANDIDATES.index(found.chosen)] == nats.sum(axis=1).min()
    assert measured(np.ones_like(nats)).chosen == (0, 0.0)


@settings(max_examples=50, deadline=None)
@given(READ)
def test_no_block_has_a_part_in_choosing_what_it_judges(nats):
    found = measured(nats)
    if found.chosen == (0, 0.0):
        return
    prior, own = found.losses()
    assert np.array_equal(prior.nats, nats[0])
    for block in range(4):
        tested = block == BLOCKS
        chosen_by_others = nats[:, ~tested].sum(axis=1).argmin()
        assert np.array_equal(own.nats[tested], nats[chosen_by_others, tested])


@settings(max_examples=50, deadline=None)
@given(READ)
def test_where_nothing_helps_nothing_is_learnt_and_the_difference_is_exactly_none(nats):
    found = measured(np.vstack([np.zeros((1, len(BLOCKS))), nats[1:]]))
    assert found.chosen == (0, 0.0)
    assert found.smaller == []
    prior, own = found.losses()
    assert np.array_equal(prior.nats, own.nats)


@settings(max_examples=50, deadline=None)
@given(READ)
def test_gentler_reads_are_of_the_scale_that_was_asked_for_or_less(nats):
    found = measured(nats)
    _, scale = found.chosen
    assert found.smaller == [each / scale for each in (0.25, 0.5, 0.75) if each < scale]
    for fraction in found.smaller:
        _, own = found.losses(fraction)
        allowed = [number for number, (_, each) in enumerate(CANDIDATES) if each <= fraction * scale + 1e-9]
        assert all(own.nats[window] in nats[allowed, window] for window in range(len(BLOCKS)))


def test_an_equal_gain_everywhere_is_found_as_it_is():
    found = falling(1.0)
    assert found.chosen == (10, 1.0)
    assert improvement(*found.losses()).estimate == pytest.approx(1 - np.exp(-10 / TOKENS))
    assert improvement(*found.losses(0.5)).estimate == pytest.approx(1 - np.exp(-5 / TOKENS))


# The gate


def test_what_clearly_helps_passes_and_says_how_it_was_judged():
    found = falling(1.0, noise=1.0)
    outcome = Gate().decide(found.losses(), GENERAL, cross_validated=found)
    assert outcome.passed
    assert outcome.reason.startswith("passed: cross-validated over 4 blocks, perplexity is ")
    assert outcome.figures["cross_validated"] == found.as_dict()
    assert (found.as_dict()["blocks"], found.as_dict()["windows"]) == (4, 8)
    json.dumps(outcome.figures, allow_nan=False)


@pytest.mark.parametrize("found", [falling(0.1, noise=8.0), falling(-1.0)], ids=["in doubt", "not at all"])
def test_not_yet_is_an_answer_of_its_own_which_says_how_much_text_would_probably_do(found):
    outcome = Gate().decide(found.losses(), GENERAL, cross_validated=found)
    assert not outcome.passed
    assert outcome.reason.startswith("held back: not yet: cross-validated over 4 blocks, perplexity is ")
    wanted = outcome.figures["not_yet"]["characters"]
    assert wanted > found.characters
    assert f"some {wanted:,} would probably tell" in outcome.reason


def test_what_helps_and_harms_general_text_alone_is_not_a_matter_of_too_little_text():
    found = falling(1.0)
    worse = [GENERAL[0], Losses(GENERAL[0].nats + 20, TOKENS)]
    outcome = Gate().decide(found.losses(), worse, cross_validated=found)
    assert "general text may get" in outcome.reason
    assert "not_yet" not in outcome.figures


@settings(deadline=None)
@given(st.floats(0.001, 0.3), st.floats(0.001, 0.3), st.integers(2_000, 40_000))
def test_how_much_more_is_wanted_follows_from_the_intervals_width(estimate, below, characters):
    wanted = characters_wanted(Interval(estimate, estimate - below, estimate + below, 0.95, 8), characters)
    times = (below / estimate) ** 2
    expected = characters * (2 if times > 10 else max(1.5, times))
    assert expected <= wanted <= 1.1 * expected + 1


def test_of_what_does_not_help_so_far_twice_as_much_is_asked_for():
    assert characters_wanted(Interval(-0.01, -0.05, 0.02, 0.95, 8), 3_000) == 6_000
    assert characters_wanted(Interval(0.0, 0.0, 0.0, 0.95, 8), 3_000) == 6_000
