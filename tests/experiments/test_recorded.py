"""The documents' own numbers through our predicates.

`recorded.json` is their tables as numbers; where a headline and the criteria disagree, as in bets 53 and 61, the
verdict there is the criteria's.
"""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from experiments.catalogue.bet import USERS
from experiments.catalogue.readings import Readings
from experiments.catalogue.verdict import Measured, judge

from sharedllm.evaluation.perplexity import Losses

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def flat(values, beginning=""):
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{beginning}{name}/")
        elif isinstance(value, int | float):
            found[beginning + name] = float(value)
    return found


@pytest.mark.parametrize("number", RECORDED)
def test_the_documents_numbers_give_the_documents_verdict(bets, number):
    recorded = dict(RECORDED[number])
    expected = recorded.pop("verdict")
    verdict = judge(bets[number].criteria, Measured(USERS, flat(recorded)))
    assert {tier: found["holds"] for tier, found in verdict.items()} == expected


def test_int8_can_be_lenient_and_catastrophic_at_once(bets):
    recorded = {name: value for name, value in RECORDED["53"].items() if name != "verdict"}
    verdict = judge(bets["53"].criteria, Measured(USERS, flat(recorded)))
    assert verdict["lenient"]["holds"]
    assert verdict["catastrophic"]["holds"]
    assert verdict["strict"]["score"] == pytest.approx(218 / 130)


def test_the_margins_come_out_of_their_matrix_when_its_rows_are_the_users_who_are_read():
    bet = importlib.import_module("experiments.bets.61_personalization_vs_regularization")
    readings = Readings(USERS)
    for user, row in zip(USERS, RECORDED["61"]["matrix"], strict=True):
        authors = dict(zip(USERS, row, strict=True)) | {"general": 1.0, "everyone": 1.0}
        for author, perplexity in {**authors, "base": 1.0}.items():
            reader = author if author == "base" else f"{author}@{bet.JUDGED_STEPS}/0"
            readings.add(user, reader, Losses(np.log([perplexity]) * 255, 255))
    measured = bet.measure(readings)
    for name in ("margin_vs_mean_of_others", "margin_vs_best_other"):
        for user, expected in RECORDED["61"][name].items():
            assert measured[f"{name}/{user}"] == pytest.approx(expected, abs=1e-4)
            assert measured[f"seed_0/{name}/{user}"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("number", ["31", "53", "54"])
def test_a_reading_that_is_no_number_is_no_data_and_not_a_flag(bets, number):
    bet = bets[number]
    readings = Readings(USERS)
    readers = ["base", "own", "raw", "int8", "int8_gains", *Measured(USERS, {}).pairs]
    for user in USERS:
        for reader in readers:
            readings.add(user, reader, Losses(np.full(4, np.nan if reader != "base" else 2.0), 1))
    measured = Measured(USERS, bet.measure(readings))
    assert [outcome["holds"] for outcome in judge(bet.criteria, measured).values()] == [None, None, None]
