"""The same fleet through Ray: two workers on this machine, one of which is killed."""

import os
import signal

import pytest

from sharedllm.base.fingerprint import fingerprint
from sharedllm.evaluation.gate import Gate
from sharedllm.store import open_store
from sharedllm.training.fleets.executors import Job
from sharedllm.training.fleets.ray_executor import RayExecutor
from sharedllm.training.fleets.run import train_fleet
from sharedllm.training.fleets.shards import plan_fleet

from .conftest import RECIPE, write_manifest, writing

USERS = [f"user {number}" for number in range(4)]


@pytest.fixture
def job(tmp_path, folder_of, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    # Ray leaves a key for its cluster in the home folder.
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = folder_of("llama")
    return Job(str(folder), fingerprint(folder), RECIPE, writing("general", 600), tmp_path / "training", Gate())


def test_two_workers_train_everyone_though_one_of_them_is_killed(tmp_path, job):
    import ray

    manifest = tmp_path / "fleet.jsonl"
    write_manifest(manifest, {user: writing(user) for user in USERS})
    states = {}
    with open_store(":memory:") as store:
        executor = RayExecutor(job, workers=2)
        assert (executor.idle, executor.busy) == (2, 0)
        for result in train_fleet(store, plan_fleet(manifest, 2), job, executor, origin="here"):
            if not states:
                (worker, *_) = executor._busy.values()
                os.kill(ray.get(worker.actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
            states[result.user] = result.state
        assert sorted(states) == USERS
        assert "failed" not in states.values()
        assert all(user.releases == 1 for user in store.users())
    assert not ray.is_initialized()
    assert not list(job.checkpoints.rglob("*.safetensors"))
