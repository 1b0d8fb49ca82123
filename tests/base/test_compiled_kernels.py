"""What kernels compute is what torch's operations do, and each row of it is as if it were alone, to the last bit."""

import logging

import pytest
import torch
from tests import models

from sharedllm.base import compiled_kernels as module
from sharedllm.base.compiled_kernels import kernels
from sharedllm.base.fused_norms import FusedNorms
from sharedllm.serving.attention.cpu import CpuAttention
from sharedllm.serving.attention.metadata import Singles

needs_kernels = pytest.mark.skipif(kernels() is None, reason="there is no compiler here")
DTYPES = [torch.bfloat16, torch.float32, torch.float64]


def close(found, expected, roundings=2):
    unit = max(torch.finfo(found.dtype).eps, torch.finfo(torch.float32).eps)
    assert found.dtype is expected.dtype
    assert (found - expected).abs().max() <= roundings * unit * expected.abs().max()


@pytest.fixture
def afresh():
    """Kernels that are looked for anew."""
    kernels.cache_clear()
    yield
    kernels.cache_clear()


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (3, 33), (70, 576)])
def test_norms_are_those_of_transformers(numbers, dtype, rows, width):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm = LlamaRMSNorm(width, 1e-5).to(dtype)
    norm.weight.data = numbers(width, dtype=dtype)
    states = 3 * numbers(1, rows, width, dtype=dtype)
    found = kernels().norm(states, norm.weight, 1e-5)
    close(found, norm(states))
    assert torch.equal(kernels().norm(states[:, -1:], norm.weight, 1e-5), found[:, -1:])


def asked(held, longest):
    """Singles with keys all over a cache, and how large that is."""
    everywhere = torch.randperm(sum(held) + 3, generator=torch.Generator().manual_seed(1))
    own = [each[: len(each)] for each in everywhere[: sum(held)].split(held)]
    places = torch.stack([torch.cat([each, each[:1].expand(longest - len(each))]) for each in own])
    return Singles(torch.arange(len(held)).flip(0), places, torch.tensor(held)), sum(held) + 3


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize(("width", "value_width", "group"), [(64, 64, 3), (128, 128, 1), (8, 8, 2), (24, 16, 4)])
def test_attention_is_that_over_copies_and_alone_it_is_the_same(numbers, dtype, window, width, value_width, group):
    singles, size = asked([1, 9, 40, 300], 304)
    query = numbers(1, 4, 2 * group, width, dtype=dtype).transpose(1, 2)
    keys, values = numbers(size, 2, width, dtype=dtype), numbers(size, 2, value_width, dtype=dtype)
    found, expected = (query.new_full((1, 4, 2 * group, value_width), float("nan")) for _ in range(2))
    for kind, output in ((CpuAttention(kernels()), found), (CpuAttention(), expected)):
        kind.singles(None, query, keys, values, output, singles, window, None)
    close(found, expected, roundings=6)
    for number in range(4):
        each = slice(number, number + 1)
        one = Singles(singles.tokens[each], singles.keys[each], singles.held[each])
        alone = torch.full_like(found, float("nan"))
        CpuAttention(kernels()).singles(None, query, keys, values, alone, one, window, None)
        token = int(one.tokens)
        assert torch.equal(alone[:, token], found[:, token])


@needs_kernels
def test_queries_whose_numbers_lie_apart_are_read_where_they_lie(numbers):
    singles, size = asked([3, 9], 16)
    query = numbers(1, 2, 8, 2, dtype=torch.float32).transpose(2, 3)
    keys, found = numbers(size, 1, 8, dtype=torch.float32), torch.zeros(2, 1, 2, 2, 8)
    for output, each in zip(found, (query, query.contiguous()), strict=True):
        CpuAttention(kernels()).singles(None, each, keys, keys, output, singles, None, None)
    close(found[0], found[1])


@needs_kernels
@pytest.mark.parametrize(("width", "dtype"), [(8, torch.float64), (16, torch.float32)])
def test_queries_that_are_unlike_their_keys_are_refused(numbers, width, dtype):
    singles, size = asked([3, 9], 16)
    query, keys = numbers(1, 2, 2, width, dtype=dtype), numbers(size, 1, 8, dtype=torch.float32)
    with pytest.raises(RuntimeError):
        CpuAttention(kernels()).singles(None, query, keys, keys, query.new_zeros(1, 2, 2, 8), singles, None, None)


@needs_kernels
def test_numbers_that_are_none_are_told_to_their_own_request_alone(numbers):
    singles, size = asked([3, 3], 8)
    query, keys = numbers(1, 2, 2, 8, dtype=torch.float32), numbers(size, 1, 8, dtype=torch.float32)
    keys[singles.keys[0, 1]] = float("inf")
    output = torch.zeros(1, 2, 2, 8)
    CpuAttention(kernels()).singles(None, query, keys, keys, output, singles, None, None)
    mine, theirs = output[0, singles.tokens[0]], output[0, singles.tokens[1]]
    assert not mine.isfinite().any()
    assert theirs.isfinite().all()


@needs_kernels
def test_memory_that_runs_out_is_an_error_and_not_the_end_of_the_process(numbers):
    numbers, many, pages = numbers(16, 8, dtype=torch.float32), 1 << 50, torch.zeros(1, 1, dtype=torch.int64)
    address = numbers.data_ptr()
    for name in ("product", "narrow_product"):
        with pytest.raises(MemoryError, match="fewer tokens"):
            kernels()._called[name][torch.float32](address, address, None, address, many, 8, 16)
    with pytest.raises(MemoryError, match="fewer tokens"):
        kernels()._called["int8_product"][torch.float32](*[address] * 4, None, address, many, 8, 16)
    query, held = numbers[None, :2, None], torch.tensor([many])
    with pytest.raises(MemoryError, match="fewer tokens"):
        kernels().attend(query, numbers[:, None], numbers[:, None], query.clone(), (held * 0, pages, held), None, None)


@needs_kernels
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_base_computes_what_it_did_and_has_its_own_passes_back_in_the_end(base_of, architecture, dtype):
    base = base_of(architecture, dtype)
    ids = torch.randint(0, 100, (2, 21), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = base.model(ids, use_cache=False).logits
        fused = FusedNorms(base)
        taken = [type(each).__name__ for each in base.model.modules() if "forward" in vars(each)]
        found = base.model(ids, use_cache=False).logits
        fused.remove()
        assert torch.equal(base.model(ids, use_cache=False).logits, plain)
    torch.testing.assert_close(found, plain, rtol=0.03, atol=0.03 if dtype is torch.bfloat16 else 1e-5)
    if architecture == "llama":
        # Two in each of two layers and one at the end.
        assert taken == ["LlamaRMSNorm"] * 5
    if architecture == "gemma3":
        assert not taken, "it adds one to its gains"


class _BesideNorm(torch.nn.Module):
    """Adds what keeps it from dividing by zero to the root, not under it."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(width)), 1e-5

    def forward(self, states):
        wide = states.float()
        return (wide / (wide.square().mean(-1, keepdim=True).sqrt() + self.eps)).to(states.dtype) * self.weight


@needs_kernels
@pytest.mark.parametrize("width", [32, 4096])
@pytest.mark.parametrize(
    "other", [lambda width: torch.nn.LayerNorm(width, bias=False), torch.nn.LayerNorm, _BesideNorm]
)
def test_a_norm_that_computes_something_else_is_left_alone_however_wide_it_is(base_of, width, other):
    """The mean of thousands of random numbers is less than what bfloat16 rounds off."""
    base = base_of("llama", torch.bfloat16)
    base.model.add_module("other_norm", other(width).to(torch.bfloat16))
    try:
        fused = FusedNorms(base)
        assert "forward" not in vars(base.model.other_norm)
        fused.remove()
    finally:
        del base.model.other_norm


@needs_kernels
def test_gradients_are_those_of_the_base_s_own_norms(base_of):
    base, gradients = base_of("llama", torch.float32), []
    for fused in (False, True):
        taken = FusedNorms(base) if fused else None
        states = torch.ones(1, 4, 32).cumsum(1).requires_grad_()
        base.model(inputs_embeds=states, use_cache=False).logits.square().sum().backward()
        gradients.append(states.grad)
        if taken is not None:
            taken.remove()
    assert gradients[0].any()
    assert torch.equal(*gradients)


def test_without_a_compiler_there_are_none_which_is_said_once(afresh, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="sharedllm.base"):
        assert kernels() is None
        assert kernels() is None
    assert [record.message for record in caplog.records] == [
        "passes on the CPU are slower than they could be: no kernels (there is no C++ compiler)"
    ]


@pytest.mark.slow
@needs_kernels
def test_they_are_compiled_once_and_never_run_from_where_others_may_write(afresh, tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    compiled = []
    compile_ = module._compile
    monkeypatch.setattr(module, "_compile", lambda *given: (compiled.append(given), compile_(*given)))
    assert kernels() is not None
    kernels.cache_clear()
    assert kernels() is not None
    assert len(compiled) == 1
    (kept,) = (tmp_path / "kernels").glob("*.so")
    assert kept.stat().st_mode & 0o077 == 0
    kept.parent.chmod(0o777)
    kernels.cache_clear()
    assert kernels() is not None
    assert len(compiled) == 2


@pytest.mark.slow
@needs_kernels
def test_a_library_that_does_not_load_is_compiled_again(afresh, tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "one"))
    assert kernels() is not None
    (kept,) = (tmp_path / "one" / "kernels").glob("*.so")
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "other"))
    (tmp_path / "other" / "kernels").mkdir(0o700, parents=True)
    (tmp_path / "other" / "kernels" / kept.name).write_bytes(b"no library")
    kernels.cache_clear()
    assert kernels() is not None
    assert (tmp_path / "other" / "kernels" / kept.name).read_bytes() == kept.read_bytes()


@pytest.mark.slow
@needs_kernels
def test_they_run_from_where_they_are_kept_where_temporary_files_may_not_be_run(afresh, tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    load = module.ctypes.CDLL

    def cdll(path):
        if not path.startswith(str(tmp_path)):
            raise OSError("failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(module.ctypes, "CDLL", cdll)
    assert kernels() is not None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (r"printf 'no\377 such header\nmore' >&2; exit 1", "no\ufffd such header"),
        ("exit 1", "returned non-zero exit status 1."),
        ("echo waiting for a license >&2; exec sleep 60", "c++ took more than 0.5 seconds"),
    ],
)
def test_a_compiler_that_fails_or_hangs_is_told_of_and_done_without(
    afresh, tmp_path, monkeypatch, caplog, script, reason
):
    compiler = tmp_path / "c++"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o700)
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(module, "_SECONDS", 0.5)
    with caplog.at_level(logging.WARNING, logger="sharedllm.base"):
        assert kernels() is None
    (record,) = caplog.records
    assert record.message.endswith(f"{reason})")
