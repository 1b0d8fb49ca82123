"""A fleet's numbers, on losses and rows that were made so that the answers are known."""

import json
import math

import numpy as np
import pytest

from sharedllm.errors import InvalidInput
from sharedllm.reporting.charts import Number
from sharedllm.reporting.fleet.findings import (
    chance_of_agreement,
    draw_map,
    rank_correlation,
    report_on,
    share_kept,
    share_of,
)
from sharedllm.reporting.fleet.page import headline
from sharedllm.text.repeats import Repeats

from .fleets import fleet_of, make_report, member, reading

USERS = ["chat/a", "chat/b", "chat/c", "library/d", "library/e", "library/f"]


def report(change=None, members=None):
    """Six people whose adapters bring 15 %, another's 2 % and everybody's 6 %, but for what a test changes."""
    members = members or [member(number, user, kind=user.partition("/")[0]) for number, user in enumerate(USERS)]
    readings = {each.user: reading(seed=10 * number) for number, each in enumerate(members)} | (change or {})
    return report_on(fleet_of(members), readings, base="b", made_at="now", version="1")


# How many improved, and by how much


def test_improvements_are_counted_and_ranked():
    worse = reading(own=1.1, seed=7)
    found = report({"chat/b": worse, "library/d": reading(own=0.7, seed=8)})
    assert found.people[0].user == "library/d"
    assert found.people[-1].user == "chat/b"
    assert (found.everyone.people, found.everyone.improved, found.everyone.worse) == (6, 5, 1)
    assert found.everyone.median == pytest.approx(0.15)
    assert found.everyone.worst == pytest.approx(-0.1)
    assert (found.everyone.p10, found.everyone.p90) == pytest.approx((0.025, 0.225))
    assert found.kinds["chat"].worse == 1
    assert found.kinds["library"].worse == 0


def test_an_improvement_whose_interval_holds_zero_counts_neither_way():
    found = report({"chat/a": reading(own=0.999, spread=0.05)})
    assert (found.everyone.improved, found.everyone.worse) == (5, 0)


def test_a_persons_numbers_are_their_own():
    found = report({"chat/c": reading(12.0, own=0.5, other=0.75, everyone=0.625)})
    (person,) = [each for each in found.people if each.user == "chat/c"]
    assert (person.base, person.own) == pytest.approx((12.0, 6.0))
    assert person.gain.estimate == pytest.approx(0.5)
    assert person.by_other.estimate == pytest.approx(0.25)
    assert person.by_everyone.estimate == pytest.approx(0.375)
    assert person.over_other.estimate == pytest.approx(1 - 0.5 / 0.75)
    assert person.over_everyone.estimate == pytest.approx(0.2)


def test_who_cannot_be_compared_is_missing_and_everybody_else_is_there():
    found = report({"chat/b": reading(own=np.inf)})
    assert found.everyone.people == 5
    assert "not finite" in found.missing["chat/b"]


def test_a_fleet_in_which_nobody_can_be_compared_is_no_report():
    with pytest.raises(InvalidInput):
        report({user: reading(own=np.inf) for user in USERS})


# The gate


def test_what_the_gate_did_is_judged_on_held_out_text():
    passed = [True, True, True, False, False, False]
    members = [member(number, user, passed=good) for number, (user, good) in enumerate(zip(USERS, passed, strict=True))]
    found = report({"chat/a": reading(own=1.2), "library/d": reading(own=1.2), "library/e": reading(own=1.2)}, members)
    assert (found.gated.spared, found.gated.let_through, found.gated.over_cautious) == (2, 1, 1)
    assert found.everyone.held_back == 3


# Whose gain it is


def test_nobody_is_read_with_their_own_adapter_as_a_control():
    for count in range(2, 40):
        fleet = fleet_of([member(number, f"user-{number}") for number in range(count)])
        others = [fleet.other(number).user for number in range(count)]
        assert all(other != f"user-{number}" for number, other in enumerate(others))
        assert len(set(others)) == count


@pytest.mark.slow
def test_a_gain_that_another_persons_adapter_brings_as_well_is_not_theirs():
    own = report()
    assert own.everyone.over_other.value == pytest.approx(1 - math.log(0.98) / math.log(0.85))
    assert own.everyone.over_everyone.value == pytest.approx(1 - math.log(0.94) / math.log(0.85))
    swapped = report({user: reading(own=0.98, other=0.85) for user in USERS[:3]})
    assert swapped.everyone.over_other.value < 0.5 < own.everyone.over_other.value
    assert swapped.kinds["chat"].over_other.value < 0
    same = report({user: reading(own=0.85, other=0.85, everyone=0.85) for user in USERS})
    assert same.everyone.over_other.value == pytest.approx(0)
    assert same.everyone.over_everyone.value == pytest.approx(0)


def test_a_control_that_does_harm_brings_nothing_and_is_no_bar_to_be_ahead_of():
    found = report({user: reading(own=0.9, other=1.3, everyone=1.1, seed=number) for number, user in enumerate(USERS)})
    assert found.everyone.over_other.value == found.everyone.over_everyone.value == pytest.approx(1)
    assert found.everyone.over_other.high <= 1
    for person in found.people:
        assert person.by_other.estimate < 0
        assert person.over_other == person.over_everyone == person.gain


def test_what_it_costs_and_what_flatters_it_is_told_beside_the_gain():
    worse = {"change": {"estimate": -0.04, "low": -0.05, "high": -0.03, "confidence": 0.95, "windows": 32}}
    members = [
        member(0, "chat/a", figures={"general": worse}),
        member(1, "chat/b", repeats=Repeats(9, 0.25, (), 0.25, 0.25)),
        member(2, "chat/c", passed=False),
    ]
    found = report(members=members)
    assert (found.everyone.general_worse, found.everyone.held_back) == (1, 1)
    said = headline(found)
    for told in ("under 1, by up to 4.0%", "kept for testing of 1, up to 25% of it", "1 is held back by the gate"):
        assert told in said


def test_where_nothing_is_gained_there_is_nothing_to_share():
    found = report({user: reading(own=1.1) for user in USERS})
    assert not found.everyone.over_other.known
    assert found.as_dict()["everyone"]["over_other"]["value"] is None


def test_a_share_comes_with_an_interval_over_people():
    share = share_kept(np.array([1.0, 1.0, 1.0, 2.0]), np.array([0.0, 0.5, 0.5, 0.0]))
    assert share.value == pytest.approx(0.8)
    assert share.low < 0.8 < share.high
    certain = share_of(np.array([True] * 5))
    assert (certain.value, certain.low, certain.high) == (1, 1, 1)


# Text


@pytest.mark.parametrize("gains, value", [([1, 2, 3, 4, 5, 60], 1), ([6, 5, 4, 3, 2, -10], -1)])
def test_growth_is_told_by_ranks_alone(gains, value):
    found = rank_correlation(np.arange(6.0), np.array(gains, dtype=float))
    assert found.value == pytest.approx(value)
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_equal_values_share_their_rank():
    found = rank_correlation(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 3.0]))
    assert found.value == pytest.approx(1)


def test_too_few_people_and_equal_texts_say_nothing_of_growth():
    assert not rank_correlation(np.arange(3.0), np.arange(3.0)).known
    assert not rank_correlation(np.ones(9), np.arange(9.0)).known


# The map


def test_rows_that_lie_in_a_plane_keep_their_distances():
    random = np.random.default_rng(0)
    plane = random.normal(size=(12, 2)) @ np.linalg.qr(random.normal(size=(50, 2)))[0].T
    drawn = draw_map((plane + 3).astype(np.float32))
    for one, other in [(0, 1), (3, 7), (2, 11)]:
        wanted = np.linalg.norm(plane[one] - plane[other])
        assert np.linalg.norm(drawn.places[one] - drawn.places[other]) == pytest.approx(wanted, rel=1e-4)
    assert sum(drawn.shares) == pytest.approx(1)
    assert drawn.shares[0] >= drawn.shares[1]


def test_two_people_and_equal_rows_have_a_map():
    assert draw_map(np.ones((2, 5), dtype=np.float32)).places.shape == (2, 2)
    assert list(draw_map(np.eye(2, 5, dtype=np.float32)).nearest) == [1, 0]


@pytest.mark.slow
def test_near_rows_are_of_the_same_kind_where_kinds_differ():
    found = make_report(24)
    assert found.agreement.value == 1
    assert found.chance == pytest.approx(5 / 23)
    for person in found.people:
        assert person.nearest.partition("/")[0] == person.kind


def test_chance_depends_on_how_many_there_are_of_a_kind():
    assert chance_of_agreement(["a"] * 4) == 1
    assert chance_of_agreement(["a", "b"]) == 0
    assert chance_of_agreement(["a", "a", "b", "b"]) == pytest.approx(1 / 3)


# Time and size


@pytest.mark.slow
def test_time_is_that_between_releases_without_the_breaks():
    members = [member(number, f"user-{number}", seconds=30) for number in range(4)]
    members += [member(number, f"user-{number}", seconds=7200) for number in range(4, 6)]
    found = report({each.user: reading() for each in members}, members)
    assert found.seconds_per_user == pytest.approx(30)
    assert found.bytes_per_user == 128
    alone = [member(number, user, seconds=7200) for number, user in enumerate(USERS)]
    assert report(members=alone).seconds_per_user is None


# For programs


def test_the_json_keeps_its_shape():
    found = json.loads(json.dumps(make_report(8, missing={"chat/zed": "no release"}).as_dict(), allow_nan=False))
    assert set(found) == {
        "base",
        "fingerprint",
        "recipe",
        "window",
        "people",
        "missing",
        "everyone",
        "kinds",
        "gated",
        "agreement",
        "chance",
        "variance",
        "bytes_per_user",
        "seconds_per_user",
        "made_at",
        "version",
    }
    assert set(found["people"][0]) == {
        "user",
        "general",
        "repeats",
        "kind",
        "text_bytes",
        "base",
        "own",
        "gain",
        "by_other",
        "by_everyone",
        "over_other",
        "over_everyone",
        "other",
        "gate",
        "nearest",
        "place",
    }
    assert set(found["everyone"]) == {
        "people",
        "improved",
        "worse",
        "general_worse",
        "held_back",
        "median",
        "p10",
        "p90",
        "worst",
        "over_other",
        "over_everyone",
        "growth",
        "median_bytes",
    }
    assert set(found["people"][0]["gain"]) == {"estimate", "low", "high", "confidence", "windows"}
    assert set(found["everyone"]["growth"]) == set(vars(Number()))
    assert found["missing"] == {"chat/zed": "no release"}
    assert list(found["kinds"]) == ["president", "chat", "library", "sample"]
