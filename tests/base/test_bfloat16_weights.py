"""Weights that are rounded to bfloat16 are held in it, and all the rest is as it was."""

import pytest
import torch

from sharedllm.base.compiled_kernels import kernels
from sharedllm.base.loading import load_base
from sharedllm.base.prepacked_weights import Prepacked

ours = kernels()


@pytest.fixture
def base(folder_of):
    def base(weights, architecture="adapted", dtype=torch.float32):
        return load_base(str(folder_of(architecture)), dtype=dtype, device="cpu", weights=weights)

    return base


def linears(base):
    return {name: each for name, each in base.model.named_modules() if type(each) is torch.nn.Linear}


def logits(base):
    ids = torch.randint(0, 100, (2, 21), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return base.model(input_ids=ids, use_cache=False).logits


@pytest.mark.slow
def test_every_linear_layer_and_frame_is_rounded_once_and_states_are_not(base):
    plain, narrow = base("plain"), base("bfloat16")
    assert narrow.dtype is torch.float32
    for name, layer in linears(narrow).items():
        own = linears(plain)[name]
        assert torch.equal(layer.weight, own.weight.bfloat16().float())
        for side in ("frame_into", "frame_out"):
            if hasattr(own, side):
                assert torch.equal(getattr(layer, side), getattr(own, side).bfloat16().float())
    assert torch.equal(narrow.head, linears(narrow)["lm_head"].weight)
    assert 0 < (logits(narrow) - logits(plain)).std() < 0.02 * logits(plain).std()


def test_nothing_changes_in_bfloat16(base):
    assert torch.equal(logits(base("bfloat16", dtype=torch.bfloat16)), logits(base("plain", dtype=torch.bfloat16)))


@pytest.mark.skipif(ours is None or not ours.multiplied, reason="no products of ours here")
def test_they_are_multiplied_from_half_the_bytes_and_given_back_to_the_bit(base):
    base = base("bfloat16")
    before, plain = {name: each.weight.clone() for name, each in linears(base).items()}, logits(base)
    prepacked = Prepacked(base)
    assert {product._weight._weight.dtype for product in prepacked._products} == {torch.bfloat16}
    torch.testing.assert_close(logits(base), plain, rtol=1e-5, atol=1e-5)
    prepacked.remove()
    assert all(torch.equal(each.weight, before[name]) for name, each in linears(base).items())
    assert torch.equal(logits(base), plain)
