"""An engine has its base to itself, and leaves it as it was: when it is closed, and when it cannot be made."""

import pytest
import torch

from sharedllm.errors import InvalidInput
from sharedllm.serving import cache, runner


def state_of(base):
    with torch.no_grad():
        logits = base.model(torch.tensor([[5, 6, 7]]), use_cache=False).logits
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in base.model.modules())
    products = sum("forward" in vars(module) for module in base.model.modules())
    return logits, (base.model.config._attn_implementation, hooks, products)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_closing_leaves_the_base_as_it_was(engine_of, base_of, ask, dtype):
    base = base_of("llama", dtype)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before = base.model(ids, use_cache=False).logits
    engine = engine_of(dtype=dtype)
    ask(engine).wait()
    engine.close()
    engine.close()
    with torch.no_grad():
        assert torch.equal(base.model(ids, use_cache=False).logits, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_second_engine_on_a_base_is_refused_and_the_first_goes_on(engine_of, base_of, ask, dtype):
    engine = engine_of(dtype=dtype)
    expected = ask(engine).wait().ids
    before = state_of(engine.base)[1]
    with pytest.raises(InvalidInput, match="serves from"):
        engine_of(dtype=dtype)
    assert state_of(engine.base)[1] == before
    assert ask(engine).wait().ids == expected
    engine.close()
    assert ask(engine_of(dtype=dtype)).wait().ids == expected


@pytest.mark.parametrize("broken", ["layout_of", "Table", "Injection", "Prepacked"])
def test_an_engine_that_cannot_be_made_leaves_the_base_as_it_was(engine_of, base_of, ask, monkeypatch, broken):
    logits, before = state_of(base_of("llama", torch.bfloat16))
    with monkeypatch.context() as patch:
        patch.setattr(runner, broken, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine_of(dtype=torch.bfloat16)
    found, after = state_of(base_of("llama", torch.bfloat16))
    assert (torch.equal(found, logits), after) == (True, before)
    assert ask(engine_of(dtype=torch.bfloat16)).wait().finished.reason == "length"


def test_an_engine_without_memory_for_its_cache_leaves_the_base_as_it_was(engine_of, base_of, monkeypatch):
    logits, before = state_of(base_of("llama", torch.bfloat16))
    monkeypatch.setattr(cache.Cache, "layer", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine_of(dtype=torch.bfloat16)
    found, after = state_of(base_of("llama", torch.bfloat16))
    assert (torch.equal(found, logits), after) == (True, before)
