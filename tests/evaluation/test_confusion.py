"""Everybody's text read with everybody's adapter."""

import json
import sys

import numpy as np
import pytest

from sharedllm.errors import InvalidInput, MissingExtra
from sharedllm.evaluation.confusion import BASE, Confusion, confusion
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import Losses, base_losses, row_losses

# The source documents' experiment 61, as they recorded it: rows are whose text is read, columns whose adapter reads it.
USERS = ["programmer", "novelist", "scientist"]
MATRIX = [[6922, 8927, 10552], [148, 113, 136], [126, 147, 130]]
MARGIN_OVER_MEAN = {"programmer": 0.2893, "novelist": 0.2042, "scientist": 0.0476}
MARGIN_OVER_BEST = {"programmer": 0.2246, "novelist": 0.1691, "scientist": -0.0317}


def with_perplexity(perplexity):
    return Losses(np.full(4, np.log(perplexity) * 10), 10)


@pytest.fixture
def recorded():
    return Confusion(
        {
            text: {BASE: with_perplexity(2 * max(row))}
            | {reader: with_perplexity(value) for reader, value in zip(USERS, row, strict=True)}
            for text, row in zip(USERS, MATRIX, strict=True)
        }
    )


def test_rows_are_texts_and_columns_are_readers_the_base_first(recorded):
    assert recorded.texts == USERS
    assert recorded.readers == [BASE, *USERS]
    found = [[round(recorded.perplexity(text, reader)) for reader in USERS] for text in USERS]
    assert found == MATRIX


@pytest.mark.parametrize("user", USERS)
def test_margins_are_the_recorded_ones(recorded, user):
    margins = recorded.margins(user)
    assert margins.mean == pytest.approx(MARGIN_OVER_MEAN[user], abs=5e-5)
    assert margins.best == pytest.approx(MARGIN_OVER_BEST[user], abs=5e-5)
    assert margins.best <= margins.mean <= margins.worst


def test_the_margin_over_the_worst_other(recorded):
    assert recorded.margins("scientist").worst == pytest.approx(1 - 130 / 147)


def test_the_margin_over_the_best_is_over_the_base_where_all_others_are_worse():
    rows = {BASE: with_perplexity(100), "a": with_perplexity(90), "b": with_perplexity(120), "c": with_perplexity(150)}
    margins = Confusion({"a": rows}).margins("a")
    assert margins.best == pytest.approx(0.1)
    assert margins.worst == pytest.approx(1 - 90 / 150)
    assert Confusion({"a": rows}).rival("a") is BASE
    assert Confusion({"a": {**rows, "c": with_perplexity(95)}}).rival("a") == "c"


def test_the_base_is_no_other_user(recorded):
    row = recorded.losses["novelist"]
    assert Confusion({"novelist": {BASE: row[BASE], "novelist": row["novelist"]}}).margins("novelist") is None


def test_an_improvement_is_over_the_base_unless_another_is_named(recorded):
    assert recorded.improvement("novelist", "novelist").estimate == pytest.approx(1 - 113 / (2 * 148))
    assert recorded.improvement("novelist", "novelist", over="scientist").estimate == pytest.approx(1 - 113 / 136)


def test_it_can_be_written_as_json_and_read_back(recorded):
    stored = json.loads(json.dumps(recorded.as_dict()))
    assert stored["readers"] == ["base", *USERS]
    assert stored["perplexity"][1] == pytest.approx([296, 148, 113, 136])
    again = Confusion.from_dict(stored)
    assert again.as_dict() == recorded.as_dict()
    assert again.margins("novelist") == recorded.margins("novelist")


def test_a_user_who_is_called_base_is_not_taken_for_it():
    table = Confusion({"base": {BASE: with_perplexity(20), "base": with_perplexity(10)}})
    again = Confusion.from_dict(table.as_dict())
    assert again.perplexity("base", BASE) == pytest.approx(20)
    assert again.perplexity("base", "base") == pytest.approx(10)


def test_every_cell_is_what_its_reader_scores_alone(base_of, inject):
    base = base_of("llama")
    injection = inject(base)
    random = np.random.default_rng(0)
    adapters = {user: random.normal(0, 0.1, injection.layout.size).astype(np.float32) for user in ("alice", "bob")}
    texts = {"alice": random.integers(3, 200, (8, 16)), "bob": random.integers(3, 200, (5, 16))}
    advanced = []
    table = confusion(base, injection, adapters, texts, on_batch=advanced.append)
    assert (table.texts, table.readers) == (["alice", "bob"], [BASE, "alice", "bob"])
    for text, windows in texts.items():
        np.testing.assert_allclose(table.losses[text][BASE].nats, base_losses(base, windows).nats, rtol=1e-5)
        for reader, values in adapters.items():
            (alone,) = row_losses(base, injection, values[None], windows)
            np.testing.assert_allclose(table.losses[text][reader].nats, alone.nats, rtol=1e-5)
    assert sum(advanced) == 3 * (8 + 5)
    expected = improvement(table.losses["alice"]["bob"], table.losses["alice"]["alice"])
    assert table.improvement("alice", "alice", over="bob") == expected


def test_a_data_frame_has_texts_for_rows_and_readers_for_columns(recorded):
    pytest.importorskip("pandas")
    frame = recorded.to_frame()
    assert list(frame.index) == USERS
    assert list(frame.columns) == ["base", *USERS]
    assert frame.loc["novelist", "scientist"] == pytest.approx(136)
    assert recorded.to_frame("improvement").loc["novelist", "scientist"] == pytest.approx(
        recorded.improvement("novelist", "scientist").estimate
    )
    assert not recorded.to_frame("improvement")["base"].any()


def test_without_pandas_a_data_frame_is_one_error_that_says_how_to_get_it(recorded, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match="pip install pandas"):
        recorded.to_frame()


def test_a_data_frame_of_what_is_not_measured_is_refused_by_name(recorded):
    with pytest.raises(InvalidInput, match="'perplexty'"):
        recorded.to_frame("perplexty")


def test_it_says_its_perplexities_in_words_and_of_many_only_the_first():
    losses = Losses(np.log([2.0, 2.0]), 1)
    few = Confusion({"ann": {None: losses, "ann": Losses(np.log([1.5, 1.5]), 1)}})
    assert str(few).splitlines() == [
        "perplexity on held-out text by user, lower is better",
        "  'ann' read by the base 2.00, 'ann' 1.50",
    ]
    users = [f"user {number}" for number in range(40)]
    many = repr(Confusion({user: dict.fromkeys([None, *users], losses) for user in users}))
    assert len(many) < 2_000
    assert "'user 6' 2.00, and 33 more" in many and many.endswith("  and 32 more")
    assert "array" not in many
