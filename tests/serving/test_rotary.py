"""Attention by kernels from product to product answers as the base's own layers do, and only where it is the same."""

import pytest
import torch
from tests import models
from transformers import Glm4MoeConfig, MistralConfig, OlmoConfig

from sharedllm.base import compiled_kernels, fused_norms
from sharedllm.serving import runner
from sharedllm.serving.attention import rotary
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits

pytestmark = pytest.mark.skipif(compiled_kernels.kernels() is None, reason="there is no compiler here")
LIMITS = Limits(running=8, cache_tokens=1024, batch_tokens=16, table_bytes=0)


def mistral(folder, *, seed=0, **config):
    """Looks at the last few tokens alone."""
    return models.save(MistralConfig(**{**models._SIZES, "sliding_window": 8, **config}), folder, seed)


def biased(folder, **config):
    """Has biases, and key heads of its own for each head."""
    return models.llama(folder, attention_bias=True, num_key_value_heads=4, **config)


def scaled(folder, **config):
    """Scales its scores otherwise than by the width of a head: heads are as wide as all of it."""
    return models.llama(folder, head_dim=32, **config)


def partly(folder, *, seed=0, **config):
    """Turns half of each head: its cosines are as wide as that."""
    experts = {"n_routed_experts": 2, "num_experts_per_tok": 1, "n_shared_experts": 1, "moe_intermediate_size": 16}
    plain = {"first_k_dense_replace": 2, "n_group": 1, "topk_group": 1, "partial_rotary_factor": 0.5}
    return models.save(Glm4MoeConfig(**{**models._SIZES, **experts, **plain, **config}), folder, seed)


def olmo(folder, *, seed=0, **config):
    """Turns in single precision whatever it computes in; its norms have no gains."""
    return models.save(OlmoConfig(**{**models._SIZES, **config}), folder, seed)


def by_kernels(engine):
    return [
        type(each).__name__
        for each in engine.base.model.modules()
        if "forward" in vars(each) and "q_proj" in vars(each)["_modules"]
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "make", [models.llama, models.adapted, mistral, biased, scaled, models.qwen3, models.gemma3, models.gpt2]
)
def test_answers_are_those_without_kernels(loaded, ask, row, monkeypatch, make, dtype):
    base = loaded(make, dtype)

    def answers():
        engine = Engine(base, LIMITS)
        taken = by_kernels(engine)
        engine.start()
        prompts = [list(range(5, 5 + length)) for length in (3, 9, 30)]
        values = [None, *(row(engine.layout.size, seed) for seed in (1, 2))]
        asked = [
            ask(
                engine,
                prompt,
                f"{n}",
                release=None if own is None else f"{n}",
                values=own,
                max_tokens=20,
                top_logprobs=0,
            )
            for n, (prompt, own) in enumerate(zip(prompts, values, strict=True))
        ]
        found = [(each.wait().ids, each.logprobs) for each in asked]
        engine.close()
        return found, taken

    found, taken = answers()
    assert len(taken) == (0 if make in (models.qwen3, models.gemma3, models.gpt2) else 2)
    for each in (runner, fused_norms, rotary):
        monkeypatch.setattr(each, "kernels", lambda: None)
    expected, none = answers()
    assert not none
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[0] == theirs[0]
        assert mine[1] == pytest.approx(theirs[1], abs=1e-4)


@pytest.mark.parametrize("changed", ["interleaved", "otherwise scaled"])
def test_a_layer_that_does_something_else_is_left_alone(loaded, monkeypatch, changed):
    base = loaded()
    layer = type(base.model.model.layers[0].self_attn)
    own = layer.forward

    def forward(self, hidden_states, position_embeddings, **named):
        if changed == "interleaved":
            position_embeddings = tuple(each.flip(-1) for each in position_embeddings)
            return own(self, hidden_states, position_embeddings=position_embeddings, **named)
        return own(self, hidden_states * 2, position_embeddings=position_embeddings, **named)

    monkeypatch.setattr(layer, "forward", forward)
    engine = Engine(base, LIMITS)
    assert not by_kernels(engine)
    engine.close()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("make", [partly, olmo])
def test_turns_that_are_not_as_kernels_read_them_are_left_to_the_layer(loaded, ask, monkeypatch, make, dtype):
    """Narrower or of another dtype, they would be read beyond their end."""
    base, found = loaded(make, dtype), []
    for with_kernels in (True, False):
        for each in () if with_kernels else (runner, fused_norms, rotary):
            monkeypatch.setattr(each, "kernels", lambda: None)
        engine = Engine(base, LIMITS, format="ia3")
        engine.start()
        found.append([ask(engine, [5, 6, 7 + n], f"{n}", max_tokens=1).wait().logprobs[0] for n in range(2)])
        engine.close()
    assert found[0] == pytest.approx(found[1], abs=0.1 if dtype is torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("most", "taken"), [(None, 2), (50.0, 0)])
def test_a_layer_that_cuts_off_what_is_too_large_is_left_alone(loaded, dtype, most, taken):
    """Of ordinary states nothing is."""
    engine = Engine(loaded(olmo, dtype, clip_qkv=most), LIMITS, format="ia3")
    assert len(by_kernels(engine)) == taken
    engine.close()


def test_a_layer_without_a_place_in_the_cache_is_not_even_asked(loaded, monkeypatch):
    """As those of a tower that hears are, beside a model that reads."""
    base, asked = loaded(models.llama, torch.float32), []
    monkeypatch.setattr(rotary, "_asked", lambda module, *_: asked.append(module))
    hears, reads = (layer.self_attn for layer in base.model.model.layers)
    del hears.layer_idx
    rotary.Rotary(base)
    assert asked == [reads]
