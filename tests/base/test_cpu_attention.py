"""Our attention is transformers' own attention, computed in another order."""

import pytest
import torch
from tests import models
from transformers import AutoModelForCausalLM

from sharedllm.base.cpu_attention import register_attention
from sharedllm.errors import UnsupportedBase


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_logits_and_gradients_are_those_of_the_librarys_plain_attention(tmp_path, architecture):
    folder = models.ARCHITECTURES[architecture](tmp_path / architecture)
    ids = torch.randint(0, 100, (2, 21), generator=torch.Generator().manual_seed(0))
    results = []
    for attention in ("eager", register_attention()):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation=attention)
        logits = model(input_ids=ids, use_cache=False).logits
        logits.pow(2).mean().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    for library, ours in zip(*results, strict=True):
        # The library takes its softmax in float32 whatever the dtype.
        torch.testing.assert_close(ours, library, rtol=1e-4, atol=1e-6)


def test_padded_sequences_read_only_their_own_tokens(tmp_path):
    folder = models.llama(tmp_path / "llama")
    ids = torch.randint(0, 100, (1, 16), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation=register_attention())
    padded = model(input_ids=ids, attention_mask=mask, position_ids=mask.cumsum(1) - 1).logits[:, 5:]
    alone = model(input_ids=ids[:, 5:]).logits
    torch.testing.assert_close(padded, alone)


def test_decoding_with_a_cache_gives_the_same_tokens(tmp_path):
    folder = models.llama(tmp_path / "llama")
    ids = torch.arange(7).unsqueeze(0) + 10
    tokens = []
    for attention in ("eager", register_attention()):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation=attention)
        tokens.append(model.generate(ids, max_new_tokens=12, do_sample=False).tolist())
    assert tokens[0] == tokens[1]


def test_capped_scores_are_refused_with_the_reason(tmp_path):
    folder = models.gemma2(tmp_path / "capped", attn_logit_softcapping=30.0)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=register_attention())
    with pytest.raises(UnsupportedBase, match="caps its attention scores"):
        model(input_ids=torch.ones(1, 4, dtype=torch.long))
