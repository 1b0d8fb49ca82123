"""What is made of the predictions of a conversation, and who is chosen."""

import json

import numpy as np
import pytest
from benchmarks.strangers import AFTER, CONVERSATION, Shop, chosen, readers, summary

from sharedllm.text.splits import split_text
from sharedllm.training.recipes import Recipe

TOKENS = CONVERSATION - 1


def conversation(*rows):
    """Each row's log-probability of a token, the same for all of them."""
    return np.repeat(np.log(np.array(rows))[:, None], TOKENS, axis=1)


def test_after_nothing_the_nearest_is_nobody_and_after_some_tokens_whoever_is_right():
    found = readers(conversation(0.2, 0.5, 0.1), 1)
    assert found["nearest"][0] == found["nothing"][0] == pytest.approx(-TOKENS * np.log(0.2))
    for place, after in enumerate(AFTER[1:], 1):
        left = CONVERSATION - after
        assert found["nearest"][place] == pytest.approx(-left * np.log(0.5))
        assert found["nothing"][place] == pytest.approx(-left * np.log(0.2))
        assert found["nearest"][place] <= found["bayes"][place] < found["soft-bayes"][place] < found["nothing"][place]
    assert found["bayes"][0] <= found["hindsight"][0] + np.log(3) + 0.01


def test_where_nobody_helps_no_mixture_loses_much_and_all_of_it_at_first():
    found = readers(conversation(0.5, 0.3, 0.1), 1)
    assert found["nearest"] == found["nothing"]
    assert 0 < found["bayes"][0] - found["nothing"][0] <= np.log(3) + 1e-9
    assert found["bayes"][-1] == pytest.approx(found["nothing"][-1])


def test_a_gain_has_an_interval_over_people_and_the_harmed_are_counted():
    good, bad = readers(conversation(0.2, 0.25), 1), readers(conversation(0.2, 0.1), 1)
    people = {str(at): {reader: [nats] * 2 for reader, nats in good.items()} for at in range(5)}
    found = summary(people)["readers"]
    assert found["nearest"]["32"]["gain"]["low"] == pytest.approx(0.2)
    assert found["nearest"]["0"]["gain"]["estimate"] == 0
    assert found["nearest"]["64"]["perplexity"] == pytest.approx(4)
    worse = {**good, "nearest": [nats * 1.1 for nats in good["nothing"]]}
    people["4"] = {reader: [nats] * 2 for reader, nats in worse.items()}
    assert summary(people)["readers"]["nearest"]["64"]["harmed_by_more_than_1_percent"] == 1
    assert bad["nearest"] == bad["nothing"]


def test_of_each_kind_somebody_is_chosen_in_turn_and_always_the_same(tmp_path):
    people = [
        {"user": f"{kind}/{at}", "kind": kind, "text": "words"} for kind in ("chat", "library") for at in range(5)
    ]
    paths = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    paths[0].write_text("\n".join(map(json.dumps, people)))
    paths[1].write_text("\n".join(map(json.dumps, sorted(people, key=lambda each: each["user"][-1:]))))
    first, second = (chosen(path, 3, 5) for path in paths)
    assert chosen(paths[0], 3, 6) == []
    assert [person["kind"] for person in first] == ["chat", "library", "chat"]
    assert first == second


def test_what_was_trained_and_read_is_not_trained_or_read_again(base_of, tmp_path, monkeypatch):
    recipe = Recipe("small", steps=2, window=32, check_every=0)
    people = [{"user": name, "text": f"{name} went to the river and {name} came back. " * 150} for name in "abcd"]
    assert len({split_text(person["text"]).sha256 for person in people}) == 4
    shop = Shop(base_of(), recipe, tmp_path)
    rows, clusters = shop.rows(people[:3])
    assert sorted(user for group in clusters for user in group) == ["a", "b", "c"]
    assert not rows["mean"][0].any() and not rows["trained"][0].any()
    assert rows["mean"].shape == rows["trained"].shape
    read = shop.read(people[3], rows, 2)
    monkeypatch.setattr("benchmarks.strangers.train_vectors", None)
    monkeypatch.setattr("benchmarks.strangers.token_log_probabilities", None)
    again = Shop(base_of(), recipe, tmp_path)
    kept, _ = again.rows(people[:3])
    assert all((kept[name] == rows[name]).all() for name in rows)
    assert again.read(people[3], kept, 2) == read
