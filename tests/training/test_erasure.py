"""Erasing a user from the store and from what their unfinished training left."""

import numpy as np
import pytest
import torch

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import StoreBusy, UnknownUser
from sharedllm.store import open_store
from sharedllm.training.checkpoints import Checkpoints, Progress
from sharedllm.training.erasure import erase_user
from sharedllm.training.recipes import Recipe


@pytest.fixture
def store():
    with open_store(":memory:") as store:
        for user in ("alice", "bob"):
            store.publish(user, Adapter("norm", "base-1", np.ones(4, np.float32)), GateOutcome(True, "passed"))
        yield store


@pytest.fixture
def begin(tmp_path):
    """Leave an unfinished training of a user."""

    def begin(user, text="0" * 64):
        row = torch.zeros(4)
        Checkpoints(tmp_path, "base-1").save(user, text, Recipe("r"), Progress(1, row, row, row, row, 1.0, 0, []))

    return begin


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_everything_of_one_user_goes_and_nothing_of_anybody_elses(store, begin, tmp_path):
    for user, text in (("alice", "a" * 64), ("alice", "b" * 64), ("bob", "a" * 64)):
        begin(user, text)
    erasure = erase_user(store, tmp_path, "alice")
    assert (erasure.stored.user, erasure.stored.releases, erasure.checkpoints) == ("alice", 1, 2)
    assert [user.user for user in store.users()] == ["bob"]
    assert len(files(tmp_path)) == 1


def test_someone_whose_first_training_never_ended_can_be_erased(store, begin, tmp_path):
    begin("carol")
    erasure = erase_user(store, tmp_path, "carol")
    assert (erasure.stored.releases, erasure.checkpoints) == (0, 1)
    assert not files(tmp_path)


def test_someone_of_whom_nothing_is_here_is_an_error(store, tmp_path):
    with pytest.raises(UnknownUser):
        erase_user(store, tmp_path, "carol")


def test_checkpoints_are_gone_even_where_the_store_fails(store, begin, tmp_path, monkeypatch):
    def busy(user):
        raise StoreBusy("The store is busy", remedy="Try again.")

    begin("alice")
    monkeypatch.setattr(store, "erase", busy)
    with pytest.raises(StoreBusy):
        erase_user(store, tmp_path, "alice")
    assert not files(tmp_path)
