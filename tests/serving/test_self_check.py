"""A base is served only once it was shown that nobody's company changes what they are told."""

import copy

import pytest
import torch
from tests import models

from sharedllm import Format, Site, register_format
from sharedllm.adapters.formats import registry
from sharedllm.base.int8_weights import multiplies_int8
from sharedllm.base.loading import load_base
from sharedllm.errors import InvalidInput, UnsupportedBase
from sharedllm.operations.ask import generate
from sharedllm.serving import runner, self_check
from sharedllm.serving.attention import interface
from sharedllm.serving.attention.cpu import CpuAttention
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits
from sharedllm.serving.self_check import show_exact

needs_int8 = pytest.mark.skipif(not multiplies_int8("cpu"), reason="this processor does not multiply in int8")
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def attends(monkeypatch, attention):
    """Have models attend like this in passes of several requests."""
    original = interface.paged_attention
    monkeypatch.setattr(interface, "paged_attention", lambda *args, **kwargs: attention(original, *args, **kwargs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [*models.ARCHITECTURES.values(), models.mixtral, models.phi3])
def test_bases_whose_attention_is_ours_are_served(loaded, make, dtype):
    if make is models.mixtral and dtype is torch.float64:
        pytest.skip("torch has no products of experts in float64")
    Engine(loaded(make, dtype)).close()


@pytest.mark.parametrize(
    ("make", "format"),
    [(models.llama, "steering"), (models.llama, "ia3"), (models.adapted, "bank"), (models.adapted, "core")],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_so_they_are_under_rows_of_other_formats(loaded, cores, make, format, dtype):
    show_exact(loaded(make, dtype), format=format)


@pytest.mark.parametrize("window", [4, 8, 32, 300])
def test_windows_shorter_and_longer_than_the_requests_are_served(loaded, window):
    show_exact(loaded(models.gemma3, sliding_window=window), format="norm")


@pytest.mark.parametrize("context", [16, 24, 64])
def test_a_short_context_is_no_reason_against_a_base(loaded, context):
    show_exact(loaded(models.gpt2, n_positions=context), format="norm")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [models.stablelm, models.codegen])
def test_bases_that_attend_by_themselves_are_refused_and_left_as_they_were(loaded, make, dtype):
    base = loaded(make, dtype)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = base.model(ids).logits
    with pytest.raises(UnsupportedBase, match="in 0 of 2 layers"):
        Engine(base)
    with torch.no_grad():
        assert torch.equal(base.model(ids).logits, before)
    with pytest.raises(UnsupportedBase, match="in 0 of 2 layers"):
        generate(base, [([5, 6, 7], None)], max_tokens=2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [models.stablelm, models.codegen])
def test_what_they_are_told_beside_others_shows_it_too(loaded, make, dtype, monkeypatch):
    monkeypatch.setattr(runner.Runner, "_warm_up", lambda _: None)
    base = loaded(make, dtype)
    with pytest.raises(UnsupportedBase, match=r"cannot be served.* nats ") as caught:
        Engine(base)
    assert base.name in str(caught.value)


def test_bases_with_layers_that_keep_another_state_are_refused(loaded):
    with pytest.raises(UnsupportedBase, match="has layers of"):
        Engine(loaded(models.jamba))


def test_a_single_layer_that_reads_neighbours_is_refused(loaded, monkeypatch):
    def leaks(original, module, *args, **kwargs):
        told = original(module, *args, **kwargs)
        if module.layer_idx == 1:
            kwargs.pop("paged", None)
            return original(module, *args, **kwargs)
        return told

    attends(monkeypatch, leaks)
    with pytest.raises(UnsupportedBase, match="scores of prompts differ"):
        show_exact(loaded(), format="norm")


def test_an_attention_that_forgets_what_was_read_before_is_refused(loaded, monkeypatch):
    def forgets(original, module, query, key, value, mask, *, paged=None, **kwargs):
        told = original(module, query, key, value, mask, paged=paged, **kwargs)
        if paged is not None:
            return value.repeat_interleave(query.shape[1] // key.shape[1], dim=1).transpose(1, 2).contiguous(), None
        return told

    attends(monkeypatch, forgets)
    with pytest.raises(UnsupportedBase, match="cannot be served"):
        show_exact(loaded(), format="norm")


@pytest.mark.parametrize("weights", ["plain", pytest.param("int8", marks=needs_int8)])
@pytest.mark.parametrize("make", [models.llama, models.mixtral])
def test_an_attention_that_is_wrong_for_few_tokens_is_refused(tmp_path, monkeypatch, make, weights):
    stretch, singles, generator = CpuAttention.stretch, CpuAttention.singles, torch.Generator().manual_seed(5)

    def noise(like, values):
        return 2 * values.std() * torch.randn(like.shape, generator=generator)

    def wrong_stretch(self, query, keys, values, mask, scaling):
        told = stretch(self, query, keys, values, mask, scaling).clone()
        late = slice(max(0, 25 - keys.shape[2] + query.shape[2]), None)
        told[:, :, late] = noise(told[:, :, late], values)
        return told

    def wrong_singles(self, module, query, keys, values, output, stretches, window, scaling):
        told = singles(self, module, query, keys, values, output, stretches, window, scaling)
        late = stretches.tokens[stretches.held > 25]
        output[:, late] = noise(output[:, late], values)
        return told

    folder = str(make(tmp_path))
    show_exact(load_base(folder, dtype=torch.float32, device="cpu", weights=weights), format="norm")
    monkeypatch.setattr(CpuAttention, "stretch", wrong_stretch)
    monkeypatch.setattr(CpuAttention, "singles", wrong_singles)
    with pytest.raises(UnsupportedBase, match="cannot be served"):
        show_exact(load_base(folder, dtype=torch.float32, device="cpu", weights=weights), format="norm")


def test_rows_that_reach_a_neighbour_are_refused(loaded, monkeypatch):
    original = self_check.Runner

    class Mixed(original):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._injection.rows = lambda cut, index: type(self._injection).rows(
                self._injection, cut, None if index is None else index.flip(1)
            )

    monkeypatch.setattr(self_check, "Runner", Mixed)
    with pytest.raises(UnsupportedBase, match="cannot be served"):
        show_exact(loaded(), format="norm")


def test_numbers_that_are_none_are_refused(loaded, monkeypatch):
    attends(monkeypatch, lambda original, *args, **kwargs: (original(*args, **kwargs)[0] * float("nan"), None))
    with pytest.raises(UnsupportedBase, match="no numbers"):
        show_exact(loaded(), format="norm")


def test_a_pass_that_breaks_off_is_a_refusal_that_says_why(loaded, monkeypatch):
    def breaks(*_, **__):
        raise RuntimeError("three heads\nwhere two were")

    attends(monkeypatch, breaks)
    with pytest.raises(UnsupportedBase, match=r"RuntimeError: three heads\)"):
        show_exact(loaded(), format="norm")


def test_memory_that_runs_out_says_nothing_of_the_base(loaded, monkeypatch):
    def exhausted(*_, **__):
        raise torch.OutOfMemoryError("no more")

    attends(monkeypatch, exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        show_exact(loaded(), format="norm")


def test_a_model_is_shown_to_be_exact_once_for_a_format(loaded, monkeypatch):
    base = loaded()
    show_exact(base, format="norm")
    monkeypatch.setattr(self_check, "Runner", lambda *_, **__: 1 / 0)
    show_exact(base, format="norm")
    with pytest.raises(ZeroDivisionError):
        show_exact(base, format="steering")


def test_a_format_that_was_defined_anew_is_shown_to_be_exact_anew(loaded, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    base = loaded()
    for kind in ("scale", "shift"):
        register_format(Format("own", lambda model, kind=kind: [Site("model.norm", 32, kind=kind)]), replace=True)
        show_exact(base, format="own")
    register_format(Format("own", lambda model: [Site("model.layers.0.mlp", 32)]), replace=True)
    monkeypatch.setattr(self_check, "Runner", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        show_exact(base, format="own")


def test_a_refusal_is_not_forgotten_by_asking_again(loaded):
    base = loaded(models.stablelm)
    messages = []
    for _ in range(2):
        with pytest.raises(UnsupportedBase) as caught:
            show_exact(base, format="norm")
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_request_beyond_what_is_read_alike_in_any_company_is_refused(loaded, ask):
    base = loaded(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0})
    rotary = base.model.model.rotary_emb
    # As of a model whose frequencies grow with every token beyond what its config calls its context.
    rotary.config = copy.deepcopy(rotary.config)
    rotary.config.max_position_embeddings = rotary.original_max_seq_len = rotary.max_seq_len_cached = 64
    engine = Engine(base, Limits(running=2, cache_tokens=1024, table_bytes=0))
    assert engine.context == 63
    engine.start()
    with pytest.raises(InvalidInput, match="context of 63"):
        ask(engine, prompt=[5] * 200)
    beside = [ask(engine, prompt=[7] * 50), ask(engine, prompt=[5, 6, 7], owner="bob")][1].wait().ids
    assert ask(engine, prompt=[5, 6, 7]).wait().ids == beside
    engine.close()
