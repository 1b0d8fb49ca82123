"""Grids are found in weights as quantised files have them, and believed only where they are the weights to the bit."""

import gguf
import pytest
import torch

from sharedllm.base.frames import Frame
from sharedllm.base.weight_grids import grids_of

KINDS = {"Q4_0": 4, "Q4_1": 4, "Q5_0": 8, "Q5_1": 8, "Q8_0": 8}
"""Kinds of files, and the bits that a level of theirs is kept in."""


@pytest.fixture
def as_in_file(numbers):
    """A weight as a file of a kind holds it; quantised by the library that writes such files."""

    def as_in_file(kind, out=70, into=96):
        # Blocks of zeros, of one sign, and of one number.
        weight = numbers(out, into, dtype=torch.float32)
        weight[3], weight[5, :32], weight[6, 32:64] = 0, weight[5, :32].abs(), 0.7
        written = gguf.quantize(weight.numpy(), gguf.GGMLQuantizationType[kind])
        return torch.from_numpy(gguf.dequantize(written, gguf.GGMLQuantizationType[kind])).contiguous()

    return as_in_file


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_a_quantised_file_is_found_on_its_grids_and_given_back_to_the_bit(kind, as_in_file):
    weight = as_in_file(kind)
    found = grids_of(weight)
    assert found.bits == KINDS[kind]
    assert int(found.levels.max()) < 2**found.bits
    assert torch.equal(found.weight, weight)
    # Zeros of either sign, too.
    assert torch.equal(found.weight.view(torch.int32), weight.view(torch.int32))
    apart = weight.repeat_interleave(2, dim=1)[:, ::2]
    assert torch.equal(grids_of(apart).weight, weight)


@pytest.mark.parametrize("kind", KINDS)
def test_one_number_beside_its_grid_is_enough_for_a_weight_to_be_on_none(kind, as_in_file):
    weight = as_in_file(kind)
    weight[-1, 40] = torch.nextafter(weight[-1, 40], torch.tensor(9.0))
    assert grids_of(weight) is None


def test_other_weights_are_on_none(numbers, as_in_file):
    assert grids_of(numbers(8, 64, dtype=torch.float32)) is None
    assert grids_of(as_in_file("Q4_1")[:, :-1]) is None
    assert grids_of(as_in_file("Q4_1").double()) is None
    assert grids_of(as_in_file("Q4_1").bfloat16()) is None
    assert grids_of(as_in_file("Q4_1")[:0]) is None


@pytest.mark.parametrize("strange", [torch.inf, -torch.inf, torch.nan])
def test_what_is_no_number_is_on_no_grid(strange, as_in_file):
    weight = as_in_file("Q8_0")
    weight[0, 0] = strange
    assert grids_of(weight) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_added_to_a_weight_of_a_file_is_told_from_it(kind, numbers, as_in_file):
    weight = as_in_file(kind)
    frame = Frame.of(numbers(4, 96, dtype=torch.float32) / 10, numbers(70, 4, dtype=torch.float32) / 2)
    folded = weight + frame.product
    assert grids_of(folded) is None
    found = grids_of(folded, frame.product)
    assert torch.equal(found.weight, weight)
    assert torch.equal(found.weight + frame.product, folded)
    assert grids_of(folded, 1.1 * frame.product) is None
