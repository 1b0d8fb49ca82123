import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import models

from sharedllm.adapters.formats.registry import format_names
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.sites import gain_offset
from sharedllm.errors import InvalidInput, WrongBase

EVERY_FORMAT = [
    (architecture, format)
    for architecture in models.ARCHITECTURES
    for format in format_names()
    if (architecture, format) != ("gpt2", "ia3") and (architecture == "adapted" or "bank" not in format)
] + [("adapted", "core")]
pytestmark = pytest.mark.usefixtures("cores")
DTYPES = [torch.float32, torch.bfloat16]

# Head norms and rotary angles are computed in float32 even in a float64 model: that is what rounds here.
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def token_ids(batch, tokens, seed=0):
    return torch.randint(3, models.VOCABULARY, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def random_table(injection, rows, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(rows, injection.layout.size, generator=generator, dtype=torch.float64).to(dtype)


def run(base, ids):
    with torch.no_grad():
        return base.model(input_ids=ids, use_cache=False).logits


# Identity


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("architecture", "format"), EVERY_FORMAT)
def test_zeros_are_the_base_bit_for_bit(base_of, inject, architecture, format, dtype):
    base = base_of(architecture, dtype)
    ids = token_ids(3, 12)
    expected = run(base, ids)
    injection = inject(base, format)
    table = torch.zeros(2, injection.layout.size)
    assert torch.equal(run(base, ids), expected)
    for index in (torch.tensor([0, 1, 0]), torch.zeros(3, 12, dtype=torch.int64)):
        with injection.rows(table, index):
            assert torch.equal(run(base, ids), expected)
    assert torch.equal(run(base, ids), expected)


@pytest.mark.parametrize(("architecture", "format"), EVERY_FORMAT)
def test_a_row_that_is_not_zero_changes_something(base_of, inject, architecture, format):
    base = base_of(architecture)
    injection = inject(base, format)
    ids = token_ids(1, 12)
    with injection.rows(random_table(injection, 1, torch.float32), torch.tensor([0])):
        assert not torch.allclose(run(base, ids), run_without(base, injection, ids), atol=1e-2)


def run_without(base, injection, ids):
    with injection.rows(torch.zeros(1, injection.layout.size), torch.zeros(len(ids), dtype=torch.int64)):
        return run(base, ids)


@pytest.mark.parametrize("format", format_names())
def test_the_activations_keep_the_dtype_of_the_base(base_of, inject, format):
    base = base_of("adapted", torch.bfloat16)
    injection = inject(base, format)
    with injection.rows(random_table(injection, 2, torch.float32), torch.tensor([0, 1])):
        assert base.hidden(token_ids(2, 8)).dtype == torch.bfloat16


# Isolation


@pytest.mark.parametrize(("architecture", "format"), EVERY_FORMAT)
def test_every_row_of_a_mixed_batch_equals_the_request_alone(base_of, inject, architecture, format):
    base = base_of(architecture, torch.float64)
    injection = inject(base, format)
    table, ids, index = random_table(injection, 3), token_ids(4, 12), torch.tensor([2, 0, 1, 2])
    with injection.rows(table, index):
        mixed = run(base, ids)
    for place, row in enumerate(index.tolist()):
        with injection.rows(table[row : row + 1], torch.tensor([0])):
            alone = run(base, ids[place : place + 1])
        torch.testing.assert_close(mixed[place : place + 1], alone, **CLOSE)
        assert torch.equal(mixed[place].argmax(-1), alone[0].argmax(-1))


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_what_others_carry_does_not_touch_a_bit_of_a_row(base_of, inject, architecture):
    """The shapes are the same, so not even the rounding may differ."""
    base = base_of(architecture)
    injection = inject(base)
    ids, index = token_ids(3, 12), torch.tensor([0, 1, 2])
    table = random_table(injection, 3, torch.float32)
    other = torch.cat([table[:1], torch.full_like(table[1:2], torch.nan), 10 * table[2:]])
    others_ids = torch.cat([ids[:1], token_ids(2, 12, seed=9)])
    with injection.rows(table, index):
        first = run(base, ids)[0]
    with injection.rows(other, index):
        assert torch.equal(run(base, others_ids)[0], first)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, 3), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_any_mixture_is_its_members(base_of, rows, seed):
    base = base_of("qwen3", torch.float64)
    injection = Injection(base, layout_of(base))
    try:
        table, ids = random_table(injection, 4, seed=seed), token_ids(len(rows), 9, seed)
        with injection.rows(table, torch.tensor(rows)):
            mixed = run(base, ids)
        for place, row in enumerate(rows):
            with injection.rows(table, torch.tensor([row])):
                torch.testing.assert_close(mixed[place : place + 1], run(base, ids[place : place + 1]), **CLOSE)
    finally:
        injection.remove()


@pytest.mark.parametrize(("architecture", "format"), EVERY_FORMAT)
def test_a_constant_row_per_token_is_a_row_per_sequence(base_of, inject, architecture, format):
    base = base_of(architecture, torch.float64)
    injection = inject(base, format)
    # As many tokens as heads: the two axes may not be mistaken for one another.
    for tokens in (4, 11):
        table, ids, index = random_table(injection, 3), token_ids(3, tokens), torch.tensor([1, 0, 2])
        with injection.rows(table, index):
            by_sequence = run(base, ids)
        with injection.rows(table, index.unsqueeze(1).expand(3, tokens)):
            assert torch.equal(run(base, ids), by_sequence)


@pytest.mark.parametrize(("architecture", "format"), EVERY_FORMAT)
def test_a_token_sees_the_rows_of_its_past_and_not_of_its_future(base_of, inject, architecture, format):
    base = base_of(architecture, torch.float64)
    injection = inject(base, format)
    table, ids = random_table(injection, 2), token_ids(1, 10)
    index = torch.zeros(1, 10, dtype=torch.int64)
    with injection.rows(table, index):
        own = run(base, ids)
    index[:, 6:] = 1
    with injection.rows(table, index):
        mixed = run(base, ids)
    assert torch.equal(mixed[:, :6], own[:, :6])
    assert not torch.allclose(mixed[:, 6:], own[:, 6:], atol=1e-2)


@pytest.mark.parametrize(("architecture", "format"), EVERY_FORMAT)
def test_without_an_index_each_token_of_a_sequence_has_the_next_row(base_of, inject, architecture, format):
    base = base_of(architecture, torch.float64)
    injection = inject(base, format)
    table, ids = random_table(injection, 10), token_ids(1, 10)
    with injection.rows(table, torch.arange(10)[None]):
        told = run(base, ids)
    with injection.rows(table, None):
        assert torch.equal(run(base, ids), told)
    with pytest.raises(InvalidInput, match="does not fit a batch"), injection.rows(table[:9], None):
        run(base, ids)


# The row is the model it stands for


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_norm_row_equals_a_model_whose_gains_were_changed(base_of, inject, architecture):
    base = base_of(architecture, torch.float64)
    ids = token_ids(2, 12)
    changed = copy.deepcopy(base.model)
    injection = inject(base)
    (row,) = table = random_table(injection, 1)
    for site, s in zip(injection.layout.sites, row.split(injection.layout.widths), strict=True):
        norm = changed.get_submodule(site.name)
        offset = gain_offset(norm)
        norm.weight.data = (norm.weight.data + offset) * (1 + s) - offset
        if getattr(norm, "bias", None) is not None:
            # The scale is of the norm's output, bias included.
            norm.bias.data *= 1 + s
    with injection.rows(table, torch.tensor([0, 0])):
        ours = run(base, ids)
    # Gemma multiplies by its gains in float32.
    torch.testing.assert_close(ours, run(replace(base, model=changed), ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("by_token", [False, True])
@pytest.mark.parametrize("format", ["bank", "core"])
def test_coordinates_of_frames_equal_a_model_to_whose_weights_they_were_added(base_of, inject, format, by_token):
    base = base_of("adapted", torch.float64)
    ids = token_ids(2, 12)
    changed = copy.deepcopy(base.model)
    injection = inject(base, format)
    (row,) = table = random_table(injection, 1)
    for site, values in zip(injection.layout.sites, row.split(injection.layout.widths), strict=True):
        layer = changed.get_submodule(site.name)
        within = values.diag() if site.kind == "diagonal" else values.view(site.rank, site.rank)
        layer.weight.data += layer.frame_out @ within @ layer.frame_into
    with injection.rows(table, torch.zeros((2, 12) if by_token else (2,), dtype=torch.int64)):
        ours = run(base, ids)
    torch.testing.assert_close(ours, run(replace(base, model=changed), ids), rtol=1e-9, atol=1e-9)


# Gradients


@pytest.mark.parametrize(("architecture", "format"), EVERY_FORMAT)
def test_gradients_flow_to_a_sequences_own_row_alone(base_of, inject, weights_hash, architecture, format):
    base = base_of(architecture)
    before = weights_hash(base.model)
    injection = inject(base, format)
    table = random_table(injection, 4, torch.float32).requires_grad_()
    ids, index = token_ids(3, 12), torch.tensor([0, 2, 3])
    with injection.rows(table, index):
        hidden = base.hidden(ids)
    (gradient,) = torch.autograd.grad(hidden[1].square().sum(), table, retain_graph=True)
    assert gradient[2].count_nonzero() > injection.layout.size // 2
    assert not gradient[[0, 1, 3]].any()
    (everyone,) = torch.autograd.grad(hidden.square().sum(), table)
    torch.testing.assert_close(everyone[2], gradient[2], rtol=1e-4, atol=1e-4)
    assert not everyone[1].any()
    assert all(parameter.grad is None for parameter in base.model.parameters())
    assert weights_hash(base.model) == before


# The context


def test_contexts_nest_and_survive_exceptions(base_of, inject):
    base = base_of()
    injection = inject(base)
    table, ids = random_table(injection, 2, torch.float32), token_ids(1, 8)
    plain = run(base, ids)
    with injection.rows(table, torch.tensor([0])):
        first = run(base, ids)
        with injection.rows(table, torch.tensor([1])):
            second = run(base, ids)
        assert torch.equal(run(base, ids), first)
        with pytest.raises(ZeroDivisionError), injection.rows(table, torch.tensor([1])):
            raise ZeroDivisionError
        assert torch.equal(run(base, ids), first)
        with pytest.raises(InvalidInput), injection.rows(table, torch.tensor([7])):
            pass
        assert torch.equal(run(base, ids), first)
    assert not torch.equal(first, second)
    assert torch.equal(run(base, ids), plain)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_table_that_was_cut_gives_the_same_bits(base_of, inject, architecture):
    base = base_of(architecture)
    injection = inject(base)
    table, ids = random_table(injection, 3, torch.float32), token_ids(3, 9)
    for index in (torch.arange(3), torch.tensor([2, 0, 2]), torch.arange(3)[:, None].expand(3, 9)):
        with injection.rows(table, index):
            expected = run(base, ids)
        with injection.rows(injection.cut(table), index):
            assert torch.equal(run(base, ids), expected)


def test_a_table_that_was_cut_for_another_layout_is_refused(base_of, inject):
    base = base_of()
    norm, steering = inject(base), inject(base, "steering")
    cut = norm.cut(random_table(norm, 2))
    with pytest.raises(InvalidInput, match="cut for another layout"), steering.rows(cut, torch.tensor([0])):
        pass


def hooks(model):
    # Other tests' injections may be on the shared base still.
    return [(list(module._forward_hooks), list(module._forward_pre_hooks)) for module in model.modules()]


def test_removing_leaves_the_model_as_it_was(base_of, weights_hash):
    base = base_of()
    before = weights_hash(base.model), hooks(base.model)
    injection = Injection(base, layout_of(base, "ia3"))
    assert hooks(base.model) != before[1]
    injection.remove()
    injection.remove()
    assert (weights_hash(base.model), hooks(base.model)) == before


def test_a_removed_injection_does_not_pass_for_the_base(base_of):
    base = base_of()
    injection = Injection(base, layout_of(base))
    injection.remove()
    table = torch.zeros(1, injection.layout.size)
    with pytest.raises(InvalidInput, match="removed"), injection.rows(table, torch.tensor([0])):
        pass


@pytest.mark.parametrize("shape", [(160,), (1, 159), (1, 161), (1, 1, 160)])
def test_a_table_of_another_width_is_refused(base_of, inject, shape):
    injection = inject(base_of())
    with pytest.raises(InvalidInput, match="P = 160"), injection.rows(torch.zeros(shape), torch.tensor([0])):
        pass


@pytest.mark.parametrize(
    "index",
    [
        torch.tensor(0),
        torch.tensor([2]),
        torch.tensor([-1]),
        torch.zeros(1, 1, 1, dtype=torch.int64),
        torch.tensor([0.0]),
        torch.tensor([True, False]),
    ],
    ids=["scalar", "past-the-end", "negative", "three-axes", "float", "mask"],
)
def test_an_index_that_names_no_rows_is_refused(base_of, inject, index):
    injection = inject(base_of())
    with pytest.raises(InvalidInput, match="row index"), injection.rows(torch.zeros(2, 160), index):
        pass


@pytest.mark.parametrize("index", [(1,), (4,), (2, 7), (1, 8), (2, 1)])
def test_an_index_that_does_not_fit_the_batch_is_refused_rather_than_broadcast(base_of, inject, index):
    base = base_of()
    injection = inject(base)
    rows = torch.zeros(index, dtype=torch.int64)
    with pytest.raises(InvalidInput, match=r"does not fit a batch"), injection.rows(torch.zeros(2, 160), rows):
        run(base, token_ids(2, 8))


def test_a_layout_of_another_base_is_refused(base_of):
    with pytest.raises(WrongBase):
        Injection(base_of("llama"), layout_of(base_of("qwen3")))
