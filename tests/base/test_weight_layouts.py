"""What `weight_layouts.py` reaches for in torch, and that a product of ours is its formula's, for each token alone."""

from dataclasses import replace

import pytest
import torch

from sharedllm.base.compiled_kernels import kernels
from sharedllm.base.weight_grids import Grids
from sharedllm.base.weight_layouts import ByOneDNN, InPanels, OnGrids, WeightLayout, multiplies_bfloat16

ours = kernels()
needs_ours = pytest.mark.skipif(ours is None or not ours.multiplied, reason="no products of ours here")
DTYPES = [torch.bfloat16, torch.float32]
LAYOUTS = [
    pytest.param(ByOneDNN, marks=pytest.mark.skipif(not multiplies_bfloat16(), reason="oneDNN has no bfloat16 here")),
    pytest.param(WeightLayout(ours), marks=needs_ours),
]
SIZES = [(1, 1), (7, 33), (33, 70), (577, 50), (576, 97), (1536, 15), (2049, 16)]
"""In and out: less than a panel and not a whole number of them, odd, and more than a block."""
MOST = 40


def test_the_operations_are_called_as_torch_declares_them():
    assert str(torch.ops.mkldnn._reorder_linear_weight.default._schema) == (
        "mkldnn::_reorder_linear_weight(Tensor self, int? batch_size=None) -> Tensor Y"
    )
    assert str(torch.ops.mkldnn._linear_pointwise.default._schema) == (
        "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> "
        "Tensor Y"
    )
    assert str(torch.ops.mkldnn._linear_pointwise.binary._schema) == (
        "mkldnn::_linear_pointwise.binary(Tensor X, Tensor other, Tensor W, Tensor? B, str attr) -> Tensor Y"
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("into", "out"), SIZES)
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_in_bfloat16_is_rounded_once(numbers, layout, into, out, biased):
    weight, states = numbers(out, into, dtype=torch.bfloat16), numbers(3, 7, into, dtype=torch.bfloat16)
    bias = numbers(out, dtype=torch.bfloat16) if biased else None
    exact = states.double() @ weight.double().T + (bias.double() if biased else 0)
    found = layout(weight)(states, bias)
    assert found.dtype is torch.bfloat16
    # Half a unit of itself, and what summing in float32 loses.
    allowed = exact.abs() * torch.finfo(torch.bfloat16).eps / 2 + 1e-5 * into**0.5
    assert ((found.double() - exact).abs() <= allowed).all()


@needs_ours
@pytest.mark.parametrize(("into", "out"), SIZES)
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_in_float32_is_as_near_as_sums_in_float32_are(numbers, into, out, biased):
    weight, states = numbers(out, into, dtype=torch.float32), numbers(MOST, into, dtype=torch.float32)
    bias = numbers(out, dtype=torch.float32) if biased else None
    exact = states.double() @ weight.double().T + (bias.double() if biased else 0)
    found = InPanels(ours, weight)(states, bias)
    assert ((found.double() - exact).abs() <= 1e-5 * into**0.5).all()


@needs_ours
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("into", "out"), SIZES)
def test_no_bit_of_a_tokens_product_depends_on_what_is_multiplied_beside_it(numbers, dtype, into, out):
    product, bias = InPanels(ours, numbers(out, into, dtype=dtype)), numbers(out, dtype=dtype)
    states = numbers(MOST, into, dtype=dtype)
    alone = torch.cat([product(each, bias) for each in states.split(1)])
    for count in range(1, MOST + 1):
        assert torch.equal(product(states[:count], bias), alone[:count])
        assert torch.equal(product(states[-count:], bias), alone[-count:])
    # Others a thousand times as large, and one that is no number.
    loud = torch.cat([states[:5], 1000 * states[5:], torch.full_like(states[:1], torch.nan)])
    assert torch.equal(product(loud, bias)[:5], alone[:5])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("into", "out"), SIZES)
def test_a_weight_is_given_back_bit_for_bit(numbers, layout, into, out):
    weight = numbers(out, into, dtype=torch.bfloat16)
    assert torch.equal(layout(weight.clone()).plain(), weight)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_added_to_is_rounded_as_what_is_added(numbers, layout):
    weight, states, to = (numbers(*shape, dtype=torch.bfloat16) for shape in ((50, 16), (5, 16), (5, 50)))
    exact = to.double() + states.double() @ weight.double().T
    assert (layout(weight).added(to.clone(), states).double() - exact).abs().max() < 0.05


@needs_ours
@pytest.mark.parametrize(("into", "out"), SIZES)
def test_weights_that_bfloat16_has_are_held_in_it_and_give_what_they_do_in_float32_to_the_bit(numbers, into, out):
    narrow, states = numbers(out, into, dtype=torch.bfloat16), numbers(MOST, into, dtype=torch.float32)
    product, wide = InPanels(ours, narrow.float()), narrow.float().clone()
    assert product._weight.dtype is torch.bfloat16
    assert torch.equal(product.plain(), narrow.float())
    for count in (1, 3, 8, MOST):
        assert torch.equal(product(states[:count]), ours.multiply(states[:count], ours.laid_out(wide), out))
    wide[-1, -1] += 1e-3
    assert InPanels(ours, wide)._weight.dtype is torch.float32


@needs_ours
def test_no_tokens_give_nothing_and_states_that_lie_apart_are_read_as_they_are(numbers):
    product, states = InPanels(ours, numbers(20, 8, dtype=torch.float32)), numbers(8, 5, dtype=torch.float32)
    assert product(states.T[:0]).shape == (0, 20)
    assert torch.equal(product(states.T), product(states.T.contiguous()))


@needs_ours
@pytest.mark.parametrize(("width", "dtype"), [(7, torch.float32), (9, torch.float32), (8, torch.bfloat16)])
def test_states_that_a_weight_does_not_fit_are_refused(numbers, width, dtype):
    product = InPanels(ours, numbers(20, 8, dtype=torch.float32))
    with pytest.raises(RuntimeError):
        product(numbers(2, width, dtype=dtype))


@needs_ours
def test_a_bias_in_another_dtype_is_refused(numbers):
    product, states = InPanels(ours, numbers(20, 8, dtype=torch.float32)), numbers(2, 8, dtype=torch.float32)
    with pytest.raises(RuntimeError):
        product(states, numbers(20, dtype=torch.bfloat16))


GRIDS = [(32, 1), (64, 15), (96, 33), (576, 97), (1536, 16)]
"""In and out of weights on grids: one block and many, whole panels and not."""


def grids(numbers, out, into, bits):
    steps = (numbers(out, into // 32, dtype=torch.float32) / 50).half().float()
    levels = torch.randint(0, 2**bits, (out, into), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    return Grids(levels, steps, (-(2 ** (bits - 1)) * steps).half().float(), bits, None)


@needs_ours
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("into", "out"), GRIDS)
@pytest.mark.parametrize("biased", [False, True])
def test_a_weight_on_grids_gives_what_its_numbers_do_to_the_bit(numbers, bits, into, out, biased):
    found = grids(numbers, out, into, bits)
    product, wide = OnGrids(ours, found), ours.laid_out(found.weight)
    assert torch.equal(product.plain(), found.weight)
    # Whoever saves them asks for that.
    assert product.plain().is_contiguous()
    states, bias = numbers(MOST, into, dtype=torch.float32), numbers(out, dtype=torch.float32) if biased else None
    for count in range(1, MOST + 1):
        assert torch.equal(product(states[:count], bias), ours.multiply(states[:count], wide, out, bias))
    loud = torch.cat([states[:5], 1000 * states[5:], torch.full_like(states[:1], torch.nan)])
    assert torch.equal(product(loud, bias)[:5], product(states[:5], bias))


@needs_ours
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("into", "out"), GRIDS)
@pytest.mark.parametrize("more", [1, 16, 49])
def test_more_inputs_beside_a_weight_on_grids_are_added_last(numbers, bits, into, out, more):
    found, beside = grids(numbers, out, into, bits), numbers(out, more, dtype=torch.float32)
    product, wide = OnGrids(ours, found, beside), ours.laid_out(torch.cat([found.weight, beside], dim=1))
    states, others = numbers(2, MOST, into, dtype=torch.float32), numbers(2, MOST, more, dtype=torch.float32)
    bias = numbers(out, dtype=torch.float32)
    for count in (1, 3, 4, 7, MOST):
        both = states[:, :count], others[:, :count]
        expected = ours.multiply(torch.cat(both, dim=-1), wide, out, bias)
        assert torch.equal(product.and_more(*both, bias), expected)
    with pytest.raises(TypeError, match="not its own"):
        product.and_more(states, others[..., :-1])
    with pytest.raises(TypeError, match="not its own"):
        product.and_more(states, others.double())
    with pytest.raises(TypeError, match="not its own"):
        product.and_more(states, others[:, 1:])
    with pytest.raises(TypeError, match="not its own"):
        OnGrids(ours, found).and_more(states, others)


@needs_ours
def test_a_weight_is_laid_out_on_grids_where_it_lies_on_some(numbers):
    found = replace(grids(numbers, 20, 64, 4), zero=8)
    found.levels[:, ::32], found.levels[:, 1::32] = 0, 15
    assert type(WeightLayout(ours)(found.weight)) is OnGrids
    assert type(WeightLayout(ours)(numbers(20, 64, dtype=torch.float32))) is InPanels
