"""The comparison with peers: loads are answered in their time, and ratios are of one round."""

import json
import subprocess

import pytest
from benchmarks.loads import Clock, play

from benchmarks import peer_environments, serving_peers


def scripted(answers):
    """Answers everybody who is there with a token a pass."""
    left = {}

    def submit(place, prompt, new, own):
        left[place] = new

    def step():
        for place in list(left):
            answers.token(place)
            left[place] -= 1
            if not left[place]:
                del left[place]
                answers.end()

    return submit, step


@pytest.mark.parametrize("computing", [True, False])
def test_requests_come_no_earlier_than_at_their_time_and_nobody_waits_for_an_idle_one(computing):
    load = {"prompts": [[1], [1], [1]], "at": [0.0, 0.001, 100.0], "new": 2, "own": False, "computing": computing}
    answered = play(load, scripted)
    assert [len(each) for each in answered["tokens"]] == [2, 2, 2]
    assert all(each[0] >= came for each, came in zip(answered["tokens"], load["at"], strict=True))
    assert answered["wall"] < 50


def test_a_clock_that_skips_does_not_go_back():
    clock = Clock(computing=True)
    clock.skip_to(5)
    clock.skip_to(1)
    assert 5 <= clock.now() < 6


def test_a_ratio_is_of_what_both_did_in_the_same_round():
    def turn(round, contender, rate):
        between = {str(point): 0.01 for point in serving_peers.POINTS}
        return {
            "round": round,
            "contender": contender,
            "load": "batch",
            "rate": rate,
            "first": [0.1],
            "between": between,
        }

    turns = [turn(0, "ours", 10.0), turn(0, "vllm", 5.0), turn(1, "ours", 30.0), turn(1, "vllm", 10.0)]
    told = serving_peers.summarise([*turns, turn(2, "ours", 1.0)])["batch"]
    assert told["ours"]["times"] == {"vllm": 2.5}
    assert told["vllm"]["between_tokens_ms"]["p99"] == pytest.approx(10)


def test_a_run_goes_on_only_from_turns_of_the_same_machine_threads_and_peers(tmp_path, monkeypatch):
    monkeypatch.setattr(serving_peers, "RESULT", tmp_path / "result.json")
    begun = serving_peers._begun(1) | {"turns": ["a turn"]}
    serving_peers.RESULT.write_text(json.dumps(begun))
    assert serving_peers._begun(1)["turns"] == ["a turn"]
    assert serving_peers._begun(2)["turns"] == []


def test_a_peer_that_cannot_be_installed_is_left_out_with_a_word(tmp_path, monkeypatch, capsys):
    def fail(command, check):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setenv("SHAREDLLM_PEERS", str(tmp_path))
    monkeypatch.setattr(peer_environments.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(peer_environments.subprocess, "run", fail)
    assert peer_environments.python_with("nobody", ["nobody==1"]) is None
    assert "left out: nobody" in capsys.readouterr().err
