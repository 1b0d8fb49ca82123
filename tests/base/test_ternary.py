import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests import models
from torch import nn

from sharedllm.base.loading import load_base
from sharedllm.base.ternary import GROUP, _pack, _quantise, _unpack, load_ternary, save_ternary, ternary_copy
from sharedllm.errors import BaseError, InvalidInput, UnsupportedBase

FILE = "ternary.safetensors"


def linears(base):
    head = base.model.get_output_embeddings()
    return {name: each for name, each in base.model.named_modules() if isinstance(each, nn.Linear) and each is not head}


def rewrite(folder, change):
    tensors = load_file(folder / FILE)
    metadata = {"sharedllm": json.dumps({"name": "b", "fingerprint": "f+ternary", "dtype": "torch.float32"})}
    change(tensors)
    save_file(tensors, folder / FILE, metadata=metadata)


def test_golden():
    """The mean magnitude of (4, -2, 1, 1) is 2: 4 / 2 is clipped, -2 / 2 is whole, and 1 / 2 goes to even."""
    trits, scales = _quantise(torch.tensor([[4.0, -2.0, 1.0, 1.0]]))
    assert trits.tolist() == [[1, -1, 0, 0]]
    assert scales.tolist() == [[2.0]]


def test_each_group_of_an_output_has_its_own_scale_and_the_last_may_be_narrower():
    weight = torch.cat([torch.full((2, GROUP), 3.0), torch.full((2, 5), 0.25)], dim=1)
    weight[1] *= 2
    trits, scales = _quantise(weight)
    assert scales.tolist() == [[3.0, 0.25], [6.0, 0.5]]
    assert (trits == 1).all()


def test_a_group_of_zeros_is_zeros():
    trits, scales = _quantise(torch.zeros(1, GROUP))
    assert not trits.any()
    assert not scales.any()


@given(st.integers(1, 60), st.integers(0, 1000))
def test_trits_survive_packing_five_to_a_byte(count, seed):
    trits = torch.from_numpy(np.random.default_rng(seed).integers(-1, 2, (1, count)).astype(np.int8))
    packed = _pack(trits)
    assert len(packed) == -(-count // 5)
    assert packed.max() < 3**5
    assert torch.equal(_unpack(packed, trits.shape), trits)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3"])
def test_the_blocks_are_ternary_and_nothing_else_changes(architecture, base_of, weights_hash):
    base = base_of(architecture)
    before = weights_hash(base.model)
    copied = ternary_copy(base)
    assert weights_hash(base.model) == before
    assert copied.fingerprint == f"{base.fingerprint}+ternary"
    quantised = linears(copied)
    for layer in quantised.values():
        for group in layer.weight.split(GROUP, dim=1):
            assert all(len(row.abs().unique()) <= 2 for row in group)
    original = dict(base.model.named_parameters())
    for name, parameter in copied.model.named_parameters():
        changed = name.removesuffix(".weight") in quantised
        assert torch.equal(parameter, original[name]) is not changed
        assert not parameter.requires_grad


def test_it_predicts_like_the_base_more_than_by_chance(base_of):
    base = base_of()
    copied = ternary_copy(base)
    for name, layer in linears(copied).items():
        weight = base.model.get_submodule(name).weight
        assert torch.cosine_similarity(layer.weight.flatten(), weight.flatten(), dim=0) > 0.85


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3"])
def test_what_is_saved_is_loaded_bit_for_bit(architecture, dtype, base_of, tmp_path):
    base = base_of(architecture, dtype)
    save_ternary(base, tmp_path)
    loaded, copied = load_ternary(tmp_path), ternary_copy(base)
    for mine, theirs in zip(loaded.model.parameters(), copied.model.parameters(), strict=True):
        assert mine.dtype == dtype
        assert torch.equal(mine, theirs)
    assert (loaded.name, loaded.fingerprint) == (copied.name, copied.fingerprint)
    ids = torch.arange(40).view(2, 20)
    with torch.no_grad():
        assert torch.equal(loaded.hidden(ids) @ loaded.head.T, copied.hidden(ids) @ copied.head.T)
    assert not loaded.model.training
    assert loaded.encode("Zoë") == base.encode("Zoë")


def test_licences_come_along_and_what_names_files_of_weights_does_not(loaded, tmp_path):
    base = loaded()
    for name in ("LICENSE", "model.safetensors.index.json"):
        (base.folder / name).write_text("{}")
    save_ternary(base, tmp_path / "ternary")
    assert (tmp_path / "ternary" / "LICENSE").is_file()
    assert not list((tmp_path / "ternary").glob("*.index.json"))


def test_its_size_on_disk(tmp_path, monkeypatch):
    """Wide enough that the blocks outweigh the embeddings and the file's header."""
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    sizes = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    base = load_base(str(models.llama(tmp_path / "base", **sizes)), dtype=torch.bfloat16, device="cpu")
    measured = save_ternary(base, tmp_path / "ternary")
    assert measured == (tmp_path / "ternary" / FILE).stat().st_size
    weights = sum(layer.weight.numel() for layer in linears(base).values())
    kept = sum(parameter.numel() for parameter in base.model.parameters()) - weights
    bits = 8 * (measured - 2 * kept) / weights
    assert 1.6 + 16 / GROUP < bits < 2
    assert measured < (tmp_path / "base" / "model.safetensors").stat().st_size / 8


def test_ternary_again_is_refused(base_of, tmp_path):
    copied = ternary_copy(base_of())
    with pytest.raises(InvalidInput, match="ternary already"):
        ternary_copy(copied)
    with pytest.raises(InvalidInput, match="ternary already"):
        save_ternary(copied, tmp_path)


def test_a_base_without_linear_layers_is_refused(base_of):
    """GPT-2 keeps its projections transposed, in a layer of its own."""
    with pytest.raises(UnsupportedBase, match="no linear layer"):
        ternary_copy(base_of("gpt2"))


LAYER = "model.layers.0.mlp.up_proj"


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: tensors.pop("model.norm.weight"),
        lambda tensors: tensors.pop(f"{LAYER}.scales"),
        lambda tensors: tensors.update(extra=torch.zeros(1)),
        lambda tensors: tensors.update({f"{LAYER}.trits": tensors[f"{LAYER}.trits"][:-1].clone()}),
        lambda tensors: tensors.update({f"{LAYER}.trits": tensors[f"{LAYER}.trits"] | 255}),
        lambda tensors: tensors.update({f"{LAYER}.trits": tensors[f"{LAYER}.trits"].float()}),
        lambda tensors: tensors.update({f"{LAYER}.scales": tensors[f"{LAYER}.scales"][:-1].clone()}),
        lambda tensors: tensors.update({"model.norm.weight": torch.zeros(1)}),
    ],
    ids=["no-norm", "no-scales", "extra", "short", "no-trit", "no-bytes", "few-scales", "wrong-shape"],
)
def test_a_damaged_folder_is_refused(damage, base_of, tmp_path):
    save_ternary(base_of(), tmp_path)
    rewrite(tmp_path, damage)
    with pytest.raises(BaseError, match="does not load as a ternary base"):
        load_ternary(tmp_path)


def test_what_is_no_ternary_base_is_refused(folder_of, tmp_path):
    for folder in (tmp_path, folder_of(), tmp_path / "nowhere"):
        with pytest.raises(BaseError, match="does not load as a ternary base"):
            load_ternary(folder)


def test_a_truncated_file_is_refused(base_of, tmp_path):
    save_ternary(base_of(), tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BaseError, match="does not load as a ternary base"):
        load_ternary(tmp_path)
