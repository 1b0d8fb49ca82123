"""What `int8_weights.py` reaches for in torch, and that its products are those of the formula, for each token alone."""

import pytest
import torch
from tests import models
from transformers import OPTConfig

from sharedllm.base import int8_weights
from sharedllm.base.compiled_kernels import kernels
from sharedllm.base.int8_weights import ByOurs, Int8Linear, Int8Product, multiplies_int8
from sharedllm.base.loading import load_base
from sharedllm.base.prepacked_weights import Prepacked
from sharedllm.errors import InvalidInput, UnsupportedBase
from sharedllm.serving.engine import Engine

needs_int8 = pytest.mark.skipif(not multiplies_int8("cpu"), reason="this processor does not multiply in int8")
ours = kernels()
needs_ours = pytest.mark.skipif(ours is None or not ours.multiplied, reason="no products of ours here")


@pytest.fixture
def base(folder_of):
    def base(architecture="llama", dtype=torch.bfloat16, weights="int8"):
        return load_base(str(folder_of(architecture)), dtype=dtype, device="cpu", weights=weights)

    return base


def few_positions(folder):
    """Has learned positions, and none beyond them."""
    sizes = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0}
    return models.save(OPTConfig(vocab_size=models.VOCABULARY, bos_token_id=1, eos_token_id=2, **sizes), folder, 0)


def layers(base):
    return [module for module in base.model.modules() if type(module) is Int8Linear]


def states_of(layer, tokens=37, dtype=torch.bfloat16):
    spread = torch.logspace(-2, 2, tokens)[:, None]
    return (spread * torch.randn(tokens, layer.in_features, generator=torch.Generator().manual_seed(0))).to(dtype)


def logits(base, ids=None):
    ids = torch.randint(0, 100, (2, 21), generator=torch.Generator().manual_seed(0)) if ids is None else ids
    with torch.inference_mode():
        return base.model(input_ids=ids, use_cache=False).logits


def by_the_formula(layer, states):
    """In float64, from nothing of the module but the levels and steps that the layer holds."""
    wide = states.double() / layer.spread.double()
    steps = wide.abs().amax(-1, keepdim=True) / 127
    summed = (wide / steps).round() @ layer.levels.double().T
    return summed * steps * layer.steps.double() + (0 if layer.bias is None else layer.bias.double())


def test_the_operations_are_called_as_torch_declares_them():
    packed = "__torch__.torch.classes.quantized.LinearPackedParamsBase W_prepack"
    assert str(torch.ops.quantized.linear_prepack.default._schema) == (
        f"quantized::linear_prepack(Tensor W, Tensor? B=None) -> {packed}"
    )
    assert str(torch.ops.quantized.linear_unpack.default._schema) == (
        f"quantized::linear_unpack({packed}) -> (Tensor W_origin, Tensor? B_origin)"
    )
    assert str(torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default._schema) == (
        "quantized::linear_with_input_q_dq_qweight_dq_output_fp32(Tensor X, float X_scale, int X_zero_point, "
        f"{packed}) -> Tensor Y"
    )


@needs_int8
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_product_is_that_of_the_rounded_states_and_weights(base, dtype):
    for layer in layers(base(dtype=dtype)):
        states = states_of(layer, dtype=dtype)
        expected = by_the_formula(layer, states)
        size = (states.double() / layer.spread).abs().amax(-1, keepdim=True) * layer.in_features**0.5
        # A state half-way between two levels may go to either.
        assert ((layer(states).double() - expected).abs() / size).max() < 0.01
        assert layer(states).dtype is dtype


@needs_ours
@pytest.mark.parametrize("biases", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_bias_in_another_dtype_than_the_states_is_added_as_it_is(dtype, biases):
    levels, steps, narrower = torch.ones(64, 8, dtype=torch.int8), torch.ones(64), torch.ones(8)
    product = ByOurs(ours, levels, steps, narrower, torch.arange(64, dtype=biases))
    assert torch.equal(product(torch.zeros(2, 8, dtype=dtype)), torch.arange(64, dtype=dtype).expand(2, 64))


@needs_ours
@pytest.mark.parametrize(("into", "out"), [(1, 1), (7, 33), (577, 50), (2049, 17)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_product_of_ours_is_that_of_the_rounded_states_in_any_dtype_and_size(dtype, into, out):
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(-127, 128, (out, into), dtype=torch.int8, generator=generator)
    steps, narrower = (torch.rand(size, generator=generator) + 0.1 for size in (out, into))
    bias = torch.randn(out, generator=generator).to(dtype)
    states = torch.randn(13, into, generator=generator).to(dtype)
    # Small enough for float16.
    product = ByOurs(ours, levels, steps / 127, narrower, bias)
    wide = states.double() * narrower.double()
    sizes = wide.abs().amax(-1, keepdim=True)
    expected = (wide / sizes * 127).round() @ levels.double().T * (sizes / 127) * steps.double() / 127 + bias.double()
    found = product(states)
    assert found.dtype is dtype
    # A state half-way between two levels may go to either.
    allowed = sizes * 0.01 * into**0.5 + expected.abs() * torch.finfo(dtype).eps
    assert ((found.double() - expected).abs() <= allowed).all()
    assert torch.equal(product.levels(), levels)
    for width in (into - 1, into + 1):
        with pytest.raises(RuntimeError):
            product(torch.zeros(2, width, dtype=dtype))


@needs_int8
def test_a_weight_is_off_by_half_a_step_at_most_and_what_reads_gates_stays_plain(folder_of, base):
    plain = load_base(str(folder_of()), dtype=torch.bfloat16, device="cpu")
    own = dict(base().model.named_modules())
    for name, layer in plain.model.named_modules():
        if type(layer) is torch.nn.Linear:
            held = own[name]
            if name.endswith("down_proj"):
                assert torch.equal(held.weight, layer.weight)
                continue
            off = (held.levels * held.steps[:, None] / held.spread - layer.weight.float()).abs()
            assert bool((off <= 0.501 * held.steps[:, None] / held.spread).all())


@needs_int8
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_no_bit_of_a_tokens_product_depends_on_what_is_multiplied_beside_it(base, architecture):
    base = base(architecture)
    prepacked = Prepacked(base)
    products = [each for each in prepacked._products if type(each._layers[0]) is Int8Linear]
    assert len(products) > 4
    for product in products:
        states = states_of(product._layers[0], tokens=70)
        together = product._own(states)
        for count in (1, 2, 3, 7, 16, 17, 33, 64):
            for begin in range(0, 70 - count, max(1, count // 2)):
                assert torch.equal(product._own(states[begin : begin + count]), together[begin : begin + count])
        # Others a thousand times as large, and one that is no number.
        loud = torch.cat([states[:3], 1000 * states[3:], torch.full_like(states[:1], torch.nan)])
        assert torch.equal(product._own(loud)[:3], together[:3])
    prepacked.remove()


@needs_int8
def test_a_product_of_zeros_is_zero_and_what_is_no_number_stays_none(base):
    layer = layers(base())[0]
    states = torch.zeros(3, layer.in_features).bfloat16()
    states[1, 2], states[2, 2] = torch.nan, torch.inf
    found = layer(states)
    assert not found[0].any()
    assert not found[1:].isfinite().any()


@needs_int8
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_logits_are_near_those_of_plain_weights_and_products_laid_out_once_the_same_to_the_bit(
    base, architecture, dtype
):
    plain = logits(base(architecture, dtype, weights="plain"))
    try:
        own = base(architecture, dtype)
    except UnsupportedBase as error:
        assert "no linear layer but its head" in str(error)
        return
    found = logits(own)
    assert 0 < (found - plain).float().std() < 0.1 * plain.float().std()
    states = {layer: states_of(layer, dtype=dtype) for layer in layers(own)}
    alone = {layer: layer(given) for layer, given in states.items()}
    prepacked = Prepacked(own)
    assert all(torch.equal(layer(states[layer]), alone[layer]) for layer in states)
    assert (logits(own) - found).float().std() < 0.02 * plain.float().std()
    prepacked.remove()
    assert all(torch.equal(layer(states[layer]), alone[layer]) for layer in states)


@needs_int8
def test_layers_with_biases_each_get_their_own(base):
    base = base()
    attention = base.model.get_submodule("model.layers.0.self_attn")
    projections = [attention.q_proj, attention.k_proj, attention.v_proj]
    for seed, layer in enumerate(projections):
        noise = torch.randn(layer.out_features, generator=torch.Generator().manual_seed(seed)).bfloat16()
        layer.bias = torch.nn.Parameter(noise, requires_grad=False)
    states = states_of(projections[0])
    alone = [layer(states) for layer in projections]
    for layer, found in zip(projections, alone, strict=True):
        torch.testing.assert_close(found.double(), by_the_formula(layer, states), rtol=0.01, atol=1)
    prepacked = Prepacked(base)
    assert all(torch.equal(layer(states), found) for layer, found in zip(projections, alone, strict=True))
    prepacked.remove()


@needs_int8
def test_coordinates_of_frames_are_added_as_hooks_add_them_and_zeros_change_nothing_to_the_bit(base, inject):
    base = base("adapted")
    plain, injection = logits(base), inject(base, "norm+bank")
    noise = torch.randn(2, injection.layout.size, generator=torch.Generator().manual_seed(1))
    table, rows = noise * torch.tensor([[0.3], [0.0]]), torch.tensor([0, 1])
    with injection.rows(table, rows):
        hooked = logits(base)
    assert torch.equal(hooked[1], plain[1])
    prepacked = Prepacked(base, injection.hand_over)
    assert torch.equal(logits(base), plain)
    with injection.rows(table, rows):
        together = logits(base)
    assert torch.equal(together[1], plain[1])
    assert (together[0] - plain[0]).abs().max() > 0.5
    assert (together[0] - hooked[0]).abs().mean() < 0.1 * (together[0] - plain[0]).abs().mean()
    prepacked.remove()


@needs_int8
def test_levels_are_held_once_and_given_back_bit_for_bit(base):
    base = base()
    before = [layer.levels.clone() for layer in layers(base)]
    head = base.model.get_output_embeddings()
    assert all(layer.weight.numel() == 0 for layer in layers(base) if layer is not head)
    assert torch.equal(base.head, base.model.get_input_embeddings().weight)
    prepacked = Prepacked(base)
    assert not any(layer.levels.numel() for layer in layers(base))
    prepacked.remove()
    assert all(torch.equal(layer.levels, own) for layer, own in zip(layers(base), before, strict=True))
    assert all("forward" not in vars(layer) for layer in layers(base))


@needs_int8
def test_a_layer_that_random_tokens_give_nothing_but_zeros_is_held_as_one_of_even_channels(loaded):
    plain = loaded(dtype=torch.float32)
    plain.model.model.layers[1].input_layernorm.weight.data.zero_()
    plain.model.save_pretrained(plain.folder)
    own = load_base(str(plain.folder), dtype=torch.float32, device="cpu", weights="int8")
    assert torch.equal(own.model.model.layers[1].self_attn.q_proj.spread, torch.ones(32))
    assert logits(own).isfinite().all()


@pytest.mark.slow
@needs_int8
def test_a_weight_that_its_module_reads_itself_stays_plain(loaded, monkeypatch):
    def reads_gate(self, states):
        gate = torch.nn.functional.linear(states, self.gate_proj.weight)
        return self.down_proj(torch.nn.functional.silu(gate) * self.up_proj(states))

    plain = loaded(dtype=torch.float32)
    weight = plain.model.model.layers[0].mlp.gate_proj.weight
    monkeypatch.setattr(type(plain.model.model.layers[0].mlp), "forward", reads_gate)
    own = load_base(str(plain.folder), dtype=torch.float32, device="cpu", weights="int8")
    mlp = own.model.model.layers[0].mlp
    assert torch.equal(mlp.gate_proj.weight, weight.bfloat16().float())
    assert type(mlp.up_proj) is Int8Linear
    assert 0 < (logits(own) - logits(plain)).std() < 0.1 * logits(plain).std()
    Engine(own).close()


@needs_int8
def test_a_base_of_few_positions_is_held_so_too(tmp_path):
    load_base(str(few_positions(tmp_path)), device="cpu", weights="int8")


@needs_int8
def test_nothing_is_trained_through_such_weights(base, inject):
    base = base(dtype=torch.float32)
    injection = inject(base)
    rows = torch.zeros(1, injection.layout.size, requires_grad=True)
    ids = torch.arange(3, 9)[None]
    with injection.rows(rows, torch.tensor([0])), pytest.raises(InvalidInput, match="nothing can be trained"):
        base.hidden(ids)


@pytest.mark.slow
@needs_int8
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "adapted"])
def test_a_base_in_int8_is_shown_to_be_exact_before_it_is_served(base, architecture, dtype):
    Engine(base(architecture, dtype)).close()


@needs_int8
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_products_that_read_their_neighbours_are_not_served(base, monkeypatch, dtype):
    served, own = base(dtype=dtype), Int8Product.__call__
    monkeypatch.setattr(Int8Product, "__call__", lambda self, states: own(self, states - states.mean(-2, keepdim=True)))
    with pytest.raises(UnsupportedBase, match="cannot be served"):
        Engine(served)


def test_where_weights_cannot_be_held_so_is_said_before_anything_is_loaded(monkeypatch, tmp_path):
    with pytest.raises(InvalidInput, match="'int4'"):
        load_base(str(tmp_path), weights="int4")
    with pytest.raises(InvalidInput, match="int8 on cuda"):
        load_base(str(tmp_path), device="cuda", weights="int8")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(int8_weights, "kernels", lambda: None)
    with pytest.raises(InvalidInput, match="VNNI"):
        load_base(str(tmp_path), device="cpu", weights="int8")
