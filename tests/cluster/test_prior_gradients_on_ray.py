"""A prior's steps shared out through Ray: two workers on this machine, one of which is killed and one stopped."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from tests.cluster.test_prior_gradients import trained
from tests.training.test_prior import RECIPE, contributors

from sharedllm.base.fingerprint import fingerprint
from sharedllm.base.loading import load_base
from sharedllm.cluster import prior_gradients
from sharedllm.cluster.prior_gradients import GradientJob, SharedOut
from sharedllm.cluster.workers.ray import RayExecutor
from sharedllm.training.prior import train_prior


@pytest.mark.rare
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_and_one_that_hangs_change_no_bit(tmp_path, folder_of, monkeypatch, ray_home, how):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prior_gradients, "_LEAST_PATIENCE", 5.0)
    folder, recipe = folder_of("llama"), replace(RECIPE, steps=8)
    job = GradientJob(str(folder), fingerprint(folder), RECIPE.rank)
    base = load_base(job.base)
    with RayExecutor(job, workers=2) as executor:
        assert (executor.idle, executor.busy) == (2, 0)

        def disturb(step, loss):
            if step == 3:
                actor = executor._idle[0].actor
                os.kill(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())), how)

        gradient = SharedOut(executor, recipe).gradient
        train_prior(base, contributors(), recipe, folder=tmp_path / "there", on_step=disturb, gradient=gradient)
    assert not ray.is_initialized()
    with safe_open(tmp_path / "there" / "frames-in-training.safetensors", "pt") as stored:
        assert torch.equal(stored.get_tensor("values"), trained(base, tmp_path / "here", 2, recipe))
