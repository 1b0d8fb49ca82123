"""Frames: what a prior leaves beside the weights that it was folded into."""

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests import models

from sharedllm.base.fingerprint import FRAMES, fingerprint
from sharedllm.base.frames import PRIOR, Frame, fold_frames, framed, projections, read_frames, read_prior, write_frames
from sharedllm.base.loading import load_base
from sharedllm.errors import BaseError, UnsupportedBase


@pytest.fixture
def folder(tmp_path):
    return models.adapted(tmp_path)


def frame(rank=4, into=6, out=5, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Frame.of(torch.randn(rank, into, generator=random), torch.randn(out, rank, generator=random))


@settings(deadline=None, max_examples=50)
@given(rank=st.integers(1, 40), seed=st.integers(0, 1000), size=st.floats(1e-6, 1e6))
def test_eight_bits_are_near_what_was_trained(rank, seed, size):
    random = torch.Generator().manual_seed(seed)
    into, out = torch.randn(rank, 12, generator=random), size * torch.randn(9, rank, generator=random)
    stored = Frame.of(into, out)
    wanted = out.double() @ into.double()
    assert (stored.product - wanted).norm() < 0.03 * wanted.norm()
    narrow, wide = stored.matrices
    assert torch.allclose((wide @ narrow).double(), stored.product.double(), rtol=1e-4, atol=1e-5 * size)


def test_a_product_has_the_same_bits_in_whatever_order_it_is_added_up():
    stored = frame(rank=16, into=64, out=48)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    other = Frame(stored.into[order], stored.into_scale[order], stored.out[:, order], stored.out_scale)
    assert torch.equal(stored.product, other.product)


def test_components_that_were_never_trained_add_nothing():
    stored = Frame.of(torch.randn(3, 6), torch.zeros(5, 3))
    assert not stored.product.any()
    assert all(torch.isfinite(matrix).all() for matrix in stored.matrices)


def test_frames_are_read_as_they_were_written_and_in_the_order_of_the_model(tmp_path):
    names = [f"model.layers.{number}.mlp.up_proj" for number in range(12)]
    write_frames({name: frame(seed=number) for number, name in enumerate(names)}, tmp_path / FRAMES)
    read = read_frames(tmp_path / FRAMES)
    assert list(read) == names
    assert all(torch.equal(read[name].product, frame(seed=number).product) for number, name in enumerate(names))


def test_a_base_with_a_prior_computes_with_what_is_folded_in(folder, tmp_path):
    bare, adapted = load_base(str(tmp_path / "bare"), dtype=torch.float64), load_base(str(folder), dtype=torch.float64)
    ids = torch.arange(3, 20).unsqueeze(0)
    products = {name: each.product.double() for name, each in read_frames(folder / FRAMES).items()}
    for name, layer in projections(bare.model).items():
        layer.weight += products[name]
    assert torch.allclose(bare.hidden(ids), adapted.hidden(ids), rtol=1e-5, atol=1e-5)


def test_its_projections_carry_their_frames(folder):
    base = load_base(str(folder))
    layers = framed(base.model)
    assert list(layers) == list(projections(base.model))
    for layer in layers.values():
        assert layer.frame_into.shape == (4, layer.in_features)
        assert layer.frame_out.shape == (layer.out_features, 4)
        assert layer.frame_into.dtype == base.dtype
    assert not any("frame" in name for name in base.model.state_dict())


def test_a_bare_base_has_none(base_of, folder_of):
    assert framed(base_of().model) == {}
    assert read_prior(folder_of()) is None


def test_the_same_frames_on_the_same_base_are_the_same_base_again(folder, tmp_path):
    fold_frames(
        tmp_path / "bare", read_frames(folder / FRAMES), json.loads((folder / PRIOR).read_text()), tmp_path / "b"
    )
    assert fingerprint(tmp_path / "b") == fingerprint(folder)


def test_a_prior_makes_another_base_and_so_do_other_frames(folder, tmp_path):
    before = fingerprint(folder)
    assert before != fingerprint(tmp_path / "bare")
    frames = read_frames(folder / FRAMES)
    frames["model.layers.0.mlp.up_proj"].into[0, 0] += 1
    write_frames(frames, folder / FRAMES)
    assert fingerprint(folder) != before


def test_what_is_said_of_a_prior_is_no_part_of_the_base(folder):
    before = fingerprint(folder)
    (folder / PRIOR).write_text(json.dumps({"contributors": [{"user": "carol"}]}))
    assert fingerprint(folder) == before


def test_the_other_files_of_a_base_go_with_it(folder, tmp_path):
    left = {path.name for path in (tmp_path / "bare").iterdir()}
    assert {path.name for path in folder.iterdir()} == left | {FRAMES, PRIOR}


def test_a_prior_is_not_folded_in_twice(folder, tmp_path):
    with pytest.raises(BaseError, match="has a prior already"):
        fold_frames(folder, read_frames(folder / FRAMES), {"contributors": ["alice"]}, tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize("said", [None, "[", "{}", '{"contributors": []}', '{"contributors": "alice"}'])
def test_a_prior_that_does_not_say_who_is_in_it_is_refused(folder, said):
    (folder / PRIOR).unlink() if said is None else (folder / PRIOR).write_text(said)
    with pytest.raises(BaseError, match="whose texts are in it"):
        load_base(str(folder))


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def other_kind(path):
    save_file(load_file(path), path)


def no_scale(path):
    edit(path, ".into_scale", torch.zeros_like)


def wide(path):
    edit(path, ".out", lambda tensor: tensor.short())


def edit(path, ending, change):
    frames = load_file(path)
    name = next(name for name in frames if name.endswith(ending))
    save_file({**frames, name: change(frames[name])}, path, metadata={"format": "sharedllm-frames", "version": "1"})


@pytest.mark.parametrize("damage", [cut, other_kind, no_scale, wide])
def test_damaged_frames_are_refused_by_name(folder, damage):
    damage(folder / FRAMES)
    with pytest.raises(BaseError, match=FRAMES):
        load_base(str(folder))


def test_frames_of_another_base_are_refused(folder, tmp_path):
    other = models.adapted(tmp_path / "other", hidden_size=16)
    shutil.copyfile(other / FRAMES, folder / FRAMES)
    with pytest.raises(BaseError, match=r"no such projection"):
        load_base(str(folder))
    with pytest.raises(BaseError, match="Use the frames of this base"):
        fold_frames(tmp_path / "bare", read_frames(other / FRAMES), {"contributors": ["alice"]}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_base_without_linear_layers_in_its_blocks_has_no_place_for_them(base_of):
    with pytest.raises(UnsupportedBase, match="no linear layers"):
        projections(base_of("gpt2").model)
