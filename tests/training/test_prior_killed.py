"""A prior whose training is killed, whatever it is doing, is trained by the same call to the same bits."""

import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.training.test_prior import RECIPE, contributors, same

from sharedllm.training.coordinates import KeptCoordinates
from sharedllm.training.prior import train_prior

# Everybody comes more than once before and after.
LONG = replace(RECIPE, steps=20)

TRAINING = """
import os, signal, sys
from pathlib import Path
import torch
from tests.training.test_prior_killed import LONG, contributors
from sharedllm.base.loading import load_base
from sharedllm.training import coordinates, prior

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def in_ninth(owner, name, does, counts=lambda *_: True):
    calls, kept = 0, getattr(owner, name)
    def call(self, *rest):
        nonlocal calls
        calls += counts(self)
        return (does if calls == 9 else kept)(self, *rest)
    setattr(owner, name, call)

def half(own):
    own._fresh = dict(list(own._fresh.items())[:1])
    settle(own)
    die()

def train(when, run):
    prior._CHECKPOINT_SECONDS = 3600 if when == "before the first checkpoint" else 0
    if when == "before a checkpoint has its name":
        in_ninth(Path, "replace", die, lambda path: path.name == "frames-in-training.safetensors")
    elif when == "before coordinates are in their file":
        in_ninth(coordinates.KeptCoordinates, "settle", die)
    elif when == "when half of them are":
        in_ninth(coordinates.KeptCoordinates, "settle", half)
    tell = (lambda step, _: step == 9 and die()) if "checkpoints" in when or "first" in when else None
    prior.train_prior(base, contributors(), LONG, folder=run, on_step=tell)

settle = coordinates.KeptCoordinates.settle
base = load_base(sys.argv[1], dtype=torch.float32, device="cpu")
train(sys.argv[3], Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "first"),
    [
        ("before a checkpoint has its name", 9),
        pytest.param("before coordinates are in their file", 10, marks=pytest.mark.rare),
        ("when half of them are", 10),
        pytest.param("between two checkpoints", 9, marks=pytest.mark.rare),
        pytest.param("before the first checkpoint", 1, marks=pytest.mark.rare),
    ],
)
def test_a_killed_training_goes_on_to_the_same_bits(base_of, folder_of, tmp_path, when, first):
    command = [sys.executable, "-c", TRAINING, folder_of("llama"), tmp_path / "run", when]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    taken = []
    resumed = train_prior(
        base_of(), contributors(), LONG, folder=tmp_path / "run", on_step=lambda step, _: taken.append(step)
    )
    assert taken[0] == first
    assert same(resumed, train_prior(base_of(), contributors(), LONG))


@pytest.mark.slow
def test_coordinates_of_a_training_that_left_no_checkpoint_count_for_nothing(base_of, tmp_path):
    train_prior(base_of(), contributors(), LONG, folder=tmp_path)
    (tmp_path / "frames-in-training.safetensors").unlink()
    assert same(
        train_prior(base_of(), contributors(), LONG, folder=tmp_path), train_prior(base_of(), contributors(), LONG)
    )


def test_coordinates_are_those_written_last_whether_they_are_in_the_file_or_not(tmp_path):
    rows = np.random.default_rng(0).standard_normal((3, 3, 4))
    with KeptCoordinates(5, 4, rows.dtype, tmp_path) as own:
        own.write([4, 1], rows[:2])
        own.settle()
        own.write([1], rows[2:])
        assert np.array_equal(own.read([1, 4, 0]), [rows[2], rows[0], np.zeros((3, 4))])
        assert own.since()[0] == [1]
    with KeptCoordinates(5, 4, rows.dtype, tmp_path) as own:
        assert np.array_equal(own.read([1, 4]), [rows[1], rows[0]])
        own.clear()
        assert not own.read(range(5)).any()
    assert [path.stat().st_mode & 0o077 for path in tmp_path.iterdir()] == [0]
