"""Turns of conversations are learned by the same steps as running text, and measured by the same windows."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tests.base.test_conversations import CHATML
from tests.cli.conftest import writing

from sharedllm.base.conversations import learned_ids
from sharedllm.evaluation import likelihood
from sharedllm.evaluation.confusion import Confusion, confusion
from sharedllm.evaluation.gate import Gate
from sharedllm.evaluation.intervals import foretold, improvement
from sharedllm.evaluation.perplexity import Losses, base_losses, base_token_log_probabilities
from sharedllm.operations.ask import ask
from sharedllm.operations.authors import Author
from sharedllm.operations.evaluate import evaluate
from sharedllm.operations.train import train
from sharedllm.operations.workplace import Workplace
from sharedllm.store import open_store
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.passages import Passage
from sharedllm.text.reading import UserText
from sharedllm.text.splits import split_passages, split_text
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors

RECIPE = Recipe("r", learning_rate=2e-2, steps=4, window=32, check_every=2)
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


def chat(name, turns=120, size=60):
    """What somebody and another say in turns."""
    hers, theirs = writing(name, turns * size), writing(f"not {name}", turns * size)
    parts = [slice(number * size, (number + 1) * size) for number in range(turns)]
    return tuple(
        Passage(words[part], role, begins=role == "other" and not number % 10)
        for number, part in enumerate(parts)
        for words, role in ((theirs, "other"), (hers, "own"))
    )


@pytest.fixture
def base(base_of, monkeypatch):
    base = base_of("llama", torch.float64)
    monkeypatch.setattr(base.tokenizer, "chat_template", CHATML)
    return base


def tokenized(base, user, passages):
    split = split_passages(passages, user=user)
    converse = partial(learned_ids, base.tokens)
    return tokenize_to_train(user, split, base.encode, converse=converse, window=RECIPE.window)


@pytest.fixture
def texts(base):
    """One who chats, one who writes, one who does both, and one who chats little."""
    plain = split_text(writing("bob"), user="bob")
    return {
        "alice": tokenized(base, "alice", chat("alice")),
        "bob": tokenize_to_train("bob", plain, base.encode, window=RECIPE.window),
        "carol": tokenized(base, "carol", (*chat("carol"), Passage(writing("carol"), "text"))),
        "dave": tokenized(base, "dave", chat("dave", 40)),
    }


@pytest.mark.slow
def test_a_mixed_batch_of_those_who_chat_and_those_who_write_equals_each_alone(base, inject, texts):
    injection = inject(base)
    assert texts["dave"].folds
    together = {each.user: each for each in train_vectors(base, injection, texts.values(), RECIPE)}
    for user, text in texts.items():
        (alone,) = train_vectors(base, injection, [text], RECIPE)
        np.testing.assert_allclose(together[user].adapter.values, alone.adapter.values, **CLOSE)
        assert alone.adapter.provenance["tokens"] == (text.train >= 0).sum()


def test_a_loss_is_of_targets_alone_whose_logits_alone_are_computed(base, texts, monkeypatch):
    windows, computed = texts["alice"].validation, []
    real = likelihood.token_losses

    def counting(hidden, head, targets):
        computed.append(targets.numel())
        return real(hidden, head, targets)

    monkeypatch.setattr(likelihood, "token_losses", counting)
    losses = base_losses(base, windows)
    wanted = windows[:, base.tokens.unpredicted :] >= 0
    assert sum(computed) == wanted.sum() == losses.predicted
    assert losses.tokens.tolist() == wanted.sum(axis=1).tolist()
    everything = base_token_log_probabilities(base, np.where(windows < 0, ~windows, windows))
    assert losses.nats == pytest.approx(-(everything * wanted).sum(axis=1), rel=1e-9)
    assert losses.nats_per_token == pytest.approx(-(everything * wanted).sum() / wanted.sum(), rel=1e-9)


def test_what_others_say_changes_what_is_read_and_not_how_much_is_predicted(base):
    said = chat("alice")
    quiet = tuple(replace(each, text="hm") if each.role == "other" else each for each in said)
    first, second = (tokenized(base, "alice", each) for each in (said, quiet))
    assert first.sha256 == second.sha256
    assert first.tokens == second.tokens
    for block in ("validation", "heldout"):
        counts = [base_losses(base, getattr(text, block)).predicted for text in (first, second)]
        assert counts[0] == counts[1]


def test_windows_count_by_their_tokens():
    tokens = np.array([10, 1, 5, 4])
    reference, model = Losses(np.array([20.0, 3, 9, 8]), tokens), Losses(np.array([15.0, 3, 8, 7]), tokens)
    found = improvement(reference, model)
    assert found.estimate == pytest.approx(1 - np.exp((33 - 40) / 20))
    assert found.low <= found.estimate <= found.high
    alike = [Losses(each.nats, np.full(4, 7)) for each in (reference, model)]
    assert improvement(*alike) == improvement(*(Losses(each.nats, 7) for each in alike))
    before = Losses(reference.nats * 1.1, alike[0].tokens)
    assert foretold(before, *alike, 0.1) == foretold(*(Losses(each.nats, 7) for each in (before, *alike)), 0.1)


def test_a_confusion_of_chats_is_read_back_as_it_was(base, inject, texts):
    injection = inject(base)
    zeros = np.zeros(injection.layout.size, np.float32)
    windows = {user: texts[user].heldout[:3] for user in ("alice", "bob")}
    found = confusion(base, injection, {"alice": zeros}, windows)
    stored = found.as_dict()
    assert isinstance(stored["tokens_per_window"]["bob"], int)
    back = Confusion.from_dict(stored)
    assert back.as_dict() == stored
    assert back.perplexity("alice", "alice") == found.perplexity("alice", None)


@pytest.mark.parametrize("learn", ["writing", "answers"])
def test_a_person_who_chats_is_trained_gated_evaluated_and_answered(base, tmp_path, monkeypatch, learn):
    wrote = chat("alice")
    text = UserText("alice", "", passages=wrote)
    monkeypatch.setattr("sharedllm.operations.release_text.read_sources", lambda user, sources, choices: text)
    recipe = replace(RECIPE, steps=12)
    with (
        open_store(":memory:") as store,
        Workplace(base, folder=tmp_path / "training", general=writing("general")) as workplace,
    ):
        author = Author("alice", lambda: wrote, ["chats"], learn=learn)
        (outcome,) = train(workplace, store, [author], recipe, gate=Gate(general_tolerance=100))
        assert outcome.error is None
        assert outcome.release.gate.passed, outcome.sentence
        release = store.release("alice", 1)
        assert release.adapter.provenance["learn"] == learn
        assert release.gate.figures["learn"] == learn
        said = "answers alone were trained" if learn == "answers" else "of chats their own turns alone were learned"
        assert said in outcome.sentence
        (again,) = train(workplace, store, [author], recipe)
        assert again.before
        measured = evaluate(workplace, store, {"alice": ["chats"]}, numbers={"alice": 1})
        assert measured.confusion.losses["alice"][None].predicted == (measured.heldout["alice"][:, 1:] >= 0).sum()
        answer = ask(workplace, store, "alice", "Hello?", max_tokens=3)
        assert answer.decision.release.number == 1
