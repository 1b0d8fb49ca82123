"""Nothing is written for what is refused: no store, no key, no folder."""

import json

import pytest
from tests.cli.conftest import writing

from sharedllm.store import open_store
from sharedllm.store.evidence.signing import signing_key_file


def written(machine):
    """What lies in the data folder and beside the store, of which the test has put nothing there."""
    data = machine.training.parent.parent
    return [machine.store] * machine.store.exists() + [path for path in data.rglob("*") if data.exists()]


def test_for_the_erasure_of_somebody_whom_nobody_knows_nothing_is_written(run, machine):
    refused = run("users", "erase", "nobody", "--yes")
    assert (refused.code, "holds no user 'nobody'" in refused.err) == (2, True)
    assert written(machine) == []
    with open_store(machine.store):
        pass
    assert run("users", "erase", "nobody", "--yes").code == 2
    assert not signing_key_file().exists()


@pytest.mark.parametrize(
    "case", ["empty", "too little", "several authors", "no such base", "add", "manifest", "format"]
)
def test_a_training_that_is_refused_makes_no_store(run, machine, tmp_path, case):
    (tmp_path / "empty").mkdir()
    (tmp_path / "little.md").write_text("too little")
    (tmp_path / "enough.md").write_text(writing("alice", 4_000))
    chat = "".join(f"0{day}/03/2024, 09:00 - {who}: word {day}\n" for day in range(1, 8) for who in ("Alice", "Bob"))
    (tmp_path / "talk.txt").write_text(chat)
    (tmp_path / "people.jsonl").write_text(json.dumps({"user": "alice", "text": "too little", "mask": False}) + "\n")
    arguments = {
        "empty": ["alice", tmp_path / "empty"],
        "too little": ["alice", tmp_path / "little.md"],
        "several authors": ["alice", tmp_path / "talk.txt"],
        "no such base": ["alice", tmp_path / "enough.md", "--base", "no-such-base"],
        "add": ["alice", tmp_path / "enough.md", "--add"],
        "manifest": ["--manifest", tmp_path / "people.jsonl"],
        "format": ["alice", tmp_path / "enough.md", "--format", "nonsense"],
    }
    assert run("train", *arguments[case]).code == 2
    assert written(machine) == []


def test_where_there_is_no_store_text_is_read_once_all_the_same(run, machine, notes):
    ran = run("train", "alice", "-", stdin=notes("alice").read_bytes())
    assert ran.code in (0, 3), ran.err
    assert machine.users() == ["alice"]
