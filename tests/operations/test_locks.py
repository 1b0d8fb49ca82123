"""Runs that train in a folder and erasures from it keep out of each other's way."""

import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

from sharedllm.errors import InTraining, TrainingError
from sharedllm.operations import locks
from sharedllm.operations.locks import in_training, not_in_training

HOLD = """
import sys
from pathlib import Path
from sharedllm.operations.locks import in_training
with in_training(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "made" / "on" / "demand"


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.0)


@pytest.mark.parametrize("trained", [[], ["alice"], ["alice", "bob"], ["bob", "carol"]])
def test_nobody_is_erased_beside_a_run_that_may_train_them(folder, hasty, trained):
    with (
        in_training(folder, *trained),
        pytest.raises(InTraining, match=f"under way in {folder}.*End it"),
        not_in_training(folder, "alice"),
    ):
        pass
    with not_in_training(folder, "alice"):
        pass


def test_the_training_of_one_person_holds_off_nobody_elses_erasure(folder, hasty):
    with in_training(folder, "alice"), not_in_training(folder, "bob"):
        pass


def test_any_number_of_runs_share_a_folder(folder, hasty):
    with in_training(folder), in_training(folder), in_training(folder, "alice"), in_training(folder, "alice"):
        pass


def test_the_last_of_several_runs_lets_go(folder, hasty):
    with ExitStack() as second:
        with in_training(folder):
            second.enter_context(in_training(folder))
        with pytest.raises(InTraining), not_in_training(folder, "alice"):
            pass
    with not_in_training(folder, "alice"):
        pass


def test_nobody_begins_to_be_trained_while_they_are_erased(folder, hasty):
    with not_in_training(folder, "alice"):
        for trained in ([], ["alice"]):
            with pytest.raises(InTraining, match="being erased"), in_training(folder, *trained):
                pass
        with in_training(folder, "bob"):
            pass


def test_erasures_of_different_people_wait_for_each_other(folder, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 60.0)
    erased, began = [], threading.Event()

    def erase():
        began.set()
        with not_in_training(folder, "bob"):
            erased.append("bob")

    with not_in_training(folder, "alice"):
        other = threading.Thread(target=erase)
        other.start()
        began.wait()
        erased.append("alice")
    other.join(60)
    assert erased == ["alice", "bob"]


def test_nothing_is_left_of_it(folder):
    with in_training(folder), in_training(folder, "alice"):
        pass
    with not_in_training(folder, "alice"):
        pass
    assert not list(folder.iterdir())


def test_a_run_that_is_killed_lets_go(folder, hasty):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline()
        with pytest.raises(InTraining), not_in_training(folder, "alice"):
            pass
        process.kill()
    with not_in_training(folder, "alice"):
        pass
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_is_an_error_of_ours(folder):
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    with pytest.raises(TrainingError, match=f"{folder}.*cannot be locked"), in_training(folder):
        pass
