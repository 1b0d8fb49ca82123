import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm.errors import InvalidInput
from sharedllm.evaluation import intervals
from sharedllm.evaluation.intervals import foretold, improvement, ratio, resampled_sums
from sharedllm.evaluation.perplexity import Losses

TOKENS = 255


def losses(per_token, tokens=TOKENS):
    return Losses(np.asarray(per_token, dtype=float) * tokens, tokens)


def test_golden():
    """Every token half as surprising by ln 2: perplexity falls by half, and no window disagrees."""
    interval = improvement(losses([2.0, 3.0, 4.0]), losses(np.array([2.0, 3.0, 4.0]) - np.log(2)))
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (interval.confidence, interval.windows) == (0.95, 3)
    assert str(interval) == "+50.0% [+50.0%, +50.0%]"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=2, max_size=40))
def test_the_estimate_is_the_ratio_of_the_perplexities_and_lies_inside(pairs):
    reference, model = losses([pair[0] for pair in pairs]), losses([pair[1] for pair in pairs])
    interval = improvement(reference, model)
    assert interval.estimate == pytest.approx(1 - model.perplexity / reference.perplexity, rel=1e-9, abs=1e-9)
    slack = 1e-9 * (1 + abs(interval.low))
    assert interval.low - slack <= interval.estimate <= interval.high + slack


def test_what_makes_a_window_hard_cancels():
    random = np.random.default_rng(0)
    hard = random.uniform(1, 9, 32)
    gain = random.normal(0.1, 0.01, 32)
    interval = improvement(losses(hard), losses(hard - gain))
    assert interval.high - interval.low < 0.01
    unpaired = improvement(losses(hard), losses(random.permutation(hard) - gain))
    assert unpaired.high - unpaired.low > 0.5


def test_the_same_losses_give_the_same_interval():
    random = np.random.default_rng(1)
    first, second = losses(random.normal(3, 1, 20)), losses(random.normal(3, 1, 20))
    assert improvement(first, second) == improvement(first, second)
    assert improvement(first, second, seed=1) != improvement(first, second, seed=2)


def test_swapping_the_two_swaps_the_ends_in_log_space():
    random = np.random.default_rng(2)
    first, second = losses(random.normal(3, 1, 20)), losses(random.normal(3, 1, 20))
    there, back = improvement(first, second), improvement(second, first)
    assert 1 - back.low == pytest.approx(1 / (1 - there.high))
    assert 1 - back.high == pytest.approx(1 / (1 - there.low))


def test_a_multinomial_draw_is_resampling_with_replacement():
    random = np.random.default_rng(3)
    difference = random.normal(-0.1, 0.2, 15)
    interval = improvement(losses(np.full(15, 4.0)), losses(4.0 + difference), resamples=40_000)
    means = difference[random.integers(15, size=(40_000, 15))].mean(axis=1)
    # Student's t table, 14 degrees of freedom: 2.1448. Expanded by sqrt(15 / 14) it cuts 1.32 % of a normal's tail.
    high, low = 1 - np.exp(np.quantile(means, [0.0132, 1 - 0.0132]))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.004)


def test_four_windows_show_an_improvement_only_if_each_of_them_improves():
    reference = losses([4.0, 4.0, 4.0, 4.0])
    assert improvement(reference, losses([3.9, 3.8, 3.9, 3.99])).low > 0
    assert improvement(reference, losses([3.5, 3.5, 3.5, 4.01])).low < 0


@pytest.mark.slow
@pytest.mark.parametrize("windows", [6, 10])
def test_few_windows_widen_the_interval_enough(windows):
    random = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        change = random.normal(-0.05, 0.1, windows)
        interval = improvement(losses(np.full(windows, 3.0)), losses(3.0 + change), resamples=1_000, seed=trial)
        covered += interval.low <= 1 - np.exp(-0.05) <= interval.high
    assert covered / 300 >= 0.9


@pytest.mark.slow
def test_it_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(4)
    truth = 1 - np.exp(-0.05)
    covered = 0
    for trial in range(200):
        hard = random.uniform(2, 5, 32)
        interval = improvement(losses(hard), losses(hard + random.normal(-0.05, 0.1, 32)), resamples=1_000, seed=trial)
        covered += interval.low <= truth <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["reference", "model", "both"])
def test_a_loss_that_is_not_finite_is_refused(poison, which):
    good, bad = losses([1.0, 2.0, 3.0]), losses([1.0, poison, 3.0])
    pair = {"reference": (bad, good), "model": (good, bad), "both": (bad, bad)}[which]
    with pytest.raises(InvalidInput, match="not finite"):
        improvement(*pair)


@pytest.mark.parametrize(
    ("reference", "model"),
    [(losses([1, 2, 3]), losses([1, 2])), (losses([1, 2], 255), losses([1, 2], 127))],
    ids=["windows", "tokens"],
)
def test_other_windows_cannot_be_paired(reference, model):
    with pytest.raises(InvalidInput, match="paired"):
        improvement(reference, model)


@pytest.mark.parametrize("nothing", [losses([]), losses([3.0]), losses([3.0, 3.0], tokens=0)])
def test_too_few_windows_are_no_evidence(nothing):
    with pytest.raises(InvalidInput, match="too few"):
        improvement(nothing, nothing)


# Of text that is gone


def three(gained, change):
    """Losses of a base, of a model that had gained so much a window, and of the next one."""
    hard = np.linspace(3, 5, len(gained))
    return losses(hard), losses(hard - gained), losses(hard - gained + change)


def test_what_changes_where_as_much_was_gained_is_read_off_the_line():
    gained = np.array([0.0, 0.1, 0.2, 0.3])
    told = foretold(*three(gained, 0.5 * gained - 0.05), gain=0.2)
    assert (told.estimate, told.low, told.high) == pytest.approx([1 - np.exp(0.05)] * 3)
    assert told.windows == 4


def test_the_interval_holds_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        gained = random.normal(0.1, 0.05, 8)
        told = foretold(*three(gained, 0.3 * gained - 0.04 + random.normal(0, 0.02, 8)), gain=0.15)
        held += told.low <= 1 - np.exp(0.3 * 0.15 - 0.04) <= told.high
    assert 0.92 <= held / 400 <= 0.98


def test_it_tells_less_the_less_the_texts_have_in_common():
    random = np.random.default_rng(0)
    gained = random.normal(0.0, 0.02, 16)
    measured = three(gained, random.normal(-0.1, 0.02, 16))
    near, far = (foretold(*measured, gain=gain) for gain in (0.0, 0.2))
    assert far.high - far.low > 4 * (near.high - near.low)
    assert foretold(*measured, gain=5.0) is None


def test_of_windows_that_are_few_or_all_alike_nothing_is_told_but_what_they_are():
    assert foretold(*three(np.array([0.1, 0.2, 0.3]), np.zeros(3)), gain=0.2) is None
    alike = three(np.zeros(4), np.full(4, -0.1))
    assert foretold(*alike, gain=0.1) is None
    assert foretold(*alike, gain=0.0).estimate == pytest.approx(1 - np.exp(-0.1))


def test_a_ratio_weighs_windows_by_what_is_in_them():
    found = ratio([1, 9], [2, 18])
    assert found.estimate == 0.5
    assert ratio([1, 0], [2, 8]).estimate == 0.1
    assert (ratio([0], [0]), ratio([], [])) == (None, None)
    assert ratio([1], [2]).low is None


def test_a_difference_of_ratios_is_paired():
    """What makes a window hard for both models cancels."""
    wholes = np.full(40, 10)
    hard = np.arange(40) % 8
    found = ratio(hard + 1, wholes, hard)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    alone = ratio(hard + 1, wholes)
    assert alone.high - alone.low > 0.1


def test_the_interval_of_a_ratio_covers_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        wholes = random.integers(5, 30, 24)
        found = ratio(random.binomial(wholes, 0.3), wholes, resamples=500)
        covered += found.low <= 0.3 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


@pytest.mark.parametrize("count", [5, 300])
def test_resamples_are_those_of_one_draw_however_few_are_in_memory(count, monkeypatch):
    random = np.random.default_rng(1)
    values, rows = random.normal(size=count), random.normal(size=(count, 3))
    drawn = np.random.default_rng(7).multinomial(count, np.full(count, 1 / count), size=1_000)
    monkeypatch.setattr(intervals, "_DRAWN_AT_ONCE", 7 * count + 1)
    found = resampled_sums(values, rows, resamples=1_000, seed=7)
    np.testing.assert_allclose(found[0], drawn @ values, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found[1], drawn @ rows, rtol=1e-12, atol=1e-12)
