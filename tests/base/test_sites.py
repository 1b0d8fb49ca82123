import pytest
import torch
from tests import models
from torch import nn

from sharedllm.adapters.formats.ia3 import ia3_sites
from sharedllm.adapters.formats.steering import steering_sites
from sharedllm.base.sites import Site, gain_offset, norm_sites, site_gains
from sharedllm.errors import UnsupportedBase


def expected_norms(architecture):
    per_block = {
        "llama": [("input_layernorm", 32), ("post_attention_layernorm", 32)],
        "qwen3": [
            ("self_attn.q_norm", 8),
            ("self_attn.k_norm", 8),
            ("input_layernorm", 32),
            ("post_attention_layernorm", 32),
        ],
        "gemma3": [
            ("self_attn.q_norm", 8),
            ("self_attn.k_norm", 8),
            ("input_layernorm", 32),
            ("post_attention_layernorm", 32),
            ("pre_feedforward_layernorm", 32),
            ("post_feedforward_layernorm", 32),
        ],
        "gpt2": [("ln_1", 32), ("ln_2", 32)],
        "adapted": [("input_layernorm", 32), ("post_attention_layernorm", 32)],
    }[architecture]
    blocks, last = ("transformer.h", "transformer.ln_f") if architecture == "gpt2" else ("model.layers", "model.norm")
    return [(f"{blocks}.{block}.{name}", width) for block in (0, 1) for name, width in per_block] + [(last, 32)]


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_every_norm_is_a_site_in_model_order(base_of, architecture):
    sites = norm_sites(base_of(architecture).model)
    assert [(site.name, site.width) for site in sites] == expected_norms(architecture)
    assert {(site.kind, site.at) for site in sites} == {("scale", "output")}


@pytest.mark.parametrize(("architecture", "axis"), [("qwen3", 1), ("gemma3", 2)])
def test_head_norms_know_which_axis_counts_tokens(base_of, architecture, axis):
    for site in norm_sites(base_of(architecture).model):
        assert site.token_axis == (axis if "self_attn" in site.name else 1)


@pytest.mark.parametrize("heads", [2, 4, 8])
def test_no_number_of_heads_is_mistaken_for_tokens(tmp_path, heads, monkeypatch):
    from sharedllm.base.loading import load_base

    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    folder = models.gemma3(tmp_path / "base", num_attention_heads=heads, num_key_value_heads=heads)
    sites = norm_sites(load_base(str(folder), device="cpu").model)
    assert {site.token_axis for site in sites if "self_attn" in site.name} == {2}


@pytest.mark.parametrize(("architecture", "offset"), [("llama", 0), ("qwen3", 0), ("gemma3", 1), ("gpt2", 0)])
def test_the_stored_gain_is_told_from_the_gain(base_of, architecture, offset):
    model = base_of(architecture).model
    for site in norm_sites(model):
        assert gain_offset(model.get_submodule(site.name)) == offset


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_site_gains_are_what_a_norm_multiplies_by(base_of, architecture):
    model = base_of(architecture).model
    sites = norm_sites(model)
    gains = site_gains(model, sites)
    assert gains.dtype == torch.float32
    for site, gain in zip(sites, gains.split([site.width for site in sites]), strict=True):
        norm = model.get_submodule(site.name)
        x = torch.randn(5, site.width)
        if architecture == "gpt2":
            expected = nn.functional.layer_norm(x, (site.width,)) * gain + norm.bias
        else:
            expected = x / x.pow(2).mean(-1, keepdim=True).sqrt() * gain
        torch.testing.assert_close(norm(x), expected, rtol=1e-3, atol=1e-4)


def hooks(model):
    # Other tests' injections may be on the shared base still.
    return [(list(module._forward_hooks), list(module._forward_pre_hooks)) for module in model.modules()]


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_looking_changes_nothing(base_of, weights_hash, architecture):
    model = base_of(architecture).model
    before = weights_hash(model), hooks(model)
    site_gains(model, norm_sites(model))
    assert (weights_hash(model), hooks(model)) == before


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_steering_shifts_the_last_block(base_of, architecture):
    blocks = "transformer.h" if architecture == "gpt2" else "model.layers"
    assert steering_sites(base_of(architecture).model) == (Site(f"{blocks}.1", 32, kind="shift"),)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3"])
def test_ia3_scales_keys_values_and_intermediates(base_of, architecture):
    assert ia3_sites(base_of(architecture).model) == tuple(
        site
        for block in (0, 1)
        for site in (
            Site(f"model.layers.{block}.self_attn.k_proj", 16),
            Site(f"model.layers.{block}.self_attn.v_proj", 16),
            Site(f"model.layers.{block}.mlp.down_proj", 48, at="input"),
        )
    )


def test_ia3_is_refused_where_the_projections_are_fused(base_of):
    with pytest.raises(UnsupportedBase, match="k_proj"):
        ia3_sites(base_of("gpt2").model)


def test_a_model_without_norms_is_refused():
    with pytest.raises(UnsupportedBase, match="no normalisation layer"):
        norm_sites(nn.Sequential(nn.Linear(4, 4)))


def test_a_model_whose_norms_see_no_tokens_is_refused(base_of, monkeypatch):
    model = base_of().model
    monkeypatch.setitem(model._modules, "side", nn.LayerNorm(4))
    asked = model.register_forward_pre_hook(lambda module, inputs: (module.side(torch.zeros(4)), None)[1])
    with pytest.raises(UnsupportedBase, match="side"):
        norm_sites(model)
    asked.remove()


def test_a_norm_that_reads_no_text_is_no_site(base_of, monkeypatch):
    model = base_of().model
    before = norm_sites(model)
    monkeypatch.setitem(model._modules, "vision", nn.LayerNorm(4))
    assert norm_sites(model) == before
