"""How many tokens a base reads, and within how many nobody's length changes how another's are read."""

import copy

import numpy as np
import pytest
import torch
from tests import models

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.context_length import check_window, context_of, exact_context, steady_context
from sharedllm.errors import UnsupportedBase
from sharedllm.evaluation.perplexity import base_losses
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fixed_positions_are_steady_in_the_whole_context(base_of, architecture, dtype):
    base = base_of(architecture, dtype)
    assert (context_of(base), steady_context(base)) == (512, 512)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_longrope_is_steady_up_to_the_original_context(loaded, dtype):
    base = loaded(models.phi3, dtype)
    assert (context_of(base), steady_context(base)) == (512, 64)


def test_beyond_it_longrope_reads_all_texts_alike(loaded, caplog):
    assert exact_context(loaded(models.phi3)) == 512
    assert not caplog.text


def test_yarn_is_steady_in_the_whole_context(loaded):
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 64}
    assert steady_context(loaded(rope_parameters=rope)) == 512


def test_dynamic_scaling_is_steady_in_the_context_that_it_begins_after(loaded):
    base = loaded(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0})
    assert steady_context(base) == 512


def test_frequencies_that_stay_grown_are_steady_only_where_they_are_reset(loaded, caplog):
    base = loaded(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0})
    rotary = base.model.model.rotary_emb
    # As of a model whose frequencies grow within what its config calls its context.
    rotary.config = copy.deepcopy(rotary.config)
    rotary.config.max_position_embeddings = rotary.original_max_seq_len = rotary.max_seq_len_cached = 100
    with torch.no_grad():
        before = base.model(torch.arange(3, 63)[None]).logits
    assert (steady_context(base), exact_context(base)) == (99, 99)
    assert "99 of its 512 tokens" in caplog.text
    with torch.no_grad():
        assert torch.equal(base.model(torch.arange(3, 63)[None]).logits, before)


def test_a_context_that_the_config_does_not_tell_is_refused(loaded):
    with pytest.raises(UnsupportedBase, match="BloomForCausalLM does not say"):
        context_of(loaded(models.bloom))


def test_windows_longer_than_the_context_are_refused_before_any_work(loaded):
    base = loaded(models.llama, max_position_embeddings=128)
    check_window(base, 128)
    with pytest.raises(UnsupportedBase, match=r"256 tokens do not fit the context of .*, 128"):
        check_window(base, 256)
    check_window(loaded(models.bloom), 256)


def test_they_are_refused_in_training_and_in_evaluation(loaded):
    base = loaded(models.gpt2, n_positions=128)
    injection = Injection(base, layout_of(base))
    with pytest.raises(UnsupportedBase, match="256 tokens do not fit"):
        train_vectors(base, injection, [], Recipe("r"))
    with pytest.raises(UnsupportedBase, match="256 tokens do not fit"):
        base_losses(base, np.zeros((1, 256), np.int64))
