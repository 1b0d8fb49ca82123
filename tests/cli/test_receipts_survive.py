"""Whatever interrupts an erasure, wherever, the same command ends with the same receipt."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.store.samples import BETTER, adapter

from sharedllm.store import open_keys, open_store
from sharedllm.store.encryption.master_key import write_master_key
from sharedllm.store.encryption.migrate import encrypt_store
from sharedllm.store.evidence.receipts import read_receipt
from sharedllm.store.evidence.signing import signing_key
from sharedllm.training.checkpoints import Checkpoints, Progress
from sharedllm.training.recipes import Recipe

USER = "alice of the long name"
ENDING = """
import importlib, os, signal, sys
module, name, when, number = sys.argv[1:5]
del sys.argv[1:5]
owner = importlib.import_module(module)
*path, name = name.split(".")
for each in path:
    owner = getattr(owner, each)
whole = getattr(owner, name)

def ending(*given, **named):
    if when == "before":
        os.kill(os.getpid(), int(number))
    found = whole(*given, **named)
    if when == "after":
        os.kill(os.getpid(), int(number))
    return found

setattr(owner, name, ending)
from sharedllm.cli.main import main
main()
"""
"""`sharedllm`, which sends itself a signal before or after a function."""

STEPS = {
    "the account": ("sharedllm.store.sql.sql_store", "SQLStore.note_erasure"),
    "the checkpoints": ("sharedllm.training.checkpoints", "UnfinishedTraining.forget"),
    "the rows": ("sharedllm.store.sql.sql_store", "SQLStore._remove"),
    "the file": ("sharedllm.store.sql.sqlite", "SQLite.scrub"),
    "the store": ("sharedllm.store.sql.sql_store", "SQLStore.erase"),
    "the receipt": ("sharedllm.store.sql.sql_store", "SQLStore.keep_receipt"),
    "giving it": ("sharedllm.cli.receipt_file", "give_receipt"),
}
MOMENTS = [(step, when) for step in STEPS for when in ("before", "after") if (step, when) != ("giving it", "after")]


@pytest.fixture
def held(machine, tmp_path):
    """Of somebody: two releases, an API key, and a checkpoint; beside bob, who stays."""
    with open_store(machine.store) as store, open_keys(machine.store) as keys:
        store.publish_many([("bob", adapter(), BETTER), *((USER, adapter(), BETTER) for _ in range(2))])
        store.begin([USER])
        keys.create(user=USER)
    row = torch.zeros(4)
    progress = Progress(1, row, row, row, row, 1.0, 0, [])
    Checkpoints(machine.training, "base-1").save(USER, "0" * 64, Recipe("r"), progress)
    return machine


@pytest.fixture
def sealed(held, tmp_path, monkeypatch):
    """The same, encrypted."""
    folder = tmp_path / "private"
    monkeypatch.setenv("SHAREDLLM_MASTER_KEY_FILE", str(folder / "master.key"))
    write_master_key(folder / "master.key")
    encrypt_store(held.store, lambda _: None)
    return held


ERASE = ["users", "erase", USER, "--yes"]


def process(*command, **options):
    return subprocess.run([sys.executable, *command], capture_output="stdout" not in options, check=False, **options)


def end_with_a_receipt(run, machine, encrypted=False):
    """The same command again, twice: one receipt, which says all that was removed; and nothing else of them is left."""
    first = run(*ERASE)
    assert first.code == 0, first.err
    receipt = read_receipt(first.out.encode(), signing_key().public_key())
    assert receipt.is_about(USER)
    assert {each.what: each.count for each in receipt.removed} == {
        "releases": 2,
        "events": 2,
        "API keys": 1,
        "encryption key": int(encrypted),
        "checkpoints of training": 1,
    }
    assert (receipt.audit is not None) == encrypted
    assert run(*ERASE).out == first.out
    assert machine.users() == ["bob"]
    assert machine.checkpoints() == []
    files = b"".join(path.read_bytes() for path in machine.store.parent.rglob("*") if path.is_file())
    assert not [trace for trace in (USER.encode(), hashlib.sha256(USER.encode()).digest()) if trace in files]
    return receipt


@pytest.mark.slow
@pytest.mark.parametrize(("step", "when"), MOMENTS)
def test_an_erasure_that_is_killed_anywhere_ends_with_its_receipt(step, when, held, run):
    killed = process("-c", ENDING, *STEPS[step], when, str(int(signal.SIGKILL)), *ERASE)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"")
    end_with_a_receipt(run, held)


@pytest.mark.rare
@pytest.mark.parametrize(("step", "when"), MOMENTS)
def test_so_does_one_from_an_encrypted_store(step, when, sealed, run):
    killed = process("-c", ENDING, *STEPS[step], when, str(int(signal.SIGKILL)), *ERASE)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"")
    end_with_a_receipt(run, sealed, encrypted=True)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["the rows", "the receipt"])
def test_so_does_one_that_is_interrupted_from_the_keyboard(step, held, run):
    ended = process("-c", ENDING, *STEPS[step], "before", str(int(signal.SIGINT)), *ERASE)
    assert (ended.returncode, ended.stdout) == (130, b"")
    end_with_a_receipt(run, held)


def full():
    return {"stdout": Path("/dev/full").open("wb"), "stderr": subprocess.PIPE}


def broken():
    read, write = os.pipe()
    os.close(read)
    return {"stdout": write, "stderr": subprocess.PIPE}


@pytest.mark.slow
@pytest.mark.parametrize("output", [full, broken])
def test_a_receipt_that_could_not_be_printed_is_an_error_and_is_given_again(output, held, run):
    failed = process("-m", "sharedllm", *ERASE, **output())
    assert failed.returncode == 2
    assert b"the same command again" in failed.stderr
    assert b"Traceback" not in failed.stderr
    assert b"Exception ignored" not in failed.stderr
    end_with_a_receipt(run, held)


@pytest.mark.slow
def test_nobody_is_erased_where_standard_output_is_closed(held, run):
    refused = subprocess.run(
        ["/bin/sh", "-c", '"$0" "$@" >&-', sys.executable, "-m", "sharedllm", *ERASE], capture_output=True, check=False
    )
    assert refused.returncode == 2
    assert b"nobody was erased" in refused.stderr
    assert held.users() == ["bob", USER]
    end_with_a_receipt(run, held)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 512, 40_000, 200_000])
def test_no_room_for_what_is_written_loses_no_receipt(limit, held, run, tmp_path):
    file = tmp_path / "receipt.json"

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    failed = process("-m", "sharedllm", *ERASE, "--receipt", file, preexec_fn=small)
    assert failed.returncode in (0, 2)
    assert b"Traceback" not in failed.stderr
    if file.exists():
        assert read_receipt(file.read_bytes(), signing_key().public_key()).is_about(USER)
    receipt = end_with_a_receipt(run, held)
    assert run(*ERASE, "--receipt", file).code == 0
    assert json.loads(file.read_bytes())["id"] == receipt.id


def test_the_same_command_with_the_same_file_ends_well_and_another_file_in_its_place_is_left_alone(held, run, tmp_path):
    file = tmp_path / "receipt.json"
    for _ in range(2):
        assert run(*ERASE, "--receipt", file).code == 0
    first = file.read_bytes()
    file.write_text("something else")
    refused = run("users", "erase", "bob", "--yes", "--receipt", file)
    assert (refused.code, file.read_text(), held.users()) == (2, "something else", ["bob"])
    file.unlink()
    assert run(*ERASE, "--receipt", file).code == 0
    assert file.read_bytes() == first
    assert [path.name for path in tmp_path.glob("tmp*")] == []


@pytest.mark.slow
def test_whoever_comes_back_and_is_erased_again_gets_another_receipt(held, run):
    first = end_with_a_receipt(run, held)
    with open_store(held.store) as store:
        store.publish(USER, adapter(), BETTER)
    second = run(*ERASE).json
    assert second["id"] != first.id
    assert {each["what"]: each["count"] for each in second["removed"]}["releases"] == 1
    assert run(*ERASE).json == second


def test_receipts_are_found_again_in_a_store_that_was_encrypted_since(held, run, tmp_path, monkeypatch):
    first = run(*ERASE).out
    monkeypatch.setenv("SHAREDLLM_MASTER_KEY_FILE", str(tmp_path / "private" / "master.key"))
    write_master_key(tmp_path / "private" / "master.key")
    encrypt_store(held.store, lambda _: None)
    assert run(*ERASE).out == first
    assert json.loads(first)["person"].encode() not in held.store.read_bytes()
