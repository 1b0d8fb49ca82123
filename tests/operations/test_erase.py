"""Erasing a user from the store and from what their unfinished training left."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import InTraining, InvalidInput, StoreBusy, UnknownUser
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.operations import locks
from sharedllm.operations.erase import erase
from sharedllm.operations.locks import in_training
from sharedllm.store import open_store
from sharedllm.store.encryption.master_key import write_master_key
from sharedllm.store.encryption.migrate import encrypt_store
from sharedllm.store.erasure import Account
from sharedllm.training.checkpoints import Checkpoints, Progress, begin_report, report_folder
from sharedllm.training.recipes import Recipe


@pytest.fixture(autouse=True)
def signing(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


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


@pytest.fixture
def reported(tmp_path):
    """Leave what an interrupted report of a fleet leaves."""
    folder = report_folder(tmp_path)
    folder.mkdir()
    (folder / "what bob read.safetensors").write_bytes(b"among others with alice's adapter")
    return folder


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_everything_of_one_user_goes_and_nothing_of_anybody_elses(store, begin, tmp_path):
    for user, text in (("alice", "a" * 64), ("alice", "b" * 64), ("bob", "a" * 64)):
        begin(user, text)
    receipt = erase(store, "alice", folder=tmp_path)
    assert receipt.is_about("alice")
    assert (receipt.counts["releases"], receipt.counts["checkpoints of training"]) == (1, 2)
    assert [user.user for user in store.users()] == ["bob"]
    assert len(files(tmp_path)) == 1


def test_someone_whose_first_training_never_ended_can_be_erased(store, begin, tmp_path):
    begin("carol")
    receipt = erase(store, "carol", folder=tmp_path)
    assert (receipt.counts["releases"], receipt.counts["checkpoints of training"]) == (0, 1)
    assert not files(tmp_path)


def test_someone_of_whom_nothing_is_here_is_an_error(store, tmp_path):
    with pytest.raises(UnknownUser):
        erase(store, "carol", folder=tmp_path)


def test_checkpoints_are_gone_even_where_the_store_fails(store, begin, tmp_path, monkeypatch):
    def busy(user):
        raise StoreBusy("The store is busy", remedy="Try again.")

    begin("alice")
    monkeypatch.setattr(store, "erase", busy)
    with pytest.raises(StoreBusy):
        erase(store, "alice", folder=tmp_path)
    assert not files(tmp_path)


def test_what_a_report_made_of_everybodys_adapters_goes_and_the_receipt_says_so(store, reported, tmp_path):
    receipt = erase(store, "alice", folder=tmp_path)
    assert not reported.exists()
    (derived,) = receipt.derived
    assert "fleet report" in derived.what
    assert derived.outcome == "dropped"
    assert erase(store, "bob", folder=tmp_path).derived == ()


def test_what_a_report_has_kept_goes_when_the_next_begins_after_an_erasure_on_another_machine(store, tmp_path):
    begin_report(store, tmp_path)
    kept = report_folder(tmp_path) / "what bob read.safetensors"
    kept.write_bytes(b"among others with alice's adapter")
    begin_report(store, tmp_path)
    assert kept.exists()
    store.erase("alice")
    begin_report(store, tmp_path)
    assert not kept.exists()
    kept.write_bytes(b"without alice's adapter")
    begin_report(store, tmp_path)
    assert kept.exists()


def test_a_report_is_kept_where_nobody_is_erased(store, reported, tmp_path):
    with pytest.raises(UnknownUser):
        erase(store, "carol", folder=tmp_path)
    assert files(reported)


def test_a_report_is_gone_even_where_the_store_fails(store, reported, tmp_path, monkeypatch):
    def half(user):
        raise StoreBusy("They are erased, but traces remain", remedy="Try again.")

    monkeypatch.setattr(store, "erase", half)
    with pytest.raises(StoreBusy):
        erase(store, "alice", folder=tmp_path)
    assert not reported.exists()


def test_nobody_is_erased_while_a_run_may_train_them(store, begin, reported, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.0)
    begin("alice")
    with in_training(tmp_path), pytest.raises(InTraining, match=str(tmp_path)):
        erase(store, "alice", folder=tmp_path)
    assert store.served("alice")
    assert len(files(tmp_path)) == 2
    assert erase(store, "alice", folder=tmp_path).counts["checkpoints of training"] == 1


def test_what_an_interrupted_erasure_had_removed_stands_in_the_receipt_that_it_ends_with(
    store, begin, reported, tmp_path, monkeypatch
):
    def busy(user):
        raise StoreBusy("The store is busy", remedy="Try again.")

    begin("alice")
    with monkeypatch.context() as patch:
        patch.setattr(store, "erase", busy)
        with pytest.raises(StoreBusy):
            erase(store, "alice", folder=tmp_path)
    receipt = erase(store, "alice", folder=tmp_path)
    assert (receipt.counts["releases"], receipt.counts["checkpoints of training"]) == (1, 1)
    assert [each.outcome for each in receipt.derived] == ["dropped"]
    assert erase(store, "alice", folder=tmp_path) == receipt


class Told(Holder):
    """Notes what it is told, in one list with others."""

    def __init__(self, holds, told, error=None):
        self.holds, self.told, self.error = holds, told, error

    @contextmanager
    def stopping(self, user):
        self.told.append(("stops", self.holds))
        yield
        self.told.append(("goes on", self.holds))

    def forget(self, user):
        self.told.append(("forgets", self.holds))
        if self.error is not None:
            raise self.error
        return []


@pytest.mark.parametrize("holds", [["uploads", "trainings", "requests"], ["requests", "uploads", "trainings"]])
def test_holders_forget_in_one_order_however_they_are_given_once_all_have_stopped(store, tmp_path, holds):
    told = []
    erase(store, "alice", folder=tmp_path, others=[Told(each, told) for each in holds])
    assert [(what, each) for what in ("stops", "forgets") for each in ("uploads", "trainings", "requests")] == told[:6]
    assert {what for what, _ in told[6:]} == {"goes on"}


def test_all_forget_although_one_cannot_and_the_first_failure_is_told(store, tmp_path):
    told = []
    failing = Told("trainings", told, ZeroDivisionError("first")), Told("requests", told, OSError("second"))
    with pytest.raises(ZeroDivisionError, match="first"):
        erase(store, "alice", folder=tmp_path, others=failing)
    assert [what for what, _ in told].count("forgets") == 2
    assert [user.user for user in store.users()] == ["bob"]
    assert erase(store, "alice", folder=tmp_path).counts["releases"] == 1


def test_an_erasure_that_is_over_is_told_again_to_whoever_has_taken_something_out_of_the_store(store, tmp_path):
    receipt, told = erase(store, "alice", folder=tmp_path), []
    others = [Told(each, told) for each in ("trainings", "requests", "snapshots")]
    assert erase(store, "alice", folder=tmp_path, others=others) == receipt
    assert [each for what, each in told if what == "forgets"] == ["requests", "snapshots"]


def earlier(account):
    """An account as version ad0dd21 wrote it."""
    names = {
        "releases": "releases",
        "events": "events",
        "API keys": "keys",
        "encryption key": "key",
        "checkpoints of training": "checkpoints",
    }
    removed = {names[each.what]: each.count for each in account.removed} | ({"report": 1} if account.derived else {})
    return json.dumps({"removed": removed, "receipt": account.receipt}, sort_keys=True)


@pytest.fixture(params=["plain", "encrypted"])
def upgraded(request, tmp_path, monkeypatch):
    """A store on a disk; what is noted of erasures inside the second is noted as an earlier version did."""
    where = tmp_path / "store.db"
    if request.param == "encrypted":
        monkeypatch.setenv("SHAREDLLM_MASTER_KEY_FILE", str(tmp_path / "private" / "master.key"))
        write_master_key(tmp_path / "private" / "master.key")
        encrypt_store(where, lambda _: None)

    @contextmanager
    def before_the_upgrade():
        with monkeypatch.context() as patched:
            patched.setattr(Account, "to_json", earlier)
            yield

    with open_store(where) as store:
        store.publish("alice", Adapter("norm", "base-1", np.ones(4, np.float32)), GateOutcome(True, "passed"))
        yield store, before_the_upgrade


@pytest.mark.slow
def test_an_erasure_that_an_earlier_version_ended_has_its_receipt_and_who_came_back_can_be_erased(upgraded, tmp_path):
    store, before_the_upgrade = upgraded
    folder = tmp_path / "training"
    with before_the_upgrade():
        receipt = erase(store, "alice", folder=folder)
    assert erase(store, "alice", folder=folder) == receipt
    store.publish("alice", Adapter("norm", "base-1", np.ones(4, np.float32)), GateOutcome(True, "passed"))
    again = erase(store, "alice", folder=folder)
    assert again != receipt
    assert again.counts["releases"] == 1
    with pytest.raises(UnknownUser):
        store.user("alice")


def test_an_erasure_that_an_earlier_version_began_ends_with_all_that_it_had_counted(upgraded, tmp_path):
    store, before_the_upgrade = upgraded
    gone = [Removed("checkpoints of training", "data folder", 2), Derived("readings", "data folder", "dropped")]
    with before_the_upgrade():
        store.note_erasure("alice", gone)
        store.erase("alice")
    receipt = erase(store, "alice", folder=tmp_path / "training")
    assert (receipt.counts["releases"], receipt.counts["checkpoints of training"]) == (1, 2)
    assert [each.outcome for each in receipt.derived] == ["dropped"]


def test_a_holder_without_a_place_in_the_order_is_refused_by_name_before_anything_is_erased(store, tmp_path):
    class Notes(Holder):
        holds = "notes"

        def forget(self, user):
            raise AssertionError

    for other in (Notes(), object()):
        with pytest.raises(InvalidInput, match=rf"{type(other).__name__}.*Give it a place in HOLDERS"):
            erase(store, "alice", folder=tmp_path, others=[other])
    assert store.served("alice").number == 1
