"""Prompts to continuations: each row of a batch is the row it would be alone."""

import numpy as np
import pytest
import torch
from tests.models import ARCHITECTURES

from sharedllm.errors import InvalidInput
from sharedllm.serving.generation import Request, chat_prompt, generate

PROMPTS = ["A", "Who came to the door?", "def main():\n    return", "Wer hat an der Uhr gedreht?"]
TOKENS = 12


@pytest.fixture
def raw(monkeypatch):
    """Answers as token ids: made-up bytes need not be text, and two of them could read the same."""
    monkeypatch.setattr("sharedllm.base.loading.Base.decode", lambda self, ids: list(ids))


def rows(layout, count):
    """One row of the base, and others that are far from it and from one another."""
    random = np.random.default_rng(0)
    return [np.zeros(layout.size, np.float32)] + [
        random.normal(0, 0.5, layout.size).astype(np.float32) for _ in range(count - 1)
    ]


@pytest.mark.parametrize(
    ("architecture", "format"),
    [("llama", "steering"), ("llama", "ia3"), *((architecture, "norm") for architecture in ARCHITECTURES)],
)
def test_every_row_of_a_mixed_batch_is_what_it_is_alone(base_of, inject, raw, architecture, format):
    base = base_of(architecture, torch.float64)
    injection = inject(base, format)
    requests = [
        Request(base.encode(prompt), row)
        for prompt, row in zip(PROMPTS, rows(injection.layout, len(PROMPTS)), strict=True)
    ]
    together = generate(base, injection, requests, max_tokens=TOKENS)
    alone = [generate(base, injection, [request], max_tokens=TOKENS)[0] for request in requests]
    for answer, expected in zip(together, alone, strict=True):
        # One who ends early is padded in a batch.
        assert answer[: len(expected)] == expected
        assert set(answer[len(expected) :]) <= {base.tokenizer.pad_token_id}
    assert generate(base, injection, requests[::-1], max_tokens=TOKENS) == together[::-1]


def test_two_users_with_one_prompt_each_get_their_own_answer(base_of, inject, raw):
    base = base_of("llama", torch.float64)
    injection = inject(base)
    prompt = base.encode(PROMPTS[1])
    answers = generate(base, injection, [Request(prompt, row) for row in rows(injection.layout, 3)], max_tokens=TOKENS)
    assert len({tuple(answer) for answer in answers}) == 3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_zeros_are_the_base_itself(base_of, inject, raw, architecture):
    base = base_of(architecture)
    ids = base.encode(PROMPTS[1])
    plain = base.model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=TOKENS,
        do_sample=False,
        pad_token_id=base.tokenizer.pad_token_id,
    )
    injection = inject(base)
    zeros = np.zeros(injection.layout.size, np.float32)
    assert generate(base, injection, [Request(ids, zeros)], max_tokens=TOKENS) == [plain[0, len(ids) :].tolist()]


def test_the_base_is_itself_again_afterwards(base_of, inject, weights_hash):
    base = base_of("llama")
    before = weights_hash(base.model)
    ids = torch.tensor([base.encode(PROMPTS[0])])
    logits = base.model(ids).logits
    injection = inject(base)
    generate(base, injection, [Request(ids[0].tolist(), rows(injection.layout, 2)[1])], max_tokens=2)
    assert weights_hash(base.model) == before
    assert torch.equal(base.model(ids).logits, logits)


def test_an_answer_is_text_without_special_tokens_and_no_longer_than_asked(base_of, inject):
    base = base_of("llama")
    injection = inject(base)
    (answer,) = generate(base, injection, [Request(base.encode("A"), rows(injection.layout, 1)[0])], max_tokens=3)
    assert len(base.encode(answer)) <= 3 * len("�".encode())
    assert "<pad>" not in answer


@pytest.mark.parametrize(
    ("tokens", "max_tokens", "expected"),
    [
        (0, 12, "0 tokens. Use between 1 and 500"),
        (501, 12, "501 tokens. Use between 1 and 500"),
        (1, 512, "512 new tokens do not fit"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(base_of, inject, tokens, max_tokens, expected):
    base = base_of("llama")
    injection = inject(base)
    zeros = np.zeros(injection.layout.size, np.float32)
    with pytest.raises(InvalidInput, match=expected):
        generate(base, injection, [Request([5], zeros), Request([5] * tokens, zeros)], max_tokens=max_tokens)


def test_the_longest_prompt_that_is_allowed_works(base_of, inject):
    base = base_of("gpt2")
    injection = inject(base)
    zeros = np.zeros(injection.layout.size, np.float32)
    assert len(generate(base, injection, [Request([5] * 508, zeros)], max_tokens=4)) == 1


def test_a_question_is_put_in_the_bases_own_chat_format_if_it_has_one(base_of, monkeypatch):
    base = base_of("llama")
    assert chat_prompt(base, "hello") == base.encode("hello")
    monkeypatch.setattr(base.tokenizer, "chat_template", "Q: {{ messages[0]['content'] }}\nA:")
    assert chat_prompt(base, "hello") == base.encode("Q: hello\nA:")
