"""The same fleet through Ray: two workers on this machine, one of which is killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sharedllm.base.fingerprint import fingerprint
from sharedllm.cluster.fleets.job import FleetJob
from sharedllm.cluster.fleets.run import Result, train_fleet
from sharedllm.cluster.fleets.shards import plan_fleet
from sharedllm.cluster.workers.executors import Stepped
from sharedllm.cluster.workers.placement import place
from sharedllm.cluster.workers.ray import RayExecutor, _connect
from sharedllm.errors import TrainingError
from sharedllm.evaluation.gate import Gate
from sharedllm.store import open_store

from .conftest import RECIPE, in_this_process, write_manifest, writing

USERS = [f"user {number}" for number in range(4)]


@pytest.fixture
def job(tmp_path, folder_of, monkeypatch, ray_home):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    folder = folder_of("llama")
    return FleetJob(str(folder), fingerprint(folder), RECIPE, writing("general", 600), tmp_path / "training", Gate())


def assert_trained_as(expected, store, **tolerance):
    for user, values in expected.items():
        assert np.allclose(store.release(user, 1).adapter.values, values, **tolerance), user


@pytest.mark.rare
def test_two_workers_train_everyone_though_one_of_them_is_killed(tmp_path, job, monkeypatch):
    import ray

    manifest = tmp_path / "fleet.jsonl"
    write_manifest(manifest, {user: writing(user) for user in USERS})
    states, steps = {}, 0
    plan = plan_fleet(manifest, 2)
    monkeypatch.setattr("sharedllm.cluster.workers.ray._STEPS_EVERY_SECONDS", 0.02)
    with open_store(":memory:") as store:
        executor = RayExecutor(job, workers=2)
        assert (executor.idle, executor.busy) == (2, 0)
        for news in train_fleet(store, plan, job, executor, origin="here"):
            if isinstance(news, Stepped):
                steps += news.steps
                continue
            if not states:
                (worker, *_) = executor._busy.values()
                os.kill(ray.get(worker.actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
            states[news.user] = news.state
        assert sorted(states) == USERS
        assert "failed" not in states.values()
        assert all(user.releases == 1 for user in store.users())
        # Some of them in other company than here, after what was lost.
        assert_trained_as(in_this_process(plan, job), store, rtol=1e-3, atol=1e-5)
    assert 0 < steps <= RECIPE.steps * (len(USERS) + 2)
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


# Ray's client gives a server a few seconds to start, which beside other tests it does not always have.
@pytest.mark.rare
def test_a_cluster_elsewhere_trains_everyone_though_it_has_room_for_one_worker_only(
    tmp_path, job, cluster, monkeypatch
):
    # As if one of two machines had gone since it was seen.
    monkeypatch.setattr("sharedllm.cluster.workers.ray.place", lambda *given: replace(place(*given), cores=2))
    manifest = tmp_path / "fleet.jsonl"
    write_manifest(manifest, {user: writing(user) for user in USERS})
    with open_store(":memory:") as store:
        executor = RayExecutor(job, cluster, workers=2)
        plan = plan_fleet(manifest, 2)
        news = list(train_fleet(store, plan, job, executor, origin="here"))
        results = [result for result in news if isinstance(result, Result)]
        assert sorted(result.user for result in results) == USERS
        assert "failed" not in [result.state for result in results]
        assert all(user.releases == 1 for user in store.users())
        # Batches of the same users in the same order: to the bit.
        assert_trained_as(in_this_process(plan, job), store, rtol=0, atol=0)


def test_a_cluster_that_could_not_start_a_server_at_once_is_asked_again(monkeypatch):
    import ray

    refusals, asked = iter([True, True, False]), []

    def init(**given):
        asked.append(given["address"])
        if next(refusals, True):
            raise ConnectionAbortedError("no server")

    monkeypatch.setattr(ray, "init", init)
    assert _connect("ray://here:1") is ray
    with pytest.raises(TrainingError, match="No Ray cluster can be used at ray://here:1: no server"):
        _connect("ray://here:1")
    assert asked == ["ray://here:1"] * 6
