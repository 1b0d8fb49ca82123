"""A whole fleet: everyone's adapter is there, whoever else was in the batch and whatever was lost on the way."""

import errno
import json
import pickle
import random
import weakref
from dataclasses import replace

import numpy as np
import pytest

from sharedllm.cluster.fleets import run
from sharedllm.cluster.fleets.run import Result
from sharedllm.cluster.workers.executors import Lost
from sharedllm.errors import (
    CorruptStore,
    DiskFull,
    Diverged,
    InTraining,
    OutcomeUnknown,
    StoreBusy,
    StoreUnreachable,
    TrainingError,
)
from sharedllm.operations import locks
from sharedllm.text import manifest as manifests
from sharedllm.training import vectors
from sharedllm.training.checkpoints import digest

from .conftest import RECIPE, USERS, writing

# As in tests/training/test_vectors.py: norms are computed in float32 even in a float64 model.
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


@pytest.fixture
def slots(monkeypatch):
    def slots(count):
        monkeypatch.setattr(vectors, "_TOKENS_AT_ONCE", {"cpu": count * RECIPE.windows_per_step * RECIPE.window})

    return slots


# Everyone


@pytest.mark.slow
def test_everyone_gets_one_release_that_says_where_it_came_from(eight):
    results = eight.train()
    assert sorted(results) == USERS
    for user, result in results.items():
        (release,) = eight.store.releases(user)
        assert result.state == ("served" if release.gate.passed else "held back")
        assert (result.release, result.reason, result.before) == (1, release.gate.reason, False)
        assert release.provenance["sources"] == [f"manifest:{eight.manifest}"]
        assert release.provenance["recipe"] == RECIPE.as_dict()
    assert "served" in {result.state for result in results.values()}
    assert not list(eight.checkpoints.rglob("*.safetensors"))


@pytest.mark.slow
def test_what_is_learned_of_each_is_said_by_their_line_and_kept_with_the_release(fleet, tmp_path):
    turns = [(role, writing(f"{role} {n}", 130).strip()) for n in range(30) for role in ("user", "assistant")]
    asked = [{"role": role, "content": text} for role, text in turns]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": asked}) + "\n")
    chats = {"files": ["chats.jsonl"], "me": "user"}
    fleet.write({"alice": chats | {"learn": "answers"}, "bob": chats, "carol": writing("carol")})
    fleet.train()
    learned = {user: fleet.store.release(user, 1).adapter.provenance["learn"] for user in ("alice", "bob", "carol")}
    assert learned == {"alice": "answers", "bob": "writing", "carol": "writing"}
    assert "answers alone were trained" in fleet.store.release("alice", 1).gate.reason
    fleet.train()
    assert fleet.executors[-1].handed_out == []


def test_a_second_run_trains_nobody_and_says_what_there_is(eight):
    first = eight.train()
    second = eight.train()
    assert eight.executors[-1].handed_out == []
    assert all(result.before for result in second.values())
    assert {u: (r.state, r.release) for u, r in second.items()} == {u: (r.state, r.release) for u, r in first.items()}
    assert all(eight.store.user(user).releases == 1 for user in USERS)


@pytest.mark.slow
def test_only_those_whose_text_has_changed_are_trained_again(eight):
    eight.train()
    eight.write({user: writing(user + (" changed" if user == "user 5" else "")) for user in USERS})
    eight.train()
    assert eight.executors[-1].handed_out == [["user 5"]]
    assert eight.store.user("user 5").releases == 2


def test_somebody_of_whom_the_store_holds_what_is_damaged_keeps_nobody_else(eight, monkeypatch):
    every = eight.store.every_release

    def damaged(user):
        if user == "user 3":
            raise CorruptStore("It is damaged", remedy="Restore it.")
        return every(user)

    monkeypatch.setattr(eight.store, "every_release", damaged)
    results = eight.train()
    assert (results["user 3"].state, results["user 3"].reason) == ("failed", "It is damaged. Restore it.")
    assert all(results[user].release == 1 for user in USERS if user != "user 3")


# Nobody else matters


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_users_adapter_depends_on_nobody_else(fleet, slots, seed):
    """Random fleets: texts of all lengths, early stopping, any order, shard size, batch size and number of workers."""
    chance = random.Random(seed)
    fleet.recipe = replace(RECIPE, learning_rate=0.2, schedule="constant", steps=8, check_every=1, patience=1)
    texts = {f"user {number}": writing(f"{seed} {number}", chance.randint(2_100, 6_000)) for number in range(7)}
    alone = {}
    for user, text in texts.items():
        fleet.write({user: text})
        fleet.train()
        alone[user] = fleet.values(user), fleet.store.release(user, 1).adapter.provenance["steps"]
        fleet.store.erase(user)
    assert len({steps for _, steps in alone.values()}) > 1
    order = list(texts)
    chance.shuffle(order)
    fleet.write({user: texts[user] for user in order})
    fleet.size, fleet.workers = chance.randint(1, 7), chance.randint(1, 3)
    slots(chance.randint(1, 4))
    fleet.train()
    for user, (values, steps) in alone.items():
        np.testing.assert_allclose(fleet.values(user), values, **CLOSE)
        assert fleet.store.release(user, 1).adapter.provenance["steps"] == steps


@pytest.mark.slow
def test_batches_of_the_same_shape_give_the_same_bits(eight, slots):
    """One row a pass, whoever is before and after it, in whichever shard of whichever worker."""
    slots(1)
    eight.train()
    first = {user: eight.values(user) for user in USERS}
    for user in USERS:
        eight.store.erase(user)
    eight.write({user: writing(user) for user in reversed(USERS)})
    eight.size, eight.workers = 5, 2
    eight.train()
    assert all(np.array_equal(eight.values(user), first[user]) for user in USERS)


@pytest.mark.slow
def test_no_more_than_a_shards_texts_are_ever_held(eight, monkeypatch):
    held = most = 0
    read = manifests.Entry.read

    def forgotten():
        nonlocal held
        held -= 1

    def counting(self, folder):
        nonlocal held, most
        text = read(self, folder)
        held += 1
        weakref.finalize(text, forgotten)
        most = max(most, held)
        return text

    monkeypatch.setattr(manifests.Entry, "read", counting)
    eight.size = 3
    eight.train()
    assert most == 3


@pytest.mark.slow
def test_long_texts_are_handed_over_a_few_at_a_time(eight, monkeypatch):
    monkeypatch.setattr(run, "_LARGEST_WORK", 6_000)
    eight.size = 8
    assert sorted(eight.train()) == USERS
    assert [len(users) for users in eight.executors[-1].handed_out] == [2, 2, 2, 2]


# Interrupted


@pytest.mark.slow
@pytest.mark.parametrize("results", [1, 4, 7])
def test_a_run_that_ends_early_goes_on_where_it_was_with_the_same_adapters(eight, slots, results):
    slots(1)
    eight.train()
    expected = {user: eight.values(user) for user in USERS}
    for user in USERS:
        eight.store.erase(user)
    running = eight.start()
    seen = [next(running) for _ in range(results)]
    running.close()
    done = {result.user for result in seen}
    # Its own checkpoint is kept until the next is asked for, and the rest of the fleet has not begun.
    assert {user.user for user in eight.store.users()} == done
    eight.train()
    assert not done & {user for users in eight.executors[-1].handed_out for user in users}
    assert all(np.array_equal(eight.values(user), expected[user]) for user in USERS)
    assert all(eight.store.user(user).releases == 1 for user in USERS)
    assert not list(eight.checkpoints.rglob("*.safetensors"))


@pytest.mark.slow
def test_an_interrupt_keeps_the_steps_that_were_taken(eight, monkeypatch):
    taken = []
    original = vectors._Batch._step

    def interrupted(self, slots):
        taken.append(1)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return original(self, slots)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vectors._Batch, "_step", interrupted)
        eight.train()
    eight.train()
    assert min(step for user, step in eight.executors[-1].trained if user == "user 0") == 4


# What goes wrong for one


def test_who_cannot_be_trained_is_listed_with_the_reason_and_nobody_else_is_harmed(eight, monkeypatch):
    validate = vectors._Batch._validate
    monkeypatch.setattr(
        vectors._Batch,
        "_validate",
        lambda self, text, values: float("nan") if text.user == "user 3" else validate(self, text, values),
    )
    texts = {user: writing(user) for user in USERS}
    eight.write({**texts, "user 1": {"files": ["nowhere.txt"]}, "user 2": "short"})
    results = eight.train()
    failed = {user: result.reason for user, result in results.items() if result.state == "failed"}
    assert sorted(failed) == ["user 1", "user 2", "user 3"]
    assert "nowhere.txt" in failed["user 1"]
    assert "2,000" in failed["user 2"]
    assert "stopped being finite" in failed["user 3"]
    assert {user.user for user in eight.store.users()} == set(results) - set(failed)


@pytest.mark.slow
def test_a_text_too_short_for_the_recipes_windows_is_cross_validated(fleet):
    fleet.recipe = replace(RECIPE, window=64)
    fleet.write({"alice": writing("alice", 8_000), "bob": writing("bob", 2_100), "carol": writing("carol", 8_000)})
    results = fleet.train()
    assert {user.user for user in fleet.store.users()} == {"alice", "bob", "carol"}
    assert "cross-validated over 4 blocks" in results["bob"].reason
    assert "cross_validated" in fleet.store.release("bob", 1).adapter.provenance
    assert "cross_validated" not in fleet.store.release("alice", 1).adapter.provenance


@pytest.mark.slow
@pytest.mark.parametrize("deadly", [["user 0"], ["user 7"], ["user 2", "user 3"]])
@pytest.mark.parametrize("size", [1, 8])
def test_a_user_whom_workers_die_of_is_found_and_everyone_else_is_trained(eight, deadly, size):
    eight.size = size
    results = eight.train(deadly=deadly)
    assert sorted(results) == USERS
    assert [user for user in USERS if results[user].state == "failed"] == deadly
    for user in deadly:
        assert f"killed by {user}" in results[user].reason
    assert {user.user for user in eight.store.users()} == set(USERS) - set(deadly)
    assert all(user.releases == 1 for user in eight.store.users())


@pytest.mark.slow
def test_a_worker_that_is_lost_once_costs_nobody_anything(eight):
    running = eight.start(deadly=["user 4"])
    wait = eight.executors[-1].wait

    def mended():
        event = wait()
        if isinstance(event.what, Lost):
            eight.executors[-1].deadly = set()
        return event

    eight.executors[-1].wait = mended
    assert all(result.state != "failed" for result in running)
    assert {user.user for user in eight.store.users()} == set(USERS)


# What goes wrong for all


def test_workers_that_never_start_end_the_run_instead_of_failing_everyone(eight):
    with pytest.raises(TrainingError, match="no memory for the base"):
        eight.train(startless=True)
    assert len(eight.executors[-1].handed_out) == 3


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_loses_nothing(eight, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(vectors, "_CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch, pytest.raises(DiskFull):
        patch.setattr("os.fsync", full)
        eight.train()
    results = eight.train()
    assert all(result.state != "failed" for result in results.values())
    assert all(eight.store.user(user).releases == 1 for user in USERS)


@pytest.mark.slow
def test_a_store_without_room_ends_the_run_and_the_adapter_is_not_trained_again(eight, monkeypatch):
    def full(*_):
        raise DiskFull("No room is left", remedy="Free some space.")

    eight.size = 8
    with monkeypatch.context() as patch, pytest.raises(DiskFull):
        patch.setattr(eight.store, "publish", full)
        eight.train()
    eight.train()
    assert eight.executors[-1].trained == [] or min(step for _, step in eight.executors[-1].trained) > 1
    assert all(eight.store.user(user).releases == 1 for user in USERS)


@pytest.mark.slow
def test_a_store_that_is_being_written_is_waited_for(eight, monkeypatch):
    publish, refusals = eight.store.publish, iter([True, True, False])

    def busy(*given):
        if next(refusals, False):
            raise StoreBusy("Another process is writing", remedy="Try again.")
        return publish(*given)

    monkeypatch.setattr(eight.store, "publish", busy)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert sorted(eight.train()) == USERS


@pytest.mark.slow
def test_a_release_whose_confirmation_was_lost_is_not_published_again(eight, monkeypatch):
    publish, lost = eight.store.publish, iter([True])

    def published_unheard(*given):
        release = publish(*given)
        if next(lost, False):
            raise OutcomeUnknown("The connection was lost", remedy="Look whether it is there.")
        return release

    monkeypatch.setattr(eight.store, "publish", published_unheard)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    results = eight.train()
    assert not any(result.before for result in results.values())
    assert all(eight.store.user(user).releases == 1 for user in USERS)


def test_a_store_that_never_answers_ends_the_run(eight, monkeypatch):
    def unreachable(*_):
        raise StoreUnreachable("The database does not answer", remedy="Start it.")

    monkeypatch.setattr(eight.store, "releases", unreachable)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(StoreUnreachable):
        eight.train()


@pytest.mark.slow
def test_what_another_run_has_published_meanwhile_is_not_published_twice(eight, monkeypatch):
    running = eight.start()
    next(running)
    others = eight.train()
    rest = {result.user: result for result in running}
    assert all(eight.store.user(user).releases == 1 for user in USERS)
    assert sum(not result.before for result in others.values()) == 7
    assert all(result.before for result in rest.values())


def test_results_are_small(eight):
    """A fleet's results can be kept: no values are in them."""
    (first, *_) = eight.train().values()
    assert isinstance(first, Result)
    assert not any(isinstance(value, np.ndarray) for value in vars(first).values())


def test_a_diverged_user_has_a_typed_error_that_survives_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(Diverged("The loss stopped", remedy="Train again.")))
    assert (type(error), error.message, error.remedy) == (Diverged, "The loss stopped", "Train again.")


@pytest.mark.slow
def test_who_is_erased_meanwhile_does_not_come_back_by_a_run_that_began_before(eight):
    """One who is in hand, one who is judged and not published yet, and one whose turn has not come."""
    results = {}
    publish = eight.store.publish

    def publishing(user, *rest):
        if user == "user 1":
            eight.store.erase("user 1")
        return publish(user, *rest)

    eight.store.publish = publishing
    for result in eight.start():
        if not results:
            assert result.user == "user 0"
            for user in ("user 2", "user 7"):
                eight.store.erase(user)
        results[result.user] = result
    erased = ["user 1", "user 2", "user 7"]
    assert [user for user, result in results.items() if result.state == "failed"] == erased
    assert all("was erased after this had begun" in results[user].reason for user in erased)
    assert [user.user for user in eight.store.users()] == [user for user in USERS if user not in erased]
    assert "user 7" not in {user for user, _ in eight.executors[-1].trained}
    assert not list(eight.checkpoints.rglob("*.safetensors"))


def test_a_run_that_ends_early_keeps_no_checkpoint_of_who_was_erased(eight):
    results = eight.start()
    next(results)
    eight.store.erase("user 1")
    results.close()
    left = {path.name.split("-")[0] for path in eight.checkpoints.rglob("*.safetensors")}
    assert digest("user 1") not in left
    assert digest("user 2") in left


def test_nobody_is_erased_here_while_a_run_may_train_them_and_nobody_is_trained_while_they_are(eight, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.0)
    running = eight.start()
    next(running)
    with pytest.raises(InTraining), locks.not_in_training(eight.checkpoints, USERS[0]):
        pass
    running.close()
    eight.executors[-1].place.workplace.close()
    with locks.not_in_training(eight.checkpoints, USERS[0]), pytest.raises(InTraining):
        eight.train()
