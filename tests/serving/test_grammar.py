"""An answer that is held to something follows it to the end, and what cannot be followed stops nobody else."""

import json
import time

import numpy as np
import pytest
import torch
from tests import models

from sharedllm.base.tokens import Tokens
from sharedllm.errors import GrammarError, GrammarFailed
from sharedllm.serving import grammar as module
from sharedllm.serving.grammar import Grammars
from sharedllm.serving.request import Sampling

PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["ann", "bob"]}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
# The intersection of thirty searches has more states than there is memory for.
EXPLODING = {"allOf": [{"type": "string", "pattern": f"a.*b{number}"} for number in range(30)]}


@pytest.mark.parametrize("temperature", [0, 1, 50])
def test_an_answer_follows_its_schema_and_ends_where_nothing_more_may_come(engine_of, ask, temperature):
    engine = engine_of()
    held = Grammars(engine.base).of_schema("ann", PERSON)
    asked = [
        ask(engine, grammar=held, max_tokens=80, sampling=Sampling(temperature=temperature, seed=seed, min_p=0.2))
        for seed in range(6)
    ]
    beside = ask(engine, max_tokens=20)
    for client in asked:
        found = json.loads(client.wait().text)
        assert (found["name"] in ("ann", "bob"), 0 <= found["age"] <= 150) == (True, True)
        assert client.finished.reason == "stop"
    assert beside.wait().ids == ask(engine, max_tokens=20).wait().ids


def test_log_probabilities_are_told_of_the_model_and_not_of_what_is_left(engine_of, ask):
    engine = engine_of()
    held = Grammars(engine.base).of_schema("ann", PERSON)
    first = ask(engine, grammar=held, max_tokens=1, top_logprobs=2).wait().tokens[0].scored
    free = ask(engine, max_tokens=1, top_logprobs=2).wait().tokens[0].scored
    assert first.top == free.top
    assert first.logprob < free.logprob


def test_a_token_that_is_not_allowed_is_not_drawn_whatever_its_bias(engine_of, ask):
    engine = engine_of()
    held = Grammars(engine.base).of_schema("ann", {"enum": ["yes", "no"]})
    biased = Sampling(temperature=0, logit_bias=tuple((id, 100.0) for id in engine.base.encode("maybe")))
    assert json.loads(ask(engine, grammar=held, sampling=biased).wait().text) in ("yes", "no")


def test_an_answer_with_nothing_left_to_say_ends_with_its_own_error_and_others_go_on(engine_of, ask, monkeypatch):
    engine = engine_of()
    expected = ask(engine, max_tokens=20).wait().ids
    held = Grammars(engine.base).of_schema("ann", {"type": "string"})
    looks = []

    def look(constraint):
        looks.append(None)
        constraint.allowed = np.full(33, 255 if len(looks) < 5 else 0, np.uint8)
        if not constraint.allowed.any():
            raise module._stuck()

    monkeypatch.setattr(module.Constraint, "look", look)
    monkeypatch.setattr(module.Constraint, "accept", lambda constraint, id: None)
    stuck, other = ask(engine, grammar=held, max_tokens=20), ask(engine, max_tokens=20)
    assert other.wait().ids == expected
    assert (stuck.wait().finished.reason, len(stuck.ids)) == ("failed", 4)
    assert isinstance(stuck.finished.error, GrammarFailed)
    assert engine.healthy


def test_a_token_that_does_not_follow_is_an_error():
    base = type(
        "Base", (), {"tokens": Tokens(models.tokenizer(), 259), "head": torch.zeros(259, 1), "end_tokens": (2,)}
    )
    held = Grammars(base).of_schema("ann", {"type": "integer"}).begin()
    held.look()
    with pytest.raises(GrammarFailed):
        held.accept(base.tokens.encode("x")[0])


@pytest.mark.parametrize(
    "schema",
    [
        EXPLODING,
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "string", "pattern": "("},
        {"type": "nothing we know"},
        {"$ref": "https://example.com/schema.json"},
        {"not": {"type": "string"}, "dependentSchemas": {"a": {}}},
        {"enum": ["x" * 70_000]},
    ],
)
def test_a_schema_that_blows_up_or_makes_no_sense_is_refused_in_bounded_time(base_of, schema):
    begun = time.process_time()
    with pytest.raises(GrammarError):
        Grammars(base_of("llama")).of_schema("ann", schema)
    assert time.process_time() - begun < 10


@pytest.mark.slow
def test_the_limits_hold_for_each_step_as_well(base_of):
    wide = {"type": "object", "properties": {f"k{n}": {"type": "string"} for n in range(1500)}}
    held = Grammars(base_of("llama")).of_schema("ann", wide).begin()
    begun = time.thread_time()
    held.look()
    assert time.thread_time() - begun < 0.5


def test_what_was_made_for_somebody_is_made_once_and_forgotten_with_them(base_of, monkeypatch):
    tried = []
    grammars = Grammars(base_of("llama"))
    monkeypatch.setattr(module, "_try", tried.append)
    for owner in ("ann", "ann", "bob"):
        grammars.of_schema(owner, PERSON)
    assert len(tried) == 2
    grammars.forget("ann")
    assert {owner for owner, _ in grammars._kept} == {"bob"}


@pytest.mark.parametrize("unigram", [False, True])
def test_tokens_with_spaces_of_their_own_follow_as_well(unigram):
    tokens = Tokens(models.sentencepiece(unigram=unigram), 400)
    base = type("Base", (), {"tokens": tokens, "head": torch.zeros(400, 1), "end_tokens": (2,)})
    held = Grammars(base).of_schema("ann", PERSON).begin()
    held.look()
    allowed = np.flatnonzero(np.unpackbits(held.allowed, bitorder="little"))
    assert {tokens.backend.id_to_token(int(id)).lstrip("▁")[:1] for id in allowed} == {"{"}
