import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests import models
from tests.adapters.exchange.conftest import assert_same_logits, load, logits, our_logits, random_adapter
from transformers import AutoModelForCausalLM, AutoTokenizer

from sharedllm.adapters.exchange.merged import export_merged
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.fingerprint import FRAMES
from sharedllm.base.frames import PRIOR
from sharedllm.errors import AdapterError, BaseError, InvalidInput, UnsupportedBase, WrongBase


@pytest.fixture(params=models.ARCHITECTURES)
def base(request, base_of):
    return base_of(request.param)


@pytest.fixture
def llama(base_of):
    return base_of("llama")


def load_merged(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", **options).eval()


def test_plain_transformers_loads_the_folder_and_gives_our_logits(base, tmp_path):
    layout = layout_of(base)
    adapter = random_adapter(layout)
    export_merged(base, layout, adapter, tmp_path / "out")
    assert_same_logits(logits(load_merged(tmp_path / "out")), our_logits(base, layout, adapter), logits(base.model))
    text = "Hello, ключ 🗝"
    assert AutoTokenizer.from_pretrained(tmp_path / "out")(text) == base.tokenizer(text)


def test_only_the_norms_differ_from_the_base(base, tmp_path):
    layout = layout_of(base)
    export_merged(base, layout, random_adapter(layout), tmp_path / "out")
    before, after = load_file(base.folder / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    changed = {name for name in before if before[name].numpy().tobytes() != after[name].numpy().tobytes()}
    assert after.keys() == before.keys()
    assert {name.rpartition(".")[0] for name in changed} == {site.name for site in layout.sites}
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (base.folder / "tokenizer.json").read_bytes()
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == json.loads(
        (base.folder / "config.json").read_text()
    )


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3"])
def test_ia3_folds_into_keys_values_and_the_projection_down(tmp_path, name):
    folder = models.ARCHITECTURES[name](tmp_path / "base")
    base = load(folder)
    layout = layout_of(base, "ia3")
    adapter = random_adapter(layout, spread=0.5)
    export_merged(base, layout, adapter, tmp_path / "out")
    assert_same_logits(logits(load_merged(tmp_path / "out")), our_logits(base, layout, adapter), logits(base.model))


@pytest.mark.parametrize("format", ["bank", "norm+bank", "core"])
def test_coordinates_fold_into_the_projections_that_have_frames(base_of, cores, tmp_path, format):
    base = base_of("adapted")
    layout = layout_of(base, format)
    adapter = random_adapter(layout, spread=0.5)
    export_merged(base, layout, adapter, tmp_path / "out")
    assert_same_logits(logits(load_merged(tmp_path / "out")), our_logits(base, layout, adapter), logits(base.model))


def test_a_model_on_a_prior_goes_without_its_frames_and_without_the_list_of_whose_texts_are_in_it(base_of, tmp_path):
    base = base_of("adapted")
    layout = layout_of(base, "bank")
    export_merged(base, layout, random_adapter(layout), tmp_path / "out")
    assert not {FRAMES, PRIOR} & {path.name for path in (tmp_path / "out").iterdir()}


def test_frames_that_are_not_those_that_were_loaded_are_refused(tmp_path):
    base = load(models.adapted(tmp_path / "base"))
    layout = layout_of(base, "bank")
    (base.folder / FRAMES).write_bytes((models.adapted(tmp_path / "other", seed=1) / FRAMES).read_bytes())
    with pytest.raises(UnsupportedBase, match=r"frame of model.layers.0"):
        export_merged(base, layout, random_adapter(layout), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_steering_has_no_weight_to_go_to(llama, tmp_path):
    layout = layout_of(llama, "steering")
    with pytest.raises(AdapterError, match="no bias to hold it"):
        export_merged(llama, layout, random_adapter(layout), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_sixteen_bit_weights_in_several_files_get_float32_norms_and_a_float32_configuration(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(models.qwen3(tmp_path / "float32")).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "base", max_shard_size="20KB")
    models.tokenizer().save_pretrained(tmp_path / "base")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 1
    base = load(tmp_path / "base")
    layout = layout_of(base)
    # Deviations that bfloat16, whose steps near 1 are 0.008, would mostly lose.
    adapter = random_adapter(layout, spread=0.004)
    export_merged(base, layout, adapter, tmp_path / "out")
    merged = load_merged(tmp_path / "out")
    assert merged.dtype == torch.float32
    torch.testing.assert_close(logits(merged), our_logits(base, layout, adapter), rtol=1e-4, atol=1e-5)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = {tmp_path / "out" / file for file in index["weight_map"].values()}
    tensors = [tensor for file in files for tensor in load_file(file).values()]
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors)


def test_a_checkpoint_saved_without_its_head_is_found(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(models.gpt2(tmp_path / "whole"))
    model.base_model.save_pretrained(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config | {"architectures": ["GPT2LMHeadModel"]}))
    models.tokenizer().save_pretrained(tmp_path / "base")
    base = load(tmp_path / "base")
    layout = layout_of(base)
    adapter = random_adapter(layout)
    export_merged(base, layout, adapter, tmp_path / "out")
    assert_same_logits(logits(load_merged(tmp_path / "out")), our_logits(base, layout, adapter), logits(base.model))


def test_files_that_are_not_what_was_loaded_are_refused(tmp_path):
    base = load(models.llama(tmp_path / "base"))
    layout = layout_of(base)
    models.llama(tmp_path / "base", seed=1)
    with pytest.raises(UnsupportedBase, match="input_layernorm"):
        export_merged(base, layout, random_adapter(layout), tmp_path / "out")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(BaseError, match="cannot be listed"):
        export_merged(base, layout, random_adapter(layout), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_bases_adapter_and_a_used_folder_are_refused(llama, tmp_path):
    layout = layout_of(llama)
    adapter = random_adapter(layout)
    with pytest.raises(WrongBase):
        export_merged(llama, layout, replace(adapter, base="0" * 64), tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match="not an empty folder"):
        export_merged(llama, layout, adapter, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
