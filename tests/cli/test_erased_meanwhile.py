"""What was begun for somebody before they were erased from elsewhere never brings them back, and leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.test_train import WAITING

from sharedllm.adapters.adapter_file import save_adapter
from sharedllm.operations import compress, exchange
from sharedllm.store import open_store

pytestmark = pytest.mark.slow

GOING_ON = WAITING.replace("time.sleep(300)", "\n        while not flag.with_suffix('.go').exists(): time.sleep(0.02)")
"""Goes on from its fifth step once there is a file for that."""


@pytest.fixture
def elsewhere(machine, tmp_path, monkeypatch):
    """Erase somebody as from another machine on the same store, where no lock of this one's data folder holds."""

    def elsewhere(user):
        command = [sys.executable, "-m", "sharedllm", "users", "erase", user, "--yes"]
        there = os.environ | {"XDG_DATA_HOME": str(tmp_path / "another machine")}
        done = subprocess.run(command, env=there, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert '"signature"' in done.stdout

    return elsewhere


@pytest.fixture
def training(machine, notes, folder_of, tmp_path):
    """A process that trains alice, and is in its fifth step."""
    flag = tmp_path / "in-step-5"
    command = ["train", "alice", notes("alice"), "--base", folder_of("llama")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", GOING_ON, flag, *command],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not flag.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        yield process
        process.kill()


def test_a_training_ends_in_an_error_where_its_user_was_erased_from_another_machine(
    training, machine, elsewhere, tmp_path
):
    assert len(machine.checkpoints()) == 1
    elsewhere("alice")
    (tmp_path / "in-step-5.go").touch()
    out, err = training.communicate(timeout=120)
    assert training.returncode == 2
    assert "alice: failed: 'alice' was erased after this had begun" in out, err
    assert machine.users() == []
    assert machine.checkpoints() == []


def test_nor_does_one_that_is_interrupted_leave_a_checkpoint(training, machine, elsewhere):
    elsewhere("alice")
    training.send_signal(signal.SIGINT)
    training.communicate(timeout=120)
    assert training.returncode == 130
    assert machine.checkpoints() == []


def test_what_a_killed_one_has_left_goes_when_anybody_next_trains_here(training, machine, elsewhere, run, notes):
    training.kill()
    training.communicate()
    assert len(machine.checkpoints()) == 1
    elsewhere("alice")
    assert run("train", "bob", notes("bob")).code == 0
    assert machine.checkpoints() == []


def test_whoever_comes_back_does_not_go_on_from_before_the_erasure(training, machine, elsewhere, run, notes):
    training.kill()
    training.communicate()
    elsewhere("alice")
    assert run("train", "alice", notes("alice")).out.startswith("alice: release 1 ")


def test_an_import_on_its_way_does_not_bring_its_user_back(
    run, machine, notes, elsewhere, tmp_path, monkeypatch, folder_of
):
    run("train", "alice", notes("alice"))
    path = tmp_path / "alice.safetensors"
    with open_store(machine.store) as store:
        save_adapter(store.release("alice", 1).adapter, path)
    judge = exchange._judge
    monkeypatch.setattr(exchange, "_judge", lambda *given: (elsewhere("alice"), judge(*given))[1])
    ran = run("import", "alice", path, "--base", folder_of("llama"))
    assert (ran.code, machine.users()) == (2, [])
    assert "was erased after this had begun" in ran.err


def test_nor_does_one_of_somebody_who_was_never_here(run, machine, notes, elsewhere, tmp_path, monkeypatch, folder_of):
    run("train", "alice", notes("alice"))
    path = tmp_path / "alice.safetensors"
    with open_store(machine.store) as store:
        save_adapter(store.release("alice", 1).adapter, path)
    judge = exchange._judge
    monkeypatch.setattr(exchange, "_judge", lambda *given: (elsewhere("bob"), judge(*given))[1])
    assert run("import", "bob", path, "--base", folder_of("llama")).code == 2
    assert machine.users() == ["alice"]


def test_a_compression_on_its_way_does_not_either(run, machine, notes, elsewhere, monkeypatch, folder_of):
    run("train", "alice", notes("alice"))
    publish = compress._publish
    monkeypatch.setattr(compress, "_publish", lambda *given: (elsewhere("alice"), publish(*given))[1])
    ran = run("compress", "alice", "--base", folder_of("llama"))
    assert (ran.code, machine.users()) == (2, [])
