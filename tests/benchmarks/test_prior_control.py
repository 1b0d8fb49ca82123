"""What the control's texts keep, and how its priors are compared."""

import re
from collections import Counter

import pytest
import torch
from benchmarks.prior_control import BARE, PRIORS, plain, shuffled, summary
from tests.cli.conftest import writing

from benchmarks import prior_control
from sharedllm.training.prior import PriorRecipe

TEXT = "Dear John,\n\n    I have it, and you\thave it.\n"


def test_shuffled_words_are_all_there_between_the_same_whitespace():
    found = shuffled(TEXT, "letters/one")
    assert found != TEXT
    assert Counter(found.split()) == Counter(TEXT.split())
    assert re.findall(r"\s+", found) == re.findall(r"\s+", TEXT)


def test_everybody_has_an_order_of_their_own_and_always_the_same():
    long = " ".join(map(str, range(50)))
    assert shuffled(long, "a") == shuffled(long, "a") != shuffled(long, "b")


def test_an_article_is_written_as_elsewhere():
    article = (
        ' \n He was born in Kent ( England ) , and did n\'t write " the well @-@ known song " , with 1 @,@ 000 copies'
        " at $ 5 ; the game 's end . \n \n \n = = Early : life = = \n \n Then . \n"
    )
    assert plain(article) == (
        'He was born in Kent (England), and didn\'t write "the well-known song", with 1,000 copies at $5;'
        " the game's end.\n\nEarly: life\n\nThen.\n"
    )


def read(nats):
    return {"nats": [nats] * 8, "tokens": 255}


def test_a_prior_is_told_by_what_people_gain_and_by_its_share_of_the_peoples():
    people = {
        str(number): {"kind": "poet" if number % 2 else "chat", BARE: read(900)}
        | dict(zip(PRIORS, map(read, (850, 875 - number, 900)), strict=True))
        for number in range(12)
    }
    general = {name: read(900) for name in (BARE, *PRIORS)}
    found = summary({"people": people, "general": general})
    assert found["people"] == 12
    assert found["priors"]["people"]["share"] == 1
    assert found["priors"]["people"]["less_than_people"] == 0
    assert found["priors"]["shuffled"]["median"] == 0
    assert found["priors"]["shuffled"]["people_better"] == 12
    general = found["priors"]["general"]
    assert general["share_interval"][0] < general["share"] < general["share_interval"][1]
    assert general["median"] + general["less_than_people"] == pytest.approx(
        found["priors"]["people"]["median"], abs=1e-3
    )
    assert found["kinds"]["poet"]["of"] == 6


def test_who_was_not_read_by_every_prior_that_is_there_is_left_out():
    whole = {"kind": "poet", BARE: read(900)} | {name: read(800) for name in PRIORS[:2]}
    people = {"a": whole, "b": whole, "c": {"kind": "poet", BARE: read(900), "people": read(800)}}
    found = summary({"people": people, "general": {name: read(900) for name in (BARE, *PRIORS)}})
    assert found["people"] == 2
    assert list(found["priors"]) == list(PRIORS[:2])
    assert found["priors"]["general"]["share_interval"] is None


def test_training_ends_after_the_first_steps_of_its_schedule_and_goes_on_to_none(folder_of, tmp_path, monkeypatch):
    monkeypatch.setattr(prior_control, "BARE_BASE", str(folder_of("llama")))
    monkeypatch.setattr(prior_control, "FEWER", PriorRecipe(rank=2, steps=6, people=1, window=16, warmup=1))
    monkeypatch.setattr(prior_control, "TAKEN", 3)
    texts = {name: writing(name, 2_000) for name in ("alice", "bob")}
    frames = prior_control._first_steps("people", texts, tmp_path)
    assert prior_control._kept(tmp_path)[0] == 3
    assert any(bool(frame.out.any()) for frame in frames.values())
    again = prior_control._first_steps("people", texts, tmp_path)
    assert prior_control._kept(tmp_path)[0] == 3
    assert all(torch.equal(frame.out, again[name].out) for name, frame in frames.items())
