"""The same fleet through Ray: two workers on this machine, one of which is killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


@pytest.fixture
def cluster(job, tmp_path):
    """A cluster that is there before the run and after it, and the address at which it takes clients."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = Path(sys.executable).with_name("ray")
    # Its sockets' paths have at most 107 characters, which pytest's own folders may exceed.
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        head = ("start", "--head", "--port=0", f"--ray-client-server-port={port}", f"--temp-dir={folder}")
        # In the foreground, because `ray stop` would end other clusters of this machine too.
        running = subprocess.Popen(
            [ray, *head, "--num-cpus=2", "--include-dashboard=false", "--block"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while True:
                assert running.poll() is None, "the cluster did not start"
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield f"ray://127.0.0.1:{port}"
        finally:
            running.terminate()
            running.wait(60)


def test_a_cluster_elsewhere_trains_through_its_client_address(tmp_path, job, cluster):
    manifest = tmp_path / "fleet.jsonl"
    write_manifest(manifest, {user: writing(user) for user in USERS})
    with open_store(":memory:") as store:
        executor = RayExecutor(job, cluster, workers=2)
        results = list(train_fleet(store, plan_fleet(manifest, 2), job, executor, origin="here"))
        assert sorted(result.user for result in results) == USERS
        assert "failed" not in [result.state for result in results]
        assert all(user.releases == 1 for user in store.users())
