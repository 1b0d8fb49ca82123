import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import models
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from sharedllm.base import fingerprint as module
from sharedllm.base.fingerprint import fingerprint
from sharedllm.base.loading import load_base


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(folder_of, tmp_path):
    """A base that the test may change."""
    return shutil.copytree(folder_of(), tmp_path / "base")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_it_is_a_sha256_of_content_wherever_it_lies(folder, folder_of):
    assert len(fingerprint(folder)) == 64
    assert fingerprint(folder) == fingerprint(folder_of())


def test_it_does_not_depend_on_how_the_weights_are_cut_into_files(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "cut", max_shard_size="20KB")
    models.tokenizer().save_pretrained(tmp_path / "cut")
    assert len(list((tmp_path / "cut").glob("*.safetensors"))) > 2
    assert fingerprint(tmp_path / "cut") == fingerprint(folder)


def test_it_does_not_depend_on_the_dtype_it_runs_in(folder):
    runs = {load_base(str(folder), dtype=dtype, device="cpu").fingerprint for dtype in (torch.float32, torch.bfloat16)}
    assert runs == {fingerprint(folder)}


def test_where_a_config_came_from_does_not_count(folder):
    before = fingerprint(folder)
    edit(folder / "config.json", _name_or_path="elsewhere", transformers_version="9.9")
    assert fingerprint(folder) == before


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_every_architecture_has_its_own(folder_of, architecture, folder):
    assert (fingerprint(folder_of(architecture)) == fingerprint(folder)) == (architecture == "llama")


def test_any_single_weight_counts(folder):
    path = folder / "model.safetensors"
    seen = {fingerprint(folder)}
    names = list(load_file(path))
    for name in names:
        tensors = load_file(path)
        tensors[name].view(-1)[-1] += 1e-3
        save_file(tensors, path, metadata={"format": "pt"})
        seen.add(fingerprint(folder))
    assert len(seen) == len(names) + 1


def test_swapping_two_tensors_of_one_shape_counts(folder):
    before = fingerprint(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    first, second = "model.layers.0.input_layernorm.weight", "model.layers.1.input_layernorm.weight"
    tensors[first], tensors[second] = tensors[second], tensors[first]
    save_file(tensors, path, metadata={"format": "pt"})
    assert fingerprint(folder) != before


def test_the_config_counts(folder):
    before = fingerprint(folder)
    edit(folder / "config.json", rms_norm_eps=1e-3)
    assert fingerprint(folder) != before


def test_the_tokenizer_counts(folder):
    before = fingerprint(folder)
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("</s>", "<end>"))
    assert fingerprint(folder) != before


def test_a_second_look_does_not_read_the_weights(folder, monkeypatch):
    first = fingerprint(folder)
    monkeypatch.setattr(module, "_tensors", lambda files: pytest.fail("the weights were read again"))
    assert fingerprint(folder) == first


def test_an_answer_that_cannot_be_kept_is_still_given(folder, cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the cache folder should be")
    assert len(fingerprint(folder)) == 64


def test_the_kept_answer_is_whole_or_absent(folder, cache, monkeypatch):
    """A reader in another process must never see an answer that is being written."""
    seen = []

    def looking(path, target):
        seen.extend(kept.read_text() for kept in target.parent.glob("*") if kept.is_file())
        shutil.move(path, target)

    monkeypatch.setattr(type(folder), "replace", looking)
    answer = fingerprint(folder)
    assert seen == []
    assert [kept.read_text() for kept in (cache / "fingerprints").iterdir()] == [answer]
