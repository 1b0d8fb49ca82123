"""Who reads by whose row, and what is told of it."""

import json
from dataclasses import replace

import pytest
from benchmarks.prior_others import PARTS, ROWS, others, pairs, summary
from benchmarks.prior_summary import FEWEST
from tests.cli.conftest import writing

from benchmarks import prior_curve, prior_others
from sharedllm.text.people import Person
from sharedllm.training.recipes import RECIPES

PEOPLE = [
    Person(f"{kind}/{number}", kind, "")
    for number in range(4)
    for kind in ("chat", "poet", "library", "c")[: 4 - number]
]


def test_two_of_every_kind_are_drawn_and_always_the_same():
    paired = pairs(PEOPLE)
    assert [(one.kind, two.kind) for one, two in paired] == [(kind, kind) for kind in ("chat", "poet", "library")]
    assert all(one.user != two.user for one, two in paired)
    assert {frozenset(each) for each in pairs(PEOPLE[::-1])} == {frozenset(each) for each in paired}


def test_nobody_reads_by_their_own_row_for_anothers_nor_by_one_of_their_kind_for_a_strangers():
    paired = pairs(PEOPLE)
    for at in range(len(paired)):
        for person, kin, stranger in others(paired, at):
            assert kin.kind == person.kind
            assert kin.user != person.user
            assert stranger.kind != person.kind
            # Whose row it is has been trained by then, or is trained next.
            assert any(stranger in pair for pair in paired[: max(at, 2)])


def person(own, kin, stranger):
    by = {name: read(nats) for name, nats in zip(ROWS, (own, kin, stranger), strict=True)}
    return {"kind": "poet", "nothing": read(1000), "parts": {f"{part}": by for part in PARTS}}


def read(nats):
    return {"nats": [nats] * 8, "tokens": 255}


def test_what_is_ones_own_is_what_anothers_row_does_not_bring():
    people = {str(number): person(950, 970, 1010) for number in range(FEWEST)}
    found = summary(people)["parts"]["0.5"]
    assert found["own"]["own_brings_more"]["median"] == 0
    assert found["kin"]["own_brings_more"]["median"] > 0
    assert found["stranger"]["gain"]["median"] < 0
    assert found["stranger"]["better_than_nothing"] == 0
    assert found["stranger"]["own_better"] == FEWEST


def test_of_few_people_no_interval_is_told():
    few = summary({"a": person(950, 970, 1010)})
    assert few["people"] == 1
    assert few["parts"]["1.0"]["own"]["gain"]["interval"] is None


@pytest.fixture
def run(folder_of, tmp_path, monkeypatch):
    """Run the benchmark on a small base and people of two kinds, in two steps; gives what it found."""
    people = [Person(f"{kind}/{n}", kind, writing(f"{kind}{n}", 20_000)) for kind in ("chat", "poet") for n in range(2)]
    for name, value in (
        ("PRIOR_BASE", str(folder_of("llama"))),
        ("RECIPE", replace(RECIPES["adamw"], steps=2, window=64, check_every=0)),
        ("WINDOW", 64),
        ("RESULT", tmp_path / "result.json"),
        ("chosen", lambda: people),
    ):
        monkeypatch.setattr(prior_others, name, value)
    monkeypatch.setattr(prior_curve, "WINDOW", 64)
    monkeypatch.setattr("sys.argv", ["", str(tmp_path / "rows")])

    def run():
        prior_others.main()
        return json.loads((tmp_path / "result.json").read_text())

    return run


def test_everybody_reads_by_every_row_and_is_not_read_again(run, monkeypatch):
    found = run()
    assert found["summary"]["people"] == 4
    for user, each in found["people"].items():
        assert each["read_by"]["own"] == user
        read = [each["nothing"], *(by[name] for by in each["parts"].values() for name in ROWS)]
        assert len({str(each["nats"]) for each in read}) == 1 + len(PARTS) * len(ROWS)
    monkeypatch.setattr(prior_others, "train_vectors", None)
    assert run()["people"] == found["people"]
