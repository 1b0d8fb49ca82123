"""How long a training takes is told before it begins, by the same measurement as a fleet's."""

import threading

import pytest
from tests.http.test_jobs import QUICK, WAITING, machine, queue, worker, writing  # noqa: F401

from sharedllm.cluster.fleets.sizing import SHAPES, tokens_of_training, training_seconds
from sharedllm.http import reckoning
from sharedllm.http.reckoning import Reckoner
from sharedllm.training import little
from sharedllm.training.recipes import RECIPES

DEFAULT = RECIPES["default"]


@pytest.fixture
def smollm(monkeypatch):
    """Reckon as for SmolLM2-135M on a machine of two cores, whatever this is."""
    monkeypatch.setattr(reckoning, "_multiplied", lambda folder: SHAPES["smollm2-135m"].multiplied)
    monkeypatch.setattr(reckoning.os, "cpu_count", lambda: 2)


def test_until_something_was_trained_here_it_is_what_a_fleet_is_reckoned_from(smollm, tmp_path):
    whole = Reckoner(tmp_path, 1.0)
    expected = training_seconds(SHAPES["smollm2-135m"], *tokens_of_training(DEFAULT))
    assert whole.seconds(DEFAULT, None) == pytest.approx(expected)
    assert Reckoner(tmp_path, 0.25).seconds(DEFAULT, None) == pytest.approx(4 * expected)
    # With three quarters of two cores there is one thread.
    assert Reckoner(tmp_path, 0.75).seconds(DEFAULT, None) == pytest.approx(2 * expected)
    assert not whole.by_pace


def test_then_it_is_the_pace_of_that(smollm, tmp_path):
    reckoner = Reckoner(tmp_path, 0.25)
    reckoner.learn(DEFAULT, None, 4, 1000.0, 20.0)
    assert not reckoner.by_pace
    reckoner.learn(DEFAULT, 6000, 64, 100.0, 20.0)
    assert reckoner.by_pace
    assert reckoner.seconds(DEFAULT, 6000) == pytest.approx(420.0)


def test_a_text_that_is_tested_by_parts_is_trained_on_by_a_row_for_each_and_one_for_all():
    trained, read = tokens_of_training(DEFAULT, 6000)
    assert trained == 5 * 256 * 256
    often = sum(little.checks(DEFAULT, step) for step in range(1, 257))
    assert read == (2 + 4 * often) * 1500 + 32 * 256
    # Less text, shorter sequences.
    assert tokens_of_training(DEFAULT, 2000)[0] < trained


def test_weights_are_counted_once_whether_the_embeddings_are_one_or_two(base_of, folder_of):
    for family in ("llama", "gpt2"):
        base = base_of(family)
        looked_up = base.model.get_input_embeddings().weight
        matrices = {id(each): each.numel() for each in base.model.parameters() if each.ndim > 1}
        if base.model.get_output_embeddings().weight is not looked_up:
            del matrices[id(looked_up)]
        assert reckoning._multiplied(folder_of(family)) == pytest.approx(sum(matrices.values()), rel=0.01)


def test_whoever_comes_later_is_told_how_long_those_before_them_take(queue, worker):  # noqa: F811
    worker(WAITING)
    alone = queue.reckon(QUICK, None)
    assert (alone.waits, alone.by_pace) == (0, False)
    queue.submit("alice", writing("alice"), QUICK)
    queue.submit("bob", writing("bob"), QUICK)
    assert queue.reckon(QUICK, None).waits == pytest.approx(2 * alone.seconds)


def test_what_a_training_tells_of_itself_is_in_its_job(queue, worker):  # noqa: F811
    worker("""
import json, sys
sys.stdin.readline()
for line in ({"by_parts": 6000}, {"step": 1}, {"waits": True}):
    print(json.dumps(line), flush=True)
sys.stdin.read()
""")
    job = queue.submit("alice", writing("alice"), QUICK)
    while not job.waits:
        assert not job.over.wait(0.01)
    assert job.as_dict()["seconds_left"] == queue.reckon(QUICK, 6000).seconds
    queue.cancel(job)
    assert not job.as_dict()["waits"]


def test_a_pace_that_cannot_be_reckoned_from_keeps_nobody_from_their_turn(queue, worker, monkeypatch):  # noqa: F811
    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Reckoner, "learn", fails)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    worker("""
import json, sys
sys.stdin.readline()
for line in ({"by_parts": 6000}, {"step": 1}):
    print(json.dumps(line), flush=True)
""")
    for user in ("alice", "bob"):
        assert queue.submit(user, writing(user), QUICK).over.wait(20)
