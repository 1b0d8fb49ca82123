import math
from dataclasses import replace

import pytest
from experiments.catalogue.canonical import canonical_source
from experiments.catalogue.verdict import Criterion, Measured, criteria_hash, judge, reached, share, undercut

from sharedllm.errors import InvalidInput

USERS = ("ann", "bob", "cat")
BOUND = 2.0
TABLE = {"one": 1}


def least(m):
    """The smallest."""
    return reached(m.each("gain/{user}"), 1)


def least_again(m):
    # The same, laid out in another way.
    return reached(
        m.each("gain/{user}"),
        1,
    )


def largest(m):
    return undercut(m.each("gain/{user}"), 1)


def with_constant(m):
    return m["x"] - BOUND


def with_table(m):
    return m["x"] + TABLE["one"]


STRICT = Criterion("strict", "everybody gains 0.1", ("gain/{user}",), least, ">=", 0.1)


def measured(**gains):
    return Measured(USERS, {f"gain/{user}": gain for user, gain in gains.items()})


def test_a_flag_says_how_far_from_its_bound_the_score_is():
    found = judge([STRICT], measured(ann=0.3, bob=0.12, cat=0.2))["strict"]
    assert found["holds"] is True
    assert found["score"] == 0.12
    assert found["distance"] == pytest.approx(0.02)


def test_a_measurement_that_is_missing_is_no_data_and_is_named():
    found = judge([STRICT], measured(ann=0.3, bob=0.2))["strict"]
    assert found["holds"] is None
    assert found["missing"] == ["gain/cat"]
    assert found["distance"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("tier", ["strict", "lenient", "catastrophic"])
def test_a_measurement_that_is_no_finite_number_is_no_data_in_every_tier(value, tier):
    criterion = replace(STRICT, tier=tier)
    assert judge([criterion], measured(ann=0.3, bob=0.2, cat=value))[tier]["holds"] is None


def test_a_score_that_is_no_number_is_no_data():
    def undefined(m):
        return math.nan

    assert replace(STRICT, score=undefined).judge(measured(ann=1.0, bob=1.0, cat=1.0)).holds is None


def test_a_pair_template_without_a_pair_is_no_data():
    criterion = replace(STRICT, needs=("both/{pair}",), score=lambda m: 1.0)
    assert criterion.judge(Measured(("ann",), {})).holds is None


@pytest.mark.parametrize(("relation", "expected"), [(">=", True), ("<=", True), (">", False), ("<", False)])
def test_a_score_on_its_bound_meets_the_relations_that_say_so(relation, expected):
    on_bound = measured(ann=0.1, bob=0.1, cat=0.1)
    assert replace(STRICT, relation=relation).judge(on_bound).holds is expected


def test_two_of_three_reach_the_second_largest():
    assert reached([1.0, 3.0, 2.0], 2 / 3) == 2.0
    assert undercut([1.0, 3.0, 2.0], 2 / 3) == 2.0
    assert reached([1.0, 3.0, 2.0], 1) == 1.0
    assert undercut([1.0, 3.0, 2.0], 1) == 3.0
    assert reached([], 1) != reached([], 1)
    assert share([True, False, True]) == 2 / 3


@pytest.mark.parametrize(
    "change",
    [
        {"statement": "everybody gains a tenth"},
        {"bound": 0.2},
        {"relation": ">"},
        {"score": largest},
        {"needs": ("gain/{user}", "x")},
        {"tier": "lenient"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_hash_changes_with_whatever_decides_a_verdict(change):
    assert criteria_hash([replace(STRICT, **change)]) != criteria_hash([STRICT])


def test_the_hash_stays_when_only_layout_comments_docstring_and_name_change():
    assert criteria_hash([replace(STRICT, score=least_again)]) == criteria_hash([STRICT])


def test_the_hash_changes_with_a_constant_that_a_score_reads(monkeypatch):
    before = canonical_source(with_constant)
    monkeypatch.setitem(globals(), "BOUND", 3.0)
    assert canonical_source(with_constant) != before


def test_the_hash_follows_a_score_into_the_functions_of_the_catalogue():
    assert canonical_source(least).count("ceil") == 1


def test_a_score_whose_meaning_could_change_unseen_is_refused():
    with pytest.raises(InvalidInput, match="lambda"):
        canonical_source(lambda m: 1.0)
    with pytest.raises(InvalidInput, match="TABLE"):
        canonical_source(with_table)
