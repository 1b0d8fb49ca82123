"""Threads that wait soon sleep, so that a busy process beside them does not cost many times what it takes."""

import os
import subprocess
import sys

import pytest

from sharedllm.base.threads import WAITING, share_cores
from sharedllm.cli import main


@pytest.fixture
def unset(monkeypatch):
    for name in (*WAITING, "OMP_WAIT_POLICY"):
        # Noted first, so that what is set meanwhile is taken back.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_every_command_has_threads_wait_so_before_torch_is_there(unset, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sharedllm", "--version"])
    with pytest.raises(SystemExit):
        main.main()
    assert {name: os.environ[name] for name in WAITING} == WAITING
    loads = "import sharedllm.cli.main, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", loads], check=True)


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_the_environment_says_counts(unset, monkeypatch, name):
    monkeypatch.setenv(name, "active")
    share_cores()
    assert os.environ[name] == "active"
    assert len(WAITING.keys() & os.environ.keys()) == (name in WAITING)
