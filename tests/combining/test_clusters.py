import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sharedllm.combining.clusters import cluster, cluster_count, cluster_means, pooled
from sharedllm.errors import InvalidInput
from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import TokenizedText

TABLES = arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(4)), elements=st.floats(0.125, 8, width=32))


def kinds(per_kind=5, spread=0.1):
    """Rows of three kinds, one after the other in turn, some three times as long as others."""
    random = np.random.default_rng(0)
    kinds = np.eye(3, 12)
    rows = kinds[np.arange(3 * per_kind) % 3] + random.normal(0, spread, (3 * per_kind, 12))
    return (rows * random.uniform(1, 3, (len(rows), 1))).astype(np.float32)


def test_rows_of_one_kind_are_together_however_long_they_are():
    assert cluster(kinds(), 3).tolist() == [0, 1, 2] * 5


def test_how_many_is_the_root_of_half_the_rows():
    assert [cluster_count(rows) for rows in (1, 2, 8, 18, 100)] == [1, 1, 2, 3, 7]
    assert set(cluster(kinds(per_kind=6))) == {0, 1, 2}


@given(TABLES, st.data())
def test_every_row_is_in_one_of_at_most_as_many_clusters_as_asked_none_of_them_empty(table, data):
    count = data.draw(st.integers(1, len(table)))
    labels = cluster(table, count)
    assert len(labels) == len(table)
    assert list(dict.fromkeys(labels.tolist())) == list(range(labels.max() + 1))
    assert labels.max() < count
    np.testing.assert_array_equal(labels, cluster(table, count))


@given(TABLES)
def test_the_means_weighted_by_their_rows_are_everybodys_mean(table):
    labels = cluster(table)
    means = cluster_means(table, labels)
    np.testing.assert_allclose(np.bincount(labels) @ means / len(table), table.mean(axis=0), rtol=1e-4)


def test_rows_that_are_the_same_are_one_cluster():
    assert cluster(np.ones((4, 3), np.float32), 3).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("table", "count", "match"),
    [
        (np.zeros((0, 3), np.float32), None, "no mean row"),
        (np.eye(3, dtype=np.float32) * [[1], [0], [1]], None, "Row 1 is all zeros"),
        (np.array([[1, np.nan]], np.float32), None, "Row 0 holds a value that is not finite"),
        (np.eye(3, dtype=np.float32), 4, "3 rows cannot be put in 4 clusters"),
        (np.eye(3, dtype=np.float32), 0, "3 rows cannot be put in 0 clusters"),
    ],
)
def test_what_has_no_clusters_is_refused(table, count, match):
    with pytest.raises(InvalidInput, match=match):
        cluster(table, count)


def test_labels_of_another_table_have_no_means():
    with pytest.raises(InvalidInput, match="not of a table"):
        cluster_means(np.eye(3, dtype=np.float32), np.zeros(2, np.int64))


def text_of(user, tokens, windows, share=0.0):
    ids = np.full(tokens, ord(user), np.int32)
    block = np.full((windows, 4), ord(user))
    return TokenizedText(user, ids, block, block, f"hash of {user}", Repeats(0, share, ()))


def test_a_clusters_text_is_as_much_of_everybodys_as_the_shortest_has():
    short, long = text_of("a", 10, 4), text_of("b", 30, 6, 0.25)
    both = pooled("cluster 0", [short, long])
    assert (both.user, both.repeats.share) == ("cluster 0", 0.25)
    assert np.bincount(both.train)[[ord("a"), ord("b")]].tolist() == [10, 10]
    assert both.validation.shape == both.heldout.shape == (8, 4)
    assert both.sha256 != pooled("cluster 0", [short]).sha256
    with pytest.raises(InvalidInput, match="nobody in it"):
        pooled("cluster 0", [])
