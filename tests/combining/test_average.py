import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sharedllm.combining.average import average
from sharedllm.errors import InvalidInput

TABLES = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 20)), elements=st.floats(-1e4, 1e4, width=32)
)


def test_golden():
    assert average(np.array([[1, 2], [3, -2]], np.float32)).tolist() == [2.0, 0.0]


@given(TABLES)
def test_it_lies_between_the_rows_and_does_not_depend_on_their_order(table):
    mean = average(table)
    assert mean.dtype == np.float32
    assert ((table.min(axis=0) <= mean) & (mean <= table.max(axis=0))).all()
    np.testing.assert_allclose(average(table[::-1]), mean, rtol=1e-6, atol=1e-9)


@given(TABLES)
def test_one_user_many_times_is_that_user(table):
    assert (average(np.repeat(table[:1], 4, axis=0)) == table[0]).all()


def test_averaging_deviations_is_averaging_gains():
    random = np.random.default_rng(0)
    table, gains = random.normal(0, 0.1, (3, 50)).astype(np.float32), random.normal(1, 0.5, 50)
    np.testing.assert_allclose(gains * (1 + average(table)), (gains * (1 + table)).mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (np.empty((0, 3), np.float32), "no mean"),
        (np.ones(3, np.float32), "no mean"),
        (np.array([[1], [np.nan]], np.float32), "Row 1"),
    ],
)
def test_what_has_no_mean_is_refused(table, words):
    with pytest.raises(InvalidInput, match=words):
        average(table)
