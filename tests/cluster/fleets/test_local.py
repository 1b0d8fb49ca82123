"""Real worker processes: they are killed, interrupted and left alone, and nothing is lost."""

import multiprocessing
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.strangers import install_guides

from sharedllm import Format, norm_sites, register_format
from sharedllm.adapters.formats import registry
from sharedllm.base.fingerprint import fingerprint
from sharedllm.cluster.fleets.job import FleetJob, Trainer
from sharedllm.cluster.fleets.run import Result, train_fleet
from sharedllm.cluster.fleets.shards import plan_fleet
from sharedllm.cluster.workers.local import LocalExecutor
from sharedllm.errors import BaseError, FormatError, WrongBase
from sharedllm.evaluation.gate import Gate
from sharedllm.store import open_store
from sharedllm.training.recipes import Recipe

from .conftest import in_this_process, write_manifest, writing

# Slow enough to be interrupted: half a second and more on any machine.
RECIPE = Recipe("r", learning_rate=2e-2, steps=60, windows_per_step=1, window=16, check_every=0)
USERS = ["alice", "bob", "carol", "dave"]


@pytest.fixture
def job(tmp_path, folder_of, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    folder = folder_of("llama")
    return FleetJob(str(folder), fingerprint(folder), RECIPE, writing("general", 600), tmp_path / "training", Gate())


@pytest.fixture
def plan(tmp_path):
    manifest = tmp_path / "fleet.jsonl"
    write_manifest(manifest, {user: writing(user) for user in USERS})
    return plan_fleet(manifest, 4)


@pytest.fixture
def store():
    with open_store(":memory:") as store:
        yield store


def start(store, plan, job, workers=1):
    return train_fleet(store, plan, job, LocalExecutor(job, workers), origin="here")


def kill_workers(how=signal.SIGKILL):
    for process in multiprocessing.active_children():
        os.kill(process.pid, how)


@pytest.mark.slow
def test_a_killed_worker_costs_nobody_their_adapter(store, plan, job):
    states = {}
    for result in start(store, plan, job):
        if isinstance(result, Result):
            if not states:
                kill_workers()
            states[result.user] = result.state
    assert sorted(states) == USERS
    assert "failed" not in states.values()
    assert all(user.releases == 1 for user in store.users())
    assert not list(job.checkpoints.rglob("*.safetensors"))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_closing_a_run_leaves_checkpoints_and_no_processes_behind(store, plan, job):
    running = start(store, plan, job)
    first = next(news for news in running if isinstance(news, Result))
    workers = multiprocessing.active_children()
    # From the keyboard it reaches the whole group, and is the driver's to answer.
    kill_workers(signal.SIGINT)
    next(news for news in running if isinstance(news, Result))
    assert multiprocessing.active_children() == workers
    running.close()
    assert not multiprocessing.active_children()
    done = [user.user for user in store.users()]
    # The last one who was done has a checkpoint as well: nobody came back to say that the release is safe.
    assert 0 < len(done) < len(USERS)
    assert len(list(job.checkpoints.rglob("*.safetensors"))) == len(USERS) - len(done) + 1
    # A worker makes of a batch what this process makes of it, bit for bit.
    here = in_this_process(plan, job)[first.user]
    assert np.array_equal(store.release(first.user, 1).adapter.values, here)


class Meeting(str):
    """The name of a base that no worker hears before two of them are there."""

    def __reduce__(self):
        return meet, (str(self), os.environ["MEETING"])


def meet(base, folder):
    Path(folder, str(os.getpid())).touch()
    for _ in range(300):
        if len(list(Path(folder).iterdir())) > 1:
            return base
        time.sleep(0.1)
    raise RuntimeError("the others have not come")


@pytest.mark.slow
def test_workers_load_their_bases_at_the_same_time(store, tmp_path, job, monkeypatch):
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.setenv("MEETING", str(meeting))
    manifest = tmp_path / "long.jsonl"
    # More than a pipe holds: what a worker does not take, the driver waits to be rid of.
    write_manifest(manifest, {user: writing(user, 400_000) for user in USERS[:2]})
    nowhere = replace(job, base=Meeting(tmp_path))
    with pytest.raises(BaseError):
        list(start(store, plan_fleet(manifest, 1), nowhere, workers=2))
    assert len(list(meeting.iterdir())) == 2


@pytest.mark.slow
def test_a_base_that_does_not_load_ends_the_run_with_its_own_error(store, plan, job, tmp_path):
    with pytest.raises(BaseError, match=re.escape(str(tmp_path))):
        list(start(store, plan, replace(job, base=str(tmp_path))))
    assert not multiprocessing.active_children()


def test_a_base_that_is_another_one_on_the_worker_is_refused(job):
    with pytest.raises(WrongBase, match="on this worker"):
        Trainer(replace(job, fingerprint="0" * 64))


@pytest.mark.rare
def test_a_format_of_an_installed_package_reaches_the_workers(store, plan, job, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.syspath_prepend(str(install_guides(tmp_path / "acme")))
    job = replace(job, recipe=replace(RECIPE, method="mlp-out", steps=2))
    results = [each for each in start(store, plan, job) if isinstance(each, Result)]
    assert {(result.user, result.release) for result in results} == {(user, 1) for user in USERS}
    assert store.release("alice", 1).adapter.format == "mlp-out"


def test_a_format_that_this_process_alone_knows_is_refused_before_a_worker_starts(store, plan, job, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    register_format(Format("own", norm_sites))
    with pytest.raises(FormatError, match=r"'own'.*this process alone.*entry point"):
        list(start(store, plan, replace(job, recipe=replace(RECIPE, method="own"))))
    assert not multiprocessing.active_children()
