"""The command line as a person meets it: what it prints, how it exits, and a machine of its own for every test."""

import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from sharedllm.cache_folder import cache_dir
from sharedllm.cli.main import main
from sharedllm.store import open_store
from sharedllm.training.recipes import RECIPES, Recipe

QUICK = Recipe("default", learning_rate=2e-2, steps=6, window=64, check_every=3)


class Ran(NamedTuple):
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Machine:
    """A user's data folder and store, empty at first."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store.db"
        self.training = folder / "data" / "sharedllm" / "training"

    def users(self) -> list[str]:
        if not self.store.is_file():
            return []
        with open_store(self.store) as store:
            return [user.user for user in store.users()]

    def checkpoints(self) -> list[Path]:
        # A run that was killed leaves an empty lock, which the next one uses and deletes.
        return [path for path in self.training.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty data folder. Fetched packages are shared with the user's own cache; everything else is the test's."""
    packages = cache_dir() / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "packages").symlink_to(packages)
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    machine = Machine(tmp_path)
    monkeypatch.setenv("SHAREDLLM_STORE", str(machine.store))
    monkeypatch.setitem(RECIPES, "default", QUICK)
    monkeypatch.setattr("sharedllm.text.samples.general_text", lambda: writing("general"))
    return machine


@pytest.fixture
def run(machine, folder_of, monkeypatch, capsys):
    """Run one command to its exit, on the small base where it takes one and the test names none."""

    def run(*arguments: Any, stdin: bytes = b"", base: Path | str | None = None) -> Ran:
        command = [str(argument) for argument in arguments]
        if command[0] in ("train", "evaluate", "ask") and "--base" not in command:
            command += ["--base", str(base or folder_of("llama"))]
        monkeypatch.setattr(sys, "argv", ["sharedllm", *command])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return Ran(stopped.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def notes(tmp_path):
    """A file of text to learn from, for whoever is named."""

    def notes(name: str = "alice", length: int = 8_000) -> Path:
        path = tmp_path / f"{name}.txt"
        path.write_text(writing(name, length))
        return path

    return notes


def writing(name: str, length: int = 8_000) -> str:
    """Made-up text of one author: a few letters of their own, of which some are far more frequent than others."""
    random = np.random.default_rng(list(name.encode()))
    own = random.choice(list("abcdefghijklmnopqrstuvwxyz"), 6, replace=False)
    letters = random.choice([*own, " ", "\n"], length, p=[0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.09, 0.01])
    return "".join(letters)
