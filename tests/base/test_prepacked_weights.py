"""Prepacked weights give what plain ones do."""

import gguf
import pytest
import torch
from tests import models

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import load_base
from sharedllm.base.prepacked_weights import Prepacked
from sharedllm.base.weight_layouts import ByOneDNN, InPanels, OnGrids, layout_for
from sharedllm.errors import InvalidInput


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=str)
def base(request, folder_of):
    """A small base in one of the dtypes that there are layouts for, or in another."""

    def base(architecture="llama", dtype=request.param):
        found = load_base(str(folder_of(architecture)), dtype=dtype, device="cpu")
        if dtype is request.param and layout_for(found) is None:
            pytest.skip(f"weights in {dtype} are left as they are here")
        return found

    return base


def kind(base):
    """The class that its weights are laid out by."""
    return ByOneDNN if layout_for(base).ours is None else InPanels


def same(found, expected, times=1):
    """But for how the base's dtype rounds."""
    unit = times * (0.02 if expected.dtype is torch.bfloat16 else 1e-5)
    torch.testing.assert_close(found, expected, rtol=unit, atol=unit)


def logits(base):
    ids = torch.randint(0, 100, (2, 21), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return base.model(input_ids=ids, use_cache=False).logits


def linears(base):
    return [module for module in base.model.modules() if type(module) is torch.nn.Linear]


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_logits_are_those_of_the_plain_weights(base, architecture):
    base = base(architecture)
    plain = logits(base)
    prepacked = Prepacked(base)
    same(logits(base), plain)
    prepacked.remove()


def somebody_and_nobody(base, inject, format):
    """An injection and a table of a row of somebody's and one of zeros; logits prepacked alone, and by hooks."""
    alone = Prepacked(base)
    plain = logits(base)
    alone.remove()
    injection = inject(base, format)
    size, chance = injection.layout.size, torch.Generator().manual_seed(1)
    table = torch.randn(2, size, generator=chance) * torch.tensor([[0.5], [0.0]])
    with injection.rows(table, torch.tensor([0, 1])):
        hooked = logits(base)
    return injection, table, plain, hooked


@pytest.mark.parametrize("format", ["bank", "norm+bank"])
def test_coordinates_of_frames_round_no_more_than_by_hooks_and_zeros_not_at_all(base, folder_of, inject, format):
    base = base("adapted")
    injection, table, plain, hooked = somebody_and_nobody(base, inject, format)
    rows = torch.tensor([0, 1])
    exact = exactly(folder_of("adapted"), format, table)
    before = [layer.weight.clone() for layer in linears(base)]
    prepacked = Prepacked(base, injection.hand_over)
    assert torch.equal(logits(base), plain)
    with injection.rows(table, rows):
        together = logits(base)
        assert torch.equal(together[1], plain[1])
    with injection.rows(table, rows[:, None].expand(2, 21)):
        assert torch.equal(logits(base), together)
    # What rounds in float32 is the order of sums, which is not torch's.
    assert off(together, exact) <= (1.1 if base.dtype is torch.bfloat16 else 1.5) * off(hooked, exact)
    assert (together[0] - plain[0]).abs().max() > 0.5
    prepacked.remove()
    assert all(torch.equal(layer.weight, own) for layer, own in zip(linears(base), before, strict=True))


def test_frames_at_some_projections_of_those_that_read_the_same_states_are_left_to_the_hooks(base, inject):
    base = base("adapted")
    for name in ("q_proj", "up_proj"):
        for layer in (module for path, module in base.model.named_modules() if path.endswith(name)):
            layer.frame_into = None
    injection = inject(base, "bank")
    rows = torch.randn(2, injection.layout.size, generator=torch.Generator().manual_seed(1)) / 2
    attention = base.model.get_submodule("model.layers.0.self_attn")
    states = states_of(attention.k_proj)[:2]
    with injection.rows(rows, torch.tensor([0, 1])):
        hooked = [layer(states) for layer in (attention.k_proj, attention.o_proj)]
    prepacked = Prepacked(base, injection.hand_over)
    with injection.rows(rows, torch.tensor([0, 1])):
        found = [layer(states) for layer in (attention.k_proj, attention.o_proj)]
    same(found[0], hooked[0])
    same(found[1], hooked[1])
    prepacked.remove()


def exactly(folder, format, table):
    """Logits of the plain model in float64 under rows of a format."""
    base = load_base(str(folder), dtype=torch.float64, device="cpu")
    injection = Injection(base, layout_of(base, format))
    with injection.rows(table.double(), torch.tensor([0, 1])):
        return logits(base)


def off(found, exact):
    return float((found.double() - exact).abs().mean())


def states_of(layer, seed=0):
    states = torch.randn(3, 7, layer.in_features, generator=torch.Generator().manual_seed(seed))
    return states.to(layer.weight.dtype)


def test_products_without_a_bias_are_those_of_torch_and_by_onednn_bit_for_bit(base):
    base = base()
    states = {layer: states_of(layer) for layer in linears(base)}
    plain = {layer: layer(states[layer]) for layer in states}
    prepacked = Prepacked(base)
    for layer, own in states.items():
        same(layer(own), plain[layer])
        assert kind(base) is InPanels or torch.equal(layer(own), plain[layer])
        assert layer(own[:, :0]).shape == (3, 0, layer.out_features)
    prepacked.remove()


def test_layers_that_read_the_same_states_are_one_product_and_in_any_order_each_gives_its_own(base, monkeypatch):
    base = base()
    attention = base.model.get_submodule("model.layers.0.self_attn")
    layers = [attention.q_proj, attention.k_proj, attention.v_proj]
    states, others = states_of(layers[0]), states_of(layers[0], seed=1)
    plain = [(layer(states), layer(others)) for layer in layers]
    multiply, multiplied = kind(base).__call__, []

    def counted(*given):
        multiplied.append(given)
        return multiply(*given)

    monkeypatch.setattr(kind(base), "__call__", counted)
    prepacked = Prepacked(base)
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)):
        for number in order:
            same(layers[number](states), plain[number][0])
    assert len(multiplied) == 3
    # Other states in between, the same layer twice, and one that is not asked at all.
    for number, which in ((0, 0), (1, 1), (1, 0), (1, 0), (2, 1), (0, 1), (0, 0)):
        same(layers[number]((states, others)[which]), plain[number][which])
    prepacked.remove()


def kept(prepacked):
    return [product for product in prepacked._products if product._kept or product._states is not None]


def test_nothing_of_a_pass_is_kept_when_it_is_over_nor_of_one_that_broke_off_when_told_to_forget(base):
    base = base()
    prepacked = Prepacked(base)
    logits(base)
    assert not kept(prepacked)
    attention = base.model.get_submodule("model.layers.0.self_attn")
    attention.q_proj(states_of(attention.q_proj))
    assert kept(prepacked)
    prepacked.forget()
    assert not kept(prepacked)
    prepacked.remove()


def test_layers_with_biases_each_get_their_own(base):
    base = base()
    attention = base.model.get_submodule("model.layers.0.self_attn")
    layers = [attention.q_proj, attention.k_proj, attention.v_proj]
    for seed, layer in enumerate(layers):
        noise = torch.randn(layer.out_features, generator=torch.Generator().manual_seed(seed))
        layer.bias = torch.nn.Parameter(noise.to(base.dtype), requires_grad=False)
    states = states_of(layers[0])
    plain = [layer(states) for layer in layers]
    prepacked = Prepacked(base)
    for layer, own in zip(layers, plain, strict=True):
        same(layer(states), own)
    prepacked.remove()


def test_weights_that_cannot_be_given_back_at_once_can_be_later(base, monkeypatch):
    base = base()
    before = [layer.weight.clone() for layer in linears(base)]
    prepacked = Prepacked(base)
    with monkeypatch.context() as patch:
        patch.setattr(kind(base), "plain", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepacked.remove()
    prepacked.remove()
    assert all(torch.equal(layer.weight, own) for layer, own in zip(linears(base), before, strict=True))
    assert all("forward" not in vars(layer) for layer in linears(base))


def test_what_would_be_trained_through_them_is_refused_and_not_left_as_it_was_without_a_word(base, inject):
    base = base()
    injection, prepacked = inject(base), Prepacked(base)
    row = torch.zeros(injection.layout.size, requires_grad=True)
    with injection.rows(row[None], torch.zeros(1, dtype=torch.int64)), pytest.raises(InvalidInput, match="Close its"):
        base.model(input_ids=torch.arange(8)[None], use_cache=False)
    prepacked.remove()


def test_removing_gives_the_base_back_bit_for_bit(base):
    base = base()
    weights = [layer.weight for layer in linears(base)]
    before, plain = [weight.clone() for weight in weights], logits(base)
    prepacked = Prepacked(base)
    prepacked.remove()
    prepacked.remove()
    assert all(layer.weight is weight for layer, weight in zip(linears(base), weights, strict=True))
    assert all(torch.equal(weight, own) for weight, own in zip(weights, before, strict=True))
    assert torch.equal(logits(base), plain)


def test_weights_that_run_out_of_memory_half_way_are_all_given_back(base, monkeypatch):
    base = base()
    before, plain = [layer.weight.clone() for layer in linears(base)], logits(base)
    lay_out, made = kind(base).__init__, []

    def scarce(*given):
        if len(made) == 3:
            raise RuntimeError("out of memory")
        made.append(given)
        lay_out(*given)

    monkeypatch.setattr(kind(base), "__init__", scarce)
    with pytest.raises(RuntimeError, match="out of memory"):
        Prepacked(base)
    assert all("forward" not in vars(layer) for layer in linears(base))
    assert all(torch.equal(layer.weight, own) for layer, own in zip(linears(base), before, strict=True))
    assert torch.equal(logits(base), plain)


def test_weights_are_not_held_twice_but_for_the_head(base):
    base = base()
    prepacked = Prepacked(base)
    head = base.model.get_output_embeddings()
    assert head.weight.numel()
    assert not any(layer.weight.numel() for layer in linears(base) if layer is not head)
    prepacked.remove()


def reads_gate(self, states):
    """A module that multiplies by a layer's weight itself, as routers do; and the other's `dtype` alone, as many do."""
    gate = torch.nn.functional.linear(states.float(), self.gate_proj.weight.float()).to(states.dtype)
    return self.down_proj(torch.nn.functional.silu(gate) * self.up_proj(states.to(self.up_proj.weight.dtype)))


def reads_and_calls_gate(self, states):
    size = self.gate_proj.weight.float().square().mean().sqrt()
    gate = torch.nn.functional.silu(self.gate_proj(states))
    return self.down_proj((gate / size).to(states.dtype) * self.up_proj(states))


@pytest.mark.parametrize("forward", [reads_gate, reads_and_calls_gate])
def test_a_weight_that_its_module_reads_itself_stays_and_the_others_are_given_up(base, monkeypatch, forward):
    base = base()
    modules = [layer.mlp for layer in base.model.model.layers]
    monkeypatch.setattr(type(modules[0]), "forward", forward)
    before, plain = [layer.weight.clone() for layer in linears(base)], logits(base)
    prepacked = Prepacked(base)
    same(logits(base), plain)
    kept = {layer for layer in linears(base) if layer.weight.numel()}
    assert kept == {*(module.gate_proj for module in modules), base.model.get_output_embeddings()}
    prepacked.remove()
    assert all(torch.equal(layer.weight, each) for layer, each in zip(linears(base), before, strict=True))


def test_other_dtypes_are_left_alone(base):
    base = base(dtype=torch.float64)
    prepacked = Prepacked(base)
    assert all("forward" not in vars(layer) and layer.weight.numel() for layer in linears(base))
    prepacked.remove()


@pytest.fixture
def quantised(tmp_path):
    """A small base whose weights are as a file of four bits has them, with or without frames folded into them."""

    def quantised(architecture):
        sizes = {"hidden_size": 64, "intermediate_size": 96}
        folder = models.ARCHITECTURES[architecture](tmp_path, **sizes)
        base = load_base(str(folder), dtype=torch.float32, device="cpu")
        if layout_for(base) is None:
            pytest.skip("weights in float32 are left as they are here")
        kind = gguf.GGMLQuantizationType.Q4_1
        for layer in linears(base):
            frame = getattr(layer, "frame", None)
            own = layer.weight.data if frame is None else layer.weight.data - frame.product
            own = torch.from_numpy(gguf.dequantize(gguf.quantize(own.numpy(), kind), kind))
            layer.weight.data = own.contiguous() if frame is None else own + frame.product
        return base

    return quantised


@pytest.mark.parametrize("architecture", ["llama", "adapted"])
def test_weights_of_a_quantised_file_are_read_as_it_has_them_and_given_back_to_the_bit(quantised, architecture):
    base = quantised(architecture)
    plain, before = logits(base), [layer.weight.clone() for layer in linears(base)]
    prepacked = Prepacked(base)
    products = prepacked._products
    assert {type(getattr(each, "_before", getattr(each, "_weight", None))) for each in products} == {OnGrids}
    same(logits(base), plain, times=5)
    prepacked.remove()
    assert all(torch.equal(layer.weight, own) for layer, own in zip(linears(base), before, strict=True))


@pytest.mark.parametrize("format", ["bank", "norm+bank"])
def test_coordinates_multiply_within_the_frames_of_a_quantised_file_and_zeros_not_at_all(quantised, inject, format):
    base = quantised("adapted")
    injection, table, plain, hooked = somebody_and_nobody(base, inject, format)
    rows = torch.tensor([0, 1])
    prepacked = Prepacked(base, injection.hand_over)
    assert torch.equal(logits(base), plain)
    with injection.rows(table, rows):
        together = logits(base)
    assert torch.equal(together[1], plain[1])
    same(together, hooked, times=5)
    assert (together[0] - plain[0]).abs().max() > 0.1
    prepacked.remove()


def test_frames_at_some_projections_of_a_quantised_file_are_left_to_the_hooks(quantised):
    base = quantised("adapted")
    plain = logits(base)
    for name, layer in base.model.named_modules():
        if name.endswith(("q_proj", "up_proj")):
            layer.frame_into = None
    prepacked = Prepacked(base)
    same(logits(base), plain, times=5)
    prepacked.remove()
