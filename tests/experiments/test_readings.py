import json

import numpy as np
import pytest
from experiments.catalogue.readings import Readings, doubt, share_of_gain
from experiments.catalogue.verdict import Criterion

from sharedllm.errors import InvalidInput
from sharedllm.evaluation.perplexity import Losses

WINDOWS, TOKENS = 16, 255


def losses(nats_per_token, *, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.3, WINDOWS)
    return Losses((nats_per_token + noise) * TOKENS, TOKENS)


def readings_of(**readers):
    readings = Readings(("ann",))
    for reader, nats in readers.items():
        readings.add("ann", reader, losses(nats))
    return readings


def advantage(m):
    return m["advantage"]


def measure(readings):
    return {"advantage": readings.gain("ann", "own")}


CRITERION = Criterion("strict", "ahead", ("advantage",), advantage, ">", 0)


def test_what_is_stored_gives_the_same_numbers_back():
    readings = readings_of(base=2.3, own=2.1)
    readings.facts["bytes"] = 7.0
    again = Readings.from_dict(json.loads(json.dumps(readings.as_dict())))
    assert measure(again) == measure(readings)
    assert again.as_dict() == readings.as_dict()


def test_readers_of_other_windows_are_refused():
    readings = readings_of(base=2.3)
    with pytest.raises(InvalidInput, match="windows of ann"):
        readings.add("ann", "own", Losses(np.ones(WINDOWS - 1), TOKENS))


def test_what_nobody_read_has_no_perplexity():
    assert np.isnan(readings_of(base=2.3).perplexity("ann", "own"))
    assert np.isnan(readings_of(base=2.3).perplexity("bob", "base"))
    assert np.isnan(readings_of(base=2.3).perplexity("ann"))


def test_several_readers_are_pooled_by_their_geometric_mean():
    readings = readings_of(a=1.0, b=2.0)
    expected = np.sqrt(readings.perplexity("ann", "a") * readings.perplexity("ann", "b"))
    assert readings.perplexity("ann", "a", "b") == pytest.approx(expected)


def test_resampling_is_paired_so_that_hard_windows_cancel():
    readings = readings_of(base=2.3, own=2.29)
    found = doubt(readings, measure, (CRITERION,))
    assert found.holds == {"strict": 1.0}
    low, high = found.intervals["advantage"]
    assert low == pytest.approx(0.01, abs=1e-4)
    assert high == pytest.approx(0.01, abs=1e-4)


def test_a_close_call_holds_in_some_resamples_only():
    readings = Readings(("ann",))
    readings.add("ann", "base", losses(2.3, seed=1))
    readings.add("ann", "own", losses(2.3, seed=2))
    assert 0.02 < doubt(readings, measure, (CRITERION,)).holds["strict"] < 0.98


def test_without_data_there_is_no_share_of_resamples():
    readings = readings_of(base=2.3)
    assert doubt(readings, measure, (CRITERION,)).holds == {"strict": None}


def test_there_is_no_share_of_a_gain_that_is_none():
    assert share_of_gain(0.1, 0.2) == 0.5
    assert np.isnan(share_of_gain(0.1, 0.0))
    assert np.isnan(share_of_gain(0.1, -0.2))
    assert np.isnan(share_of_gain(0.1, float("nan")))
