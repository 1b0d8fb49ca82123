import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import models
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from sharedllm.base import fingerprint as module
from sharedllm.base.fingerprint import fingerprint
from sharedllm.base.loading import load_base
from sharedllm.errors import BaseError


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


@pytest.fixture
def cut(folder, tmp_path):
    """The same base in several files with an index."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "cut", max_shard_size="20KB")
    models.tokenizer().save_pretrained(tmp_path / "cut")
    return tmp_path / "cut"


def rename_in_index(cut, name, moved=None):
    """Have the index name a file otherwise, and move that file there if it is to be found."""
    path = cut / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    first = min(index["weight_map"].values())
    if moved is not None:
        moved.parent.mkdir(exist_ok=True)
        shutil.copy(cut / first, moved)
    index["weight_map"] = {key: name if file == first else file for key, file in index["weight_map"].items()}
    path.write_text(json.dumps(index))


@pytest.mark.parametrize("where", ["../x.safetensors", "below/x.safetensors", "absolute", "./../cut/x.safetensors"])
def test_weights_outside_the_folder_are_refused_by_name(cut, tmp_path, where):
    moved = tmp_path / "elsewhere.safetensors" if where == "absolute" else (cut / where).resolve()
    rename_in_index(cut, str(moved) if where == "absolute" else where, moved)
    for look in (fingerprint, lambda folder: load_base(str(folder), device="cpu")):
        with pytest.raises(BaseError, match=r"x\.safetensors|elsewhere\.safetensors"):
            look(cut)


@pytest.mark.parametrize("name", ["", ".", "..", "x.bin", "pytorch_model.bin", None, 7, ["a"]])
def test_an_index_that_names_no_safetensors_file_is_refused(cut, name):
    rename_in_index(cut, name)
    with pytest.raises(BaseError):
        fingerprint(cut)


def test_what_a_link_leads_to_counts(cut, tmp_path):
    before = fingerprint(cut)
    first = min(cut.glob("*.safetensors"))
    real = first.rename(tmp_path / "blob")
    first.symlink_to(real)
    assert fingerprint(cut) == before
    tensors = load_file(real)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, real, metadata={"format": "pt"})
    assert fingerprint(cut) != before


def test_files_that_are_not_loaded_do_not_count(folder, cut):
    before = fingerprint(folder)
    for each in (folder, cut):
        save_file({"other": torch.ones(3)}, each / "consolidated.safetensors")
        (each / "pytorch_model.bin").write_bytes(b"no pickle is ever opened")
        assert fingerprint(each) == before
    shutil.copy(min(cut.glob("model-*")), folder)
    shutil.copy(cut / "model.safetensors.index.json", folder)
    assert fingerprint(folder) == before
    assert load_base(str(folder), device="cpu").fingerprint == before


def test_a_tensor_in_two_files_is_refused(cut):
    first, second, *_ = sorted(cut.glob("*.safetensors"))
    save_file({**load_file(first), **load_file(second)}, second, metadata={"format": "pt"})
    with pytest.raises(BaseError, match="several files"):
        fingerprint(cut)


def test_an_adapter_beside_the_weights_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(BaseError, match=r"adapter_config\.json"):
        load_base(str(folder), device="cpu")


def test_a_config_that_names_other_weights_is_refused(folder):
    edit(folder / "config.json", transformers_weights="other.safetensors")
    with pytest.raises(BaseError, match="transformers_weights"):
        fingerprint(folder)


def test_a_tokenizer_config_that_names_another_tokenizer_is_refused(folder):
    edit(folder / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.0.json", "tokenizer.json"])
    with pytest.raises(BaseError, match="fast_tokenizer_files"):
        fingerprint(folder)


def test_code_beside_the_weights_never_runs(folder):
    (folder / "modeling.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling.Model", "AutoConfig": "modeling.Config"})
    load_base(str(folder), device="cpu")
    edit(folder / "config.json", model_type="nobodys")
    with pytest.raises(BaseError):
        load_base(str(folder), device="cpu")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model", "vocab.txt"])
def test_the_vocabulary_counts_whatever_its_file_is_called(folder, name):
    (folder / "tokenizer.json").unlink()
    (folder / name).write_bytes(b"one")
    before = fingerprint(folder)
    (folder / name).write_bytes(b"two")
    assert fingerprint(folder) != before


def test_a_change_in_place_counts_though_size_and_time_are_set_back(folder):
    before = fingerprint(folder)
    path = folder / "model.safetensors"
    status = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"\0\0\x80\x3f")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint(folder) != before


def test_it_is_what_version_24fe399_gave(folder, cut):
    digest = hashlib.sha256()
    digest.update(module._canonical_config(folder / "config.json"))
    digest.update(hashlib.sha256((folder / "tokenizer.json").read_bytes()).digest())
    tensors = load_file(folder / "model.safetensors")
    for name in sorted(tensors):
        digest.update(json.dumps([name, "F32", list(tensors[name].shape)]).encode())
        digest.update(tensors[name].numpy().tobytes())
    assert fingerprint(folder) == fingerprint(cut) == digest.hexdigest()
