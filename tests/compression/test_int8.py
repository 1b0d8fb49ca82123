import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sharedllm.base.sites import site_gains
from sharedllm.compression.int8 import Int8, quantise, through_gains
from sharedllm.errors import InvalidInput

# What float32 adds to exact arithmetic: the scale and the product are rounded once each.
ROUNDING = 1 + 1e-6
FINITE = st.floats(-65504, 65504, width=16)


@st.composite
def rows(draw):
    widths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    return draw(arrays.arrays(np.float32, sum(widths), elements=FINITE)), widths


def each_tensor(packed, *others):
    ends = np.cumsum(packed.widths)[:-1]
    return zip(packed.scales, np.split(packed.values, ends), *(np.split(row, ends) for row in others), strict=True)


def test_golden():
    """Computed by hand: scales 0.5 and 1; 0.8 / 0.5 rounds to 2, and 0.25 / 0.5 is a half, which goes to even."""
    packed = quantise(np.array([63.5, 0.8, 0.25, -127, 3.4], np.float32), [3, 2])
    assert packed.values.tolist() == [127, 2, 0, -127, 3]
    assert packed.scales.tolist() == [0.5, 1.0]
    assert packed.dequantised().tolist() == [63.5, 1.0, 0.0, -127.0, 3.0]
    assert (packed.values.dtype, packed.scales.dtype, packed.dequantised().dtype) == (np.int8, np.float32, np.float32)


@given(rows())
def test_no_value_moves_by_more_than_half_a_scale_and_zeros_stay(row):
    values, widths = row
    packed = quantise(values, widths)
    for scale, _, before, after in each_tensor(packed, values, packed.dequantised()):
        assert (abs(before - after) <= scale / 2 * ROUNDING + 1e-6 * abs(before)).all()
        assert (after[before == 0] == 0).all()
        assert (after * before >= 0).all()


@given(rows())
def test_the_largest_value_of_a_tensor_is_kept(row):
    values, widths = row
    packed = quantise(values, widths)
    for scale, integers, before, after in each_tensor(packed, values, packed.dequantised()):
        largest = abs(before).argmax()
        assert scale == np.float32(abs(before[largest]) / np.float32(127))
        if scale > 0:
            assert abs(int(integers[largest])) == 127
            assert after[largest] == pytest.approx(before[largest], rel=1e-6)


@given(rows())
def test_quantising_again_changes_nothing(row):
    values, widths = row
    once = quantise(values, widths)
    twice = quantise(once.dequantised(), widths)
    assert (twice.values == once.values).all()
    np.testing.assert_allclose(twice.scales, once.scales, rtol=1e-6)


@given(rows())
def test_float16_in_between_does_not_lose_the_integers(row):
    """The store keeps float16; with the recorded scales a release's integers are found again."""
    values, widths = row
    packed = quantise(values, widths)
    stored = packed.dequantised().astype(np.float16).astype(np.float32)
    scales = np.repeat(packed.scales, widths)
    # Below its smallest normal number float16 has steps of its own.
    told = (scales > 2**-14) & (abs(stored) < np.inf)
    assert (np.rint(stored[told] / scales[told]) == packed.values[told]).all()


def test_a_tensor_has_its_own_scale():
    small = quantise(np.array([0.01, -0.003], np.float32), [2])
    beside_large = quantise(np.array([0.01, -0.003, 500], np.float32), [2, 1])
    assert (beside_large.values[:2] == small.values).all()


@pytest.mark.parametrize("value", [0.0, 1e-45])
def test_a_tensor_of_nothing_is_zeros(value):
    packed = quantise(np.full(3, value, np.float32), [3])
    assert not packed.values.any()
    assert not packed.dequantised().any()


def test_its_size_is_a_byte_a_value_and_four_a_tensor():
    packed = quantise(np.ones(576 * 61, np.float32), [576] * 61)
    assert packed.bytes == 35_136 + 4 * 61


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused_and_named(bad):
    with pytest.raises(InvalidInput, match=r"Value 1 is -?(nan|inf)"):
        quantise(np.array([0, bad], np.float32), [2])


@pytest.mark.parametrize(
    ("shape", "widths"), [((5,), [2, 2]), ((2, 2), [2, 2]), ((0,), []), ((2,), [2, 0]), ((2,), [3, -1])]
)
def test_widths_that_do_not_fit_are_refused(shape, widths):
    with pytest.raises(InvalidInput, match="tensors"):
        quantise(np.ones(shape, np.float32), widths)


def test_through_gains_is_the_documents_way():
    gains = np.array([1.0, 2.0, 0.5], np.float32)
    deviations = np.array([0.27, 0.0, -0.1], np.float32)
    packed = quantise(np.array([1.27, 2.0, 0.45], np.float32), [3])
    expected = packed.dequantised() / gains - 1
    np.testing.assert_allclose(through_gains(deviations, gains, [3]), expected, atol=1e-6)


def test_small_deviations_are_lost_in_gains_and_not_by_themselves():
    """Gains near one have steps of 1/127, more than these deviations. By themselves they set the scale."""
    deviations = np.array([0.003, -0.002, 0.001], np.float32)
    in_gains = abs(through_gains(deviations, np.ones(3, np.float32), [3]) - deviations)
    by_themselves = abs(quantise(deviations, [3]).dequantised() - deviations)
    assert in_gains.max() > 0.002
    assert by_themselves.max() < 0.003 / 254 * ROUNDING


def test_a_silent_channel_has_no_deviation():
    changed = through_gains(np.array([0.5, 0.5], np.float32), np.array([0.0, 1.0], np.float32), [2])
    assert changed.tolist() == [0.0, 0.5]


def test_gains_that_do_not_go_with_the_deviations_are_refused():
    with pytest.raises(InvalidInput, match=r"\[2\] gains"):
        through_gains(np.ones(3, np.float32), np.ones(2, np.float32), [3])


@pytest.mark.parametrize("format", ["norm", "steering", "ia3", "bank", "norm+bank"])
def test_a_layouts_widths_are_all_it_takes(format, base_of, inject):
    layout = inject(base_of("adapted" if "bank" in format else "llama"), format).layout
    values = np.random.default_rng(0).normal(0, 0.05, layout.size).astype(np.float32)
    packed = quantise(values, layout.widths)
    assert isinstance(packed, Int8)
    assert len(packed.scales) == len(layout.sites)
    if format == "norm":
        gains = site_gains(base_of().model, layout.sites).numpy()
        assert (
            abs(through_gains(values, gains, layout.widths) - values).max() > abs(packed.dequantised() - values).max()
        )
