"""Prompts to continuations: each row of a batch is the row it would be alone."""

import threading

import numpy as np
import pytest
import torch
from tests.models import ARCHITECTURES

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import EngineStopped, InvalidInput, NotServed, UnknownUser
from sharedllm.operations.ask import ask, generate
from sharedllm.operations.workplace import Workplace
from sharedllm.serving.request import Sampling
from sharedllm.store import open_store

PROMPTS = ["A", "Who came to the door?", "def main():\n    return", "Wer hat an der Uhr gedreht?"]
TOKENS = 12


@pytest.fixture
def raw(monkeypatch):
    """Answers as token ids: made-up bytes need not be text, and two of them could read the same."""

    class Ids:
        stopped = False

        def __init__(self, base, stop, prompt):
            """Nothing to remember."""

        def write(self, token):
            return f"{token} "

        def end(self):
            return ""

    monkeypatch.setattr("sharedllm.serving.sequence.Detokenizer", Ids)


def rows(base, count, format="norm"):
    """One row of the base, and stored ones that are far from it and from one another."""
    size, random = layout_of(base, format).size, np.random.default_rng(0)
    return [None, *(random.normal(0, 2, (count - 1, size)).astype(np.float16).astype(np.float32))]


@pytest.mark.parametrize(
    ("architecture", "format"),
    [
        ("llama", "steering"),
        ("llama", "ia3"),
        ("adapted", "bank"),
        ("adapted", "norm+bank"),
        *((architecture, "norm") for architecture in ARCHITECTURES),
    ],
)
def test_every_row_of_a_mixed_batch_is_what_it_is_alone(base_of, raw, architecture, format):
    base = base_of(architecture, torch.float64)
    own = rows(base, len(PROMPTS), format)
    prompts = [(base.encode(prompt), row) for prompt, row in zip(PROMPTS, own, strict=True)]
    together = generate(base, prompts, max_tokens=TOKENS, format=format)
    assert together == [generate(base, [prompt], max_tokens=TOKENS, format=format)[0] for prompt in prompts]
    assert generate(base, prompts[::-1], max_tokens=TOKENS, format=format) == together[::-1]


@pytest.mark.parametrize("format", ["norm", "steering", "ia3", "bank"])
def test_two_users_with_one_prompt_each_get_their_own_answer(base_of, raw, format):
    base = base_of("adapted", torch.float64)
    prompt = base.encode(PROMPTS[1])
    answers = generate(base, [(prompt, row) for row in rows(base, 3, format)], max_tokens=TOKENS, format=format)
    assert len(set(answers)) == 3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_zeros_are_the_base_itself(base_of, raw, architecture):
    base = base_of(architecture, torch.float64)
    ids = base.encode(PROMPTS[1])
    plain = base.model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=TOKENS,
        do_sample=False,
        pad_token_id=base.tokenizer.pad_token_id,
    )
    # The token that ends an answer is not part of it.
    expected = "".join(f"{id} " for id in plain[0, len(ids) :].tolist() if id != base.tokenizer.eos_token_id)
    zeros = np.zeros(layout_of(base).size, np.float32)
    assert generate(base, [(ids, zeros), (ids, None)], max_tokens=TOKENS) == [expected, expected]


def test_the_base_is_itself_again_afterwards(base_of, weights_hash):
    base = base_of("llama")
    before = weights_hash(base.model)
    # Where weights begin in a line of memory decides in which order torch adds up: here as an engine leaves them.
    for weight in base.model.parameters():
        weight.data = weight.data.clone()
    ids = torch.tensor([base.encode(PROMPTS[0])])
    logits = base.model(ids).logits
    generate(base, [(ids[0].tolist(), rows(base, 2)[1])], max_tokens=2)
    assert weights_hash(base.model) == before
    assert torch.equal(base.model(ids).logits, logits)


def test_an_answer_is_text_without_special_tokens_and_no_longer_than_asked(base_of):
    base = base_of("llama")
    (answer,) = generate(base, [(base.encode("A"), None)], max_tokens=3)
    assert len(base.encode(answer)) <= 3 * len("�".encode())
    assert "<pad>" not in answer


def test_the_pieces_are_told_as_they_come_and_make_the_answers(base_of):
    base = base_of("llama")
    told = []
    answers = generate(
        base,
        [(base.encode("A"), row) for row in rows(base, 2)],
        max_tokens=40,
        on_text=lambda place, text: told.append((place, text)),
    )
    assert len(told) > 2
    assert ["".join(text for at, text in told if at == place) for place in (0, 1)] == answers


@pytest.mark.parametrize(
    ("tokens", "max_tokens", "expected"),
    [
        (0, 12, "empty. Give at least one token"),
        (501, 12, "501 tokens .* context of 512. Use between 1 and 500 tokens"),
        (1, 512, "512 new ones does not fit the context of 512"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(base_of, tokens, max_tokens, expected):
    with pytest.raises(InvalidInput, match=expected):
        generate(base_of("llama"), [([5], None), ([5] * tokens, None)], max_tokens=max_tokens)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_longest_prompt_that_is_allowed_works(base_of, architecture):
    assert len(generate(base_of(architecture), [([5] * 508, None)] * 2, max_tokens=4)) == 2


def test_a_row_that_is_not_a_stored_releases_is_an_error_and_not_an_answer(base_of):
    base = base_of("llama")
    for values in (np.full(layout_of(base).size, 0.1, np.float32), np.zeros(3, np.float32)):
        with pytest.raises(EngineStopped, match="float16 deviations"):
            generate(base, [(base.encode("A"), values)], max_tokens=4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_whatever_ends_an_answer_early_leaves_the_base_as_it_was(base_of, error):
    base = base_of("llama")
    ids = base.encode(PROMPTS[1])
    logits = base.model(torch.tensor([ids])).logits
    threads = threading.active_count()

    def stop(place, text):
        raise error

    with pytest.raises(error):
        generate(base, [(ids, rows(base, 2)[1])], max_tokens=400, on_text=stop)
    assert threading.active_count() == threads
    assert torch.equal(base.model(torch.tensor([ids])).logits, logits)


def test_a_model_that_fails_is_a_typed_error(base_of, monkeypatch):
    base = base_of("llama")

    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("sharedllm.serving.sampler.draw", fail)
    with pytest.raises(EngineStopped, match="out of memory"):
        generate(base, [(base.encode("A"), None)], max_tokens=4)


@pytest.fixture
def alice(base_of):
    """A workplace, and a store in which alice has a release that is served, and bob one that is held back."""
    base = base_of("llama")
    row = rows(base, 2)[1]
    with open_store(":memory:") as store, Workplace(base) as workplace:
        for user, gate in (("alice", GateOutcome(True, "made up")), ("bob", GateOutcome(False, "made up"))):
            store.publish(user, Adapter("norm", base.fingerprint, row), gate)
        yield workplace, store


def test_a_user_is_answered_with_their_own_row_and_the_base_with_none(alice, base_of):
    workplace, store = alice
    base, row = base_of("llama"), store.served("alice").adapter.values
    drawn = Sampling(temperature=1, seed=7)
    own, plain = generate(base, [(base.encode(PROMPTS[1]), each) for each in (row, None)], max_tokens=8, sampling=drawn)
    answer = ask(workplace, store, "alice", PROMPTS[1], max_tokens=8, sampling=drawn, compare=True)
    assert (answer.text, answer.base_text) == (own, plain)
    assert (answer.decision.kind, answer.decision.release.number) == ("own", 1)
    assert ask(workplace, None, "whoever", PROMPTS[1], max_tokens=8, sampling=drawn).text == plain


def test_who_answers_is_told_before_they_do(alice):
    workplace, store = alice
    told = []
    ask(
        workplace,
        store,
        "alice",
        PROMPTS[1],
        max_tokens=8,
        on_route=told.append,
        on_text=lambda place, text: told.append(place),
    )
    assert told[0].release.number == 1
    assert set(told[1:]) == {0}


@pytest.mark.parametrize(("user", "error"), [("carol", UnknownUser), ("bob", NotServed)])
def test_whom_no_release_may_answer_is_refused_before_a_base_is_looked_for_unless_the_base_may(alice, user, error):
    workplace, store = alice
    with pytest.raises(error):
        ask(Workplace("no such base"), store, user, PROMPTS[1])
    answer = ask(workplace, store, user, PROMPTS[1], max_tokens=2, fallback=True)
    assert (answer.decision.kind, type(answer.decision.refusal)) == ("base", error)


def test_a_stranger_is_answered_by_the_prior_of_a_base_that_has_one_and_told_so_loaded_or_not(base_of, folder_of):
    base = base_of("adapted")
    with open_store(":memory:") as store:
        for place in (Workplace(base), Workplace(str(folder_of("adapted")), load=lambda name: base)):
            told = ask(place, store, "carol", PROMPTS[1], max_tokens=4, fallback=True).decision
            assert (told.kind, type(told.refusal)) == ("prior", UnknownUser)
            asked = ask(place, None, "carol", PROMPTS[1], max_tokens=4).decision
            assert (asked.kind, asked.reason) == ("prior", "The prior answers, as asked.")


def test_a_prompt_that_is_no_text_is_refused_before_anything_else():
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        ask(Workplace("no such base"), None, "alice", "\udcff")


def test_an_empty_prompt_is_refused_before_anything_else():
    for continuing in (False, True):
        with pytest.raises(InvalidInput, match="The prompt is empty"):
            ask(Workplace("no such base"), None, "alice", "", continuing=continuing, on_route=pytest.fail)
