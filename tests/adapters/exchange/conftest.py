"""What every exchange test needs: a random adapter, and the logits that our own injection gives with it."""

import tempfile

import numpy as np
import pytest
import torch

from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import load_base

IDS = torch.arange(3, 51).reshape(2, 24)


def load(folder, dtype=torch.float32):
    """A small base, without a trace of it in the user's own cache."""
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHAREDLLM_CACHE", cache)
        return load_base(str(folder), dtype=dtype, device="cpu")


def random_adapter(layout, *, seed=0, spread=0.3):
    """An adapter as the store gives it back, deviations rounded to float16, large enough to change the answers."""
    values = np.random.default_rng(seed).normal(0, spread, layout.size)
    provenance = {"recipe": "made up", "seed": seed}
    return Adapter(layout.format, layout.base, values.astype(np.float16).astype(np.float32), provenance)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


def our_logits(base, layout, adapter, ids=IDS):
    injection = Injection(base, layout)
    try:
        with injection.rows(torch.from_numpy(adapter.values)[None], torch.zeros(len(ids), dtype=torch.long)):
            return logits(base.model, ids)
    finally:
        injection.remove()


def assert_same_logits(theirs, ours, base):
    """Equal to float32 rounding, and far from the base's own."""
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    assert (ours - base).abs().max() > 0.05
