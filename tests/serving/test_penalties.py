"""Biases and penalties are as their authors define them, and of nobody but whoever asks for them."""

from collections import Counter

import pytest
import torch

from sharedllm.errors import InvalidInput
from sharedllm.serving.penalties import Said, adjust
from sharedllm.serving.request import Sampling

PROMPT, ANSWER = [3, 4, 4, 5], [4, 7, 7, 7, 9]


def said(prompt, answer):
    found = Said(prompt, len(answer))
    for id in answer:
        found.add(id)
    return found


def by_the_book(logits, sampling, prompt, answer):
    """OpenAI's and Keskar's formulas, a token at a time."""
    found, counts = logits.clone(), Counter(answer)
    for id, bias in sampling.logit_bias:
        found[id] += bias
    for id in {*prompt, *answer}:
        r = sampling.repetition_penalty
        found[id] = found[id] / r if found[id] > 0 else found[id] * r
        found[id] -= counts[id] * sampling.frequency_penalty + float(counts[id] > 0) * sampling.presence_penalty
    return found


ASKED = [
    Sampling(),
    Sampling(repetition_penalty=1.3),
    Sampling(repetition_penalty=0.8),
    Sampling(frequency_penalty=0.5),
    Sampling(frequency_penalty=-1.5, presence_penalty=2),
    Sampling(presence_penalty=0.7),
    Sampling(logit_bias=((4, 5.0), (11, -100.0))),
    Sampling(logit_bias=((7, -3.0),), repetition_penalty=1.5, frequency_penalty=0.1, presence_penalty=0.2),
]


def test_each_row_is_adjusted_by_its_own_history_and_as_the_formulas_say():
    logits = torch.randn(len(ASKED), 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    histories = [(PROMPT[row % 3 :], ANSWER[: row % 6]) for row in range(len(ASKED))]
    expected = torch.stack(
        [by_the_book(row, each, *own) for row, each, own in zip(logits, ASKED, histories, strict=True)]
    )
    found = logits.clone()
    adjust(found, ASKED, [said(*own) if each.penalises else None for each, own in zip(ASKED, histories, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for row, (each, own) in enumerate(zip(ASKED, histories, strict=True)):
        alone = logits[row : row + 1].clone()
        adjust(alone, [each], [said(*own) if each.penalises else None])
        assert torch.equal(alone[0], found[row])


def test_what_is_said_is_counted_in_the_answer_alone():
    found = said(PROMPT, ANSWER)
    assert dict(zip(found.ids.tolist(), found.counts.tolist(), strict=True)) == {3: 0, 4: 1, 5: 0, 7: 3, 9: 1}


@pytest.mark.parametrize(
    "asked",
    [
        {"top_k": -1},
        {"repetition_penalty": 0},
        {"repetition_penalty": float("nan")},
        {"frequency_penalty": 2.1},
        {"presence_penalty": float("inf")},
        {"logit_bias": ((1, 101.0),)},
        {"logit_bias": ((1, float("nan")),)},
        {"logit_bias": ((1, 1.0), (1, 2.0))},
    ],
)
def test_what_is_outside_its_range_is_refused_by_name(asked):
    with pytest.raises(InvalidInput, match=next(iter(asked))):
        Sampling(**asked)
