"""`sharedllm fleet`: training a manifest's users in workers of their own, and reckoning what a fleet takes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.fleets.conftest import Here

from sharedllm.cluster.fleets.job import Trainer
from sharedllm.cluster.workers.executors import Stepped, WorkerEvent
from sharedllm.errors import InTraining
from sharedllm.operations.erase import erase
from sharedllm.store import open_store

USERS = ["alice", "bob", "carol"]


@pytest.fixture
def manifest(tmp_path, notes):
    path = tmp_path / "fleet.jsonl"
    path.write_text("".join(json.dumps({"user": user, "files": [notes(user).name]}) + "\n" for user in USERS))
    return path


@pytest.fixture
def here(base_of, monkeypatch):
    """Workers of this process instead of others."""
    places = []

    def executor(job, workers):
        places.append(Trainer(job, base_of("llama")))
        return Here(places[-1], workers)

    monkeypatch.setattr("sharedllm.cluster.workers.local.LocalExecutor", executor)
    yield
    for place in places:
        place.workplace.close()


@pytest.fixture
def train(run, manifest, folder_of):
    def train(*options):
        return run("fleet", "train", "--manifest", manifest, "--base", folder_of("llama"), *options)

    return train


def events(out, kind):
    return [event for event in map(json.loads, out.splitlines()) if event["event"] == kind]


def test_everyone_is_trained_and_counted(train, machine, here):
    ran = train()
    assert (ran.code, sorted(machine.users())) == (0, USERS)
    assert "3 of 3 users have an adapter" in ran.out
    assert "0 failed" in ran.out
    assert "users an hour" in ran.out


@pytest.mark.slow
def test_nobody_is_erased_while_they_may_be_in_training(train, machine, here, monkeypatch):
    refused, wait = [], Here.wait

    def watched(executor):
        with open_store(machine.store) as store, pytest.raises(InTraining, match=str(machine.training)) as caught:
            erase(store, "alice", folder=machine.training)
        refused.append(caught.value)
        return wait(executor)

    monkeypatch.setattr("sharedllm.operations.locks._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(Here, "wait", watched)
    train()
    assert refused
    assert sorted(machine.users()) == USERS
    with open_store(machine.store) as store:
        assert erase(store, "alice", folder=machine.training).counts["releases"] == 1
    assert machine.users() == USERS[1:]


def test_the_same_command_again_trains_nobody(train, machine, here):
    train()
    ran = train()
    assert ran.code == 0
    assert "3 of them had it before" in ran.out
    with open_store(machine.store) as store:
        assert all(user.releases == 1 for user in store.users())


def test_who_cannot_be_trained_is_named_and_the_command_fails(train, machine, manifest, here):
    with manifest.open("a") as stream:
        stream.write(json.dumps({"user": "dave", "files": ["nowhere.txt"]}) + "\n")
    ran = train("--shard-size", 2)
    assert (ran.code, sorted(machine.users())) == (2, USERS)
    assert "dave: failed: " in ran.out
    assert "nowhere.txt" in ran.out
    assert "1 failed" in ran.out


def test_programs_read_a_line_for_every_user_and_a_summary_at_the_end(train, manifest, here, monkeypatch):
    monkeypatch.setattr("sharedllm.cli.fleet._PROGRESS_EVERY_SECONDS", 0.0)
    with manifest.open("a") as stream:
        stream.write(json.dumps({"user": "dave", "text": "short"}) + "\n")
    ran = train("--json")
    assert ran.code == 2
    users = {event["user"]: event for event in events(ran.out, "user")}
    assert sorted(users) == [*USERS, "dave"]
    assert users["dave"]["state"] == "failed"
    assert users["dave"]["release"] is None
    assert {users[user]["release"] for user in USERS} == {1}
    reached = [event["done"] for event in events(ran.out, "progress")]
    assert reached == [1, 2, 3, 4]
    (summary,) = events(ran.out, "summary")
    assert json.loads(ran.out.splitlines()[-1]) == summary
    assert (summary["users"], summary["done"], summary["failed"], summary["before"]) == (4, 4, 1, 0)
    assert summary["served"] + summary["held_back"] == 3
    assert summary["users_per_hour"] > 0
    assert summary["seconds_left"] == 0


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(train, here, monkeypatch):
    monkeypatch.setattr("sharedllm.cli.progress._SECONDS_BETWEEN_LINES", 0.0)
    ran = train()
    assert re.findall(r"([\d.]+) of 3", ran.err) == ["1", "2", "3"]
    assert all(each in ran.err for each in ("held back", "failed", "an hour", "0 min left"))
    assert "3 of 3 users have an adapter" in ran.out
    assert not train("--json").err


@pytest.mark.slow
def test_steps_of_users_who_are_not_done_count_as_progress(train, here, monkeypatch):
    told = []

    def wait(executor, ordinary=Here.wait):
        if len(told) < 6:
            told.append(WorkerEvent(next(iter(executor._busy)), Stepped(1)))
            return told[-1]
        return ordinary(executor)

    monkeypatch.setattr(Here, "wait", wait)
    monkeypatch.setattr("sharedllm.cli.fleet._PROGRESS_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("sharedllm.cli.progress._SECONDS_BETWEEN_LINES", 0.0)
    first, *_, sixth = events(train("--json").out, "progress")[:6]
    assert (first["done"], sixth["done"]) == (0, 0)
    assert None not in (first["seconds_left"], sixth["seconds_left"])
    told.clear()
    assert "0.3 of 3" in train("--seed", 1).err


@pytest.mark.slow
def test_a_release_remembers_the_manifest(train, run, machine, manifest, here, folder_of):
    train()
    with open_store(machine.store) as store:
        assert store.release("alice", 1).adapter.provenance["sources"] == [f"manifest:{manifest}"]
    assert run("evaluate", "alice").code == 0


def test_a_fleet_and_train_know_each_others_releases(train, run, machine, manifest, here):
    train()
    ran = run("train", "--manifest", manifest)
    assert ran.code == 0
    assert ran.err.count("nothing new in the text") == 3


def test_a_bad_line_costs_nothing(train, machine, manifest):
    with manifest.open("a") as stream:
        stream.write("{}\n")
    ran = train()
    assert (ran.code, machine.users()) == (2, [])
    assert "Line 4" in ran.err


def test_an_address_is_for_ray(train):
    ran = train("--address", "ray://head:10001")
    assert ran.code == 2
    assert "--executor ray" in ran.err


@pytest.mark.parametrize("size", [0, -1])
def test_a_shard_of_nobody_is_refused(train, size):
    assert f"A shard of {size}" in train("--shard-size", size).err


@pytest.mark.rare
def test_a_driver_that_is_killed_takes_its_workers_along_and_loses_nothing(machine, manifest, folder_of, tmp_path):
    """In a process of its own, with the general text of the command line's tests and a training that takes a while."""
    driver = tmp_path / "driver.py"
    driver.write_text(
        "from dataclasses import replace\n"
        "from sharedllm.cli import fleet\n"
        "from sharedllm.cli.main import main\n"
        "from sharedllm.text import samples\n"
        "from sharedllm.training.recipes import RECIPES\n"
        "from tests.cli.conftest import QUICK, writing\n"
        "fleet._PROGRESS_EVERY_SECONDS = 0.0\n"
        "samples.general_text = lambda: writing('general')\n"
        "RECIPES['default'] = replace(QUICK, steps=100_000, check_every=0)\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    command = [sys.executable, driver, "fleet", "train", "--manifest", manifest, "--json", "--base", folder_of("llama")]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": root}) as process:
        assert json.loads(process.stdout.readline())["event"] == "progress"
        process.kill()
        # The worker holds the same pipe: it ends when both are gone.
        process.stdout.read()
    assert len(machine.checkpoints()) == len(USERS)


# Size


def test_a_fleet_is_reckoned_with_a_source_beside_every_figure(run):
    ran = run("fleet", "size", "--users", 215_000, "--base", "30m", "--requests-per-second", 10)
    assert ran.code == 0
    assert "4.61 KB" in ran.out
    assert "benchmarks/results/training.json" in ran.out
    assert "nodes" in ran.out


def test_the_same_for_programs(run):
    figures = {figure["what"]: figure for figure in run("fleet", "size", "--users", 10, "--json").json}
    assert figures["a user, norm float16, as stored"]["value"] == 70_272
    assert not any("serving" in what for what in figures)


def test_reckoning_loads_no_model():
    script = (
        "import sys\nfrom sharedllm.cli.main import sharedllm\n"
        "sharedllm(['fleet', 'size', '--users', '1', '--json'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0
