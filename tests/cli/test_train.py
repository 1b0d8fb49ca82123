"""`sharedllm train`: from text to a release that answers, or that says why it does not."""

import base64
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests import models
from tests.cli.conftest import writing
from transformers import AutoTokenizer

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.errors import InTraining
from sharedllm.evaluation.gate import Gate
from sharedllm.operations import train
from sharedllm.operations.locks import not_in_training
from sharedllm.store import open_store
from sharedllm.training import vectors
from sharedllm.training.recipes import RECIPES
from sharedllm.user_ids import MAX_USER_ID_CHARACTERS


@pytest.fixture
def manifest(tmp_path):
    """A manifest with the given lines; what is no string is written as JSON."""

    def manifest(*lines):
        path = tmp_path / "users.jsonl"
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    return manifest


def values_of(machine, user, number=1):
    with open_store(machine.store) as store:
        return store.release(user, number).adapter.values


def test_a_file_becomes_a_release_that_answers(run, machine, notes):
    ran = run("train", "alice", notes("alice"))
    assert ran.code == 0
    assert ran.out.startswith("alice: release 1 passed: ")
    with open_store(machine.store) as store:
        release = store.served("alice")
    assert release.adapter.values.any()
    assert release.adapter.provenance["sources"] == [str(notes("alice"))]
    assert not machine.checkpoints()


@pytest.mark.slow
def test_who_is_trained_is_erased_by_nobody_meanwhile(run, machine, manifest, notes, monkeypatch):
    publish, seen = train.store_judged, []

    def refused(user):
        try:
            with not_in_training(machine.training, user):
                return False
        except InTraining:
            return True

    def watched(*arguments):
        seen.append({user for user in ("alice", "bob", "carol") if refused(user)})
        return publish(*arguments)

    monkeypatch.setattr("sharedllm.operations.locks._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(train, "store_judged", watched)
    run("train", "alice", notes("alice"))
    run("train", "--manifest", manifest(*({"user": user, "files": [str(notes(user))]} for user in ("bob", "carol"))))
    assert seen == [{"alice"}, *2 * [{"alice", "bob", "carol"}]]
    assert not refused("alice")


def test_files_folders_and_standard_input_are_one_text(run, tmp_path, notes):
    folder = tmp_path / "diary"
    folder.mkdir()
    (folder / "a.md").write_text(writing("folder", 1_700))
    (folder / "photo.png").write_bytes(b"\x89PNG\0\xff")
    ran = run("train", "alice", notes("alice"), folder, "-", stdin=writing("pipe", 1_300).encode())
    assert ran.code == 0
    assert "photo.png: binary, not text" in ran.err
    whole = notes("alice").read_text() + "\n" + writing("folder", 1_700) + "\n" + writing("pipe", 1_300)
    again = tmp_path / "whole.txt"
    again.write_text(whole)
    assert "nothing new in the text" in run("train", "alice", again).err


@pytest.mark.slow
def test_what_was_read_is_told_file_by_file_and_what_is_no_persons_words_is_doubted(run, tmp_path):
    folder = tmp_path / "diary"
    folder.mkdir()
    (folder / "a.md").write_text(writing("alice", 7_500))
    (folder / "blob.txt").write_text(base64.encodebytes(bytes(range(256)) * 7).decode()[:2_400])
    (folder / "latin.txt").write_bytes("Größe".encode("latin-1"))
    (folder / "minified.js").write_text("function(a,b){return[a];}" * 96)
    (folder / "notes.html").write_text("<nav><a>Home</a></nav><p>" + "It is my own page. " * 10)
    (folder / "this is a paper.pdf").write_bytes(b"%PDF-1.7\n%\xe2\xe3")
    said = run("train", "alice", folder).err
    assert "alice: 10,089 characters of 3 files" in said
    assert f"74.3%  {folder / 'a.md'}" in said
    assert f"23.8%  {folder / 'minified.js'}" in said
    assert f"{folder / 'minified.js'} (23.8% of the text) does not look like a person's words: " in said
    assert f"{folder / 'a.md'} (" not in said
    assert f"skipped {folder / 'latin.txt'}: not UTF-8 text" in said
    assert "iconv -f latin1 -t utf-8" in said
    assert f"skipped {folder / 'this is a paper.pdf'}: damaged, or not what it seems" in said
    assert "it is a PDF document" in said and "pdftotext" in said
    assert f"skipped {folder / 'blob.txt'}: holds no words of a person, but 2,400 characters of base64" in said
    assert "alice: left out 4 characters of navigation" in said


def test_of_many_files_the_largest_are_told_and_how_much_the_rest_is(run, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02d}.js").write_text(f"function(a,b{number}){{return[a];}}" * (60 - number))
    said = run("train", "alice", folder).err.splitlines()
    assert (
        sum(
            " does not look like a person's words: 3" in line and "% of it is digits and signs" in line for line in said
        )
        == 20
    )
    assert any(line.strip().endswith("10 smaller files") for line in said)
    assert any("nor do 10 smaller files" in line for line in said)


@pytest.mark.slow
def test_of_many_files_that_are_not_read_the_first_are_named_and_the_rest_counted(run, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "a.md").write_text(writing("alice", 7_500))
    for number in range(30):
        (folder / f"{number:02d}.json").write_text(json.dumps({"note": writing(str(number), 400)}))
    said = run("train", "alice", folder).err.splitlines()
    assert sum(line.startswith(f"skipped {folder}") for line in said) == 20
    assert "skipped 10 more files" in said


def test_a_sample_user(run, machine, notes, monkeypatch):
    monkeypatch.setattr("sharedllm.text.samples.sample_text", lambda name: notes(name).read_text())
    assert run("train", "bob", "sample:novelist").out.startswith("bob: release 1 ")
    with open_store(machine.store) as store:
        assert store.release("bob", 1).adapter.provenance["sources"] == ["sample:novelist"]


@pytest.mark.slow
def test_a_manifest_trains_everybody_in_its_order(run, machine, notes, manifest):
    lines = [{"user": "bob", "files": [notes("bob").name]}, {"user": "alice", "text": notes("alice").read_text()}]
    ran = run("train", "--manifest", manifest(*lines))
    assert ran.code == 0
    assert [line.partition(":")[0] for line in ran.out.splitlines()] == ["bob", "alice"]
    assert sorted(machine.users()) == ["alice", "bob"]
    together = values_of(machine, "alice")
    run("train", "alone", notes("alice"))
    # Another batch size may round the matrix products otherwise, and a stored value has eleven bits.
    np.testing.assert_allclose(values_of(machine, "alone"), together, rtol=0.02, atol=1e-3)


def test_json(run, notes):
    (alice,) = run("train", "alice", notes("alice"), "--json").json
    assert list(alice) == ["user", "release", "gate"]
    assert (alice["user"], alice["release"], alice["gate"]["passed"]) == ("alice", 1, True)
    assert alice["gate"]["figures"]["own"]["improvement"]["low"] > 0


@pytest.mark.slow
def test_of_a_text_that_is_known_it_is_told_what_answers_instead_and_how_to_go_back(run, notes):
    for user in ("alice", "carol"):
        assert run("train", "alice", notes(user)).code == 0
    ran = run("train", "alice", notes("alice"))
    assert (ran.code, ran.out.strip()) == (
        0,
        "alice: nothing new: release 1 is made from it; release 2 answers."
        " To go back: sharedllm users rollback alice --to 1",
    )


def test_the_same_text_is_not_trained_twice(run, machine, notes, monkeypatch):
    first = run("train", "alice", notes("alice"), "--json").json
    monkeypatch.setattr("sharedllm.base.loading.load_base", None)
    ran = run("train", "alice", notes("alice"), "--json")
    assert ran.code == 0
    assert "alice: nothing new in the text; release 1 is made from it" in ran.err
    assert ran.json == first
    with open_store(machine.store) as store:
        assert len(store.releases("alice")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("change", [["--seed", "1"], ["--recipe", "other"]])
def test_another_seed_or_recipe_makes_another_release(change, run, notes, monkeypatch):
    monkeypatch.setitem(RECIPES, "other", replace(RECIPES["default"], name="other", steps=3))
    run("train", "alice", notes("alice"))
    assert run("train", "alice", notes("alice"), *change).out.startswith("alice: release 2 ")


def test_an_adapter_that_does_not_help_is_stored_not_served_and_says_why(run, machine, notes, monkeypatch):
    monkeypatch.setitem(RECIPES, "default", replace(RECIPES["default"], learning_rate=0.0))
    ran = run("train", "alice", notes("alice"))
    assert ran.code == 3
    assert ran.out.startswith("alice: release 1 held back: ")
    assert ran.out.endswith("sharedllm users rollback alice --to 1 --override REASON\n")
    again = run("train", "alice", notes("alice"))
    assert (again.code, again.out) == (3, ran.out)
    with open_store(machine.store) as store:
        assert (store.user("alice").served, store.user("alice").releases) == (None, 1)


def test_lines_that_occur_on_both_sides_of_the_split_are_reported(run, tmp_path):
    path = tmp_path / "chorus.txt"
    path.write_text("The same forty characters and then some more.\n" * 200)
    assert "also occur in the training text" in run("train", "alice", path).err


def test_that_a_release_will_be_held_back_for_repeats_is_told_before_it_is_trained(run, tmp_path):
    path = tmp_path / "chorus.txt"
    path.write_text("The same forty characters and then some more.\n" * 200)
    before, _, _ = run("train", "alice", path).err.partition("loading ")
    assert "so the release will be held back: leave out what is there more than once" in before


@pytest.mark.parametrize("line", ["I must not talk in class.\n", "I must not talk in class. ", "Yes.\n"])
def test_what_training_text_gives_away_is_not_served_for_being_remembered(line, run, machine, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text(line * (40_000 // len(line)))
    ran = run("train", "alice", path)
    assert "alice: 100% of the validation text and 100% of the held-out text also occur in the training text" in ran.err
    assert ran.out.startswith(
        "alice: release 1 held back: 100% of the validation text also occurs in the training text"
    )
    with open_store(machine.store) as store:
        assert store.user("alice").served is None
        assert store.release("alice", 1).gate.figures["given_away"] == {"validation": 1.0, "heldout": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "user",
    ["a/b/../c", "..", ".hidden", "👩‍👩‍👧", "שלום עולם", "مرحبا", "王小明", "-", "x" * MAX_USER_ID_CHARACTERS],
    ids=lambda user: ascii(user)[:20],
)
def test_any_unicode_string_can_name_a_user(user, run, machine, notes, tmp_path):
    ran = run("train", user, notes("alice"), "--json")
    assert (ran.code, ran.json[0]["user"]) == (0, user)
    assert machine.users() == [user]
    assert {path.name for path in tmp_path.iterdir()} <= {"store.db", "store.db-mark", "data", "cache", "alice.txt"}


BAD_INPUT = {
    "too few characters": (["alice", "short.txt"], ["'alice' has 10 characters", "some 50,000 characters"]),
    "one too few": (["alice", "few.txt"], ["'alice' has 1,999 characters", "it takes at least 2,000", "Add text"]),
    "empty file": (["alice", "empty.txt"], ["empty.txt", "is empty", "leave it out"]),
    "empty folder": (["alice", "nothing"], ["nothing", "Name UTF-8 text files"]),
    "binary file": (["alice", "binary.bin"], ["binary.bin", "NUL byte", "plain text"]),
    "undecodable file": (["alice", "latin.txt"], ["latin.txt", "0xf6", "iconv"]),
    "missing path": (["alice", "alice.txt", "gone.txt"], ["gone.txt", "No such file", "Check the path"]),
    "empty standard input": (["alice", "-"], ["standard input", "empty"]),
    "unknown sample": (["alice", "sample:poet"], ["'poet'", "novelist"]),
    "sample and file": (["alice", "sample:novelist", "alice.txt"], ["sample:novelist", "alone"]),
    "unknown base": (["alice", "alice.txt", "--base", "nobase"], ["'nobase'", "smollm2-135m"]),
    "folder that is no base": (["alice", "alice.txt", "--base", "nothing"], ["nothing", "config.json"]),
    "unknown recipe": (["alice", "alice.txt", "--recipe", "secret"], ["'secret'", "default"]),
    "no sources": (["alice"], ["No text is given", "sharedllm train alice"]),
    "no arguments": ([], ["No text is given", "--manifest"]),
    "user and manifest": (["alice", "--manifest", "users.jsonl"], ["'alice'", "manifest", "one or the other"]),
    "missing manifest": (["--manifest", "gone.jsonl"], ["gone.jsonl", "Check the path"]),
    "empty id": (["", "alice.txt"], ["user id is empty", "at least one character"]),
    "long id": (["x" * 10_000, "alice.txt"], ["10,000 characters", "1,024"]),
    "id with NUL": (["a\0b", "alice.txt"], ["'a\\x00b'", "Remove NUL"]),
    "id that is not Unicode": (["a\udcff", "alice.txt"], ["'a\\udcff'", "surrogates"]),
}


@pytest.mark.parametrize(("arguments", "expected"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_named_with_its_remedy_and_leaves_nothing(
    arguments, expected, run, machine, notes, tmp_path, monkeypatch
):
    (tmp_path / "short.txt").write_text("Too short.")
    (tmp_path / "few.txt").write_text("w" * 1_999)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.bin").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "latin.txt").write_bytes("Größe".encode("latin-1"))
    (tmp_path / "nothing").mkdir()
    notes("alice")
    monkeypatch.chdir(tmp_path)
    ran = run("train", *arguments)
    assert (ran.code, ran.out) == (2, "")
    *_, error = ran.err.splitlines()
    assert error.startswith("error: ")
    for words in expected:
        assert words in error
    assert not machine.users()
    assert not machine.checkpoints()


GOOD_LINE = {"user": "alice", "files": ["alice.txt"]}
BAD_LINES = {
    "no JSON": ("alice notes", ["Line 2", "not JSON", '{"user"']),
    "no object": ("[]", ["Line 2", "list"]),
    "unknown key": ({"user": "bob", "file": "bob.txt"}, ["Line 2", "'file'"]),
    "missing file": ({"user": "bob", "files": ["gone.txt"]}, ["Line 2", "gone.txt", "Check the path"]),
    "no id": ({"user": "", "text": "hello"}, ["Line 2", "empty"]),
    "same user again": (GOOD_LINE, ["Lines 1 and 2", "'alice'", "one line"]),
}


@pytest.mark.parametrize(("line", "expected"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_in_a_manifest_is_named_by_its_number_and_nobody_is_trained(
    line, expected, run, machine, notes, manifest
):
    notes("alice")
    ran = run("train", "--manifest", manifest(GOOD_LINE, line))
    assert ran.code == 2
    for words in expected:
        assert words in ran.err
    assert not machine.users()
    assert not machine.checkpoints()


@pytest.mark.slow
def test_of_a_manifest_everybody_is_trained_who_can_be_and_all_others_are_listed(run, machine, notes, manifest):
    lines = [{"user": "bob", "text": "hello"}, GOOD_LINE, {"user": "carol", "text": "w" * 1_999}]
    notes("alice")
    ran = run("train", "--manifest", manifest(*lines))
    assert ran.code == 2
    bob, alice, carol = ran.out.splitlines()
    assert bob.startswith("bob: failed: The text of 'bob' has 5 characters")
    assert alice.startswith("alice: release 1 passed: ")
    assert carol.startswith("carol: failed: The text of 'carol' has 1,999 characters")
    assert "Add text" in carol
    assert machine.users() == ["alice"]
    assert not machine.checkpoints()
    found = run("train", "--manifest", manifest(*lines), "--json")
    assert (found.code, [each["release"] for each in found.json]) == (2, [None, 1, None])


@pytest.mark.parametrize("text", ["hello", "word " * 399])
def test_too_little_text_is_told_before_the_base_is_loaded(text, run, manifest, monkeypatch):
    monkeypatch.setattr("sharedllm.base.loading.load_base", None)
    ran = run("train", "--manifest", manifest({"user": "alice", "text": text}, {"user": "bob", "text": text}))
    assert (ran.code, ran.err) == (2, "")
    assert [line.partition(":")[0] for line in ran.out.splitlines()] == ["alice", "bob"]
    (manifest().parent / "alone.txt").write_text(text)
    alone = run("train", "alice", manifest().parent / "alone.txt")
    assert (alone.code, alone.out) == (2, "")
    assert alone.err.startswith("error: The text of 'alice' has ")


def test_a_token_that_the_base_lacks_fails_its_user_alone(run, machine, notes, manifest, tmp_path):
    base = models.llama(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(base)
    notes("alice")
    guilty = {"user": "bob", "text": "zebra " + notes("bob").read_text()}
    ran = run("train", "--manifest", manifest(GOOD_LINE, guilty), base=base)
    assert ran.code == 2
    assert "bob: failed: The text of 'bob' cannot be read: The base has no embedding for token" in ran.out
    assert machine.users() == ["alice"]


@pytest.mark.slow
def test_somebody_of_whom_the_store_holds_what_is_damaged_keeps_nobody_else(run, machine, notes, manifest):
    with open_store(machine.store) as store:
        store.publish("bob", Adapter("norm", "another base", np.zeros(2, np.float32)), GateOutcome(True, "made up"))
    with closing(sqlite3.connect(machine.store)) as connection:
        connection.execute("UPDATE users SET releases = 7")
        connection.commit()
    guilty = {"user": "bob", "files": [notes("bob").name]}
    notes("alice")
    ran = run("train", "--manifest", manifest(guilty, GOOD_LINE), "--json")
    assert ran.code == 2
    bob, alice = ran.json
    assert "What the store holds of 'bob', such as which release is served, is damaged" in bob["error"]
    assert alice["release"] == 1


def test_steps_rate_and_format_can_be_chosen(run, machine, notes):
    options = ["--steps", "2", "--learning-rate", "0.03", "--format", "ia3"]
    run("train", "alice", notes("alice"), *options)
    with open_store(machine.store) as store:
        adapter = store.release("alice", 1).adapter
    recipe = adapter.provenance["recipe"]
    assert (adapter.format, recipe["method"], recipe["steps"], recipe["learning_rate"]) == ("ia3", "ia3", 2, 0.03)
    assert recipe["name"] == "default with method ia3, steps 2, learning_rate 0.03"
    assert "nothing new" in run("train", "alice", notes("alice"), *options).err


@pytest.mark.parametrize("format", ["steering", "ia3"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_format_goes_with_every_recipe(format, recipe, run, notes):
    assert (
        "release 1"
        in run("train", "alice", notes("alice", 20_000), "--recipe", recipe, "--format", format, "--steps", "1").out
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--steps", "0"], ["steps", "0", "at least 1"]),
        (["--steps", "-3"], ["steps", "-3", "at least 1"]),
        (["--steps", "many"], ["--steps", "many"]),
        (["--learning-rate", "nan"], ["learning_rate", "nan", "finite"]),
        (["--learning-rate", "inf"], ["learning_rate", "inf", "finite"]),
        (["--learning-rate", "-1"], ["learning_rate", "-1", "at least 0"]),
        (["--format", "lora-r4"], ["'lora-r4'", "norm, steering, ia3"]),
        (["--format", "full"], ["'full'", "norm, steering, ia3"]),
    ],
)
def test_a_bad_choice_is_refused_before_anything_is_read(options, expected, run, machine, tmp_path):
    ran = run("train", "alice", tmp_path / "never-looked-at.txt", *options)
    assert (ran.code, ran.out) == (2, "")
    for words in expected:
        assert words in ran.err
    assert not machine.store.exists()


@pytest.mark.parametrize("more", [[], ["b.md"]])
def test_a_file_or_a_folder_where_the_users_name_goes_is_told(more, run, notes, tmp_path):
    ran = run("train", notes("a"), *more)
    assert ran.code == 2
    assert "it stands where the user's name goes. Name the user first" in ran.err
    (tmp_path / "exports").mkdir()
    assert "exports' is a folder here, and it stands where" in run("train", tmp_path / "exports").err


def test_a_number_of_steps_that_is_none_is_told_by_its_option(run):
    assert (
        "--steps 0 is no training. Use a whole number of at least 1" in run("train", "alice", "a.md", "--steps", 0).err
    )


def test_a_corrupt_store_is_left_as_it_is(run, machine, notes):
    machine.store.write_bytes(b"this is no database" * 100)
    ran = run("train", "alice", notes("alice"))
    assert ran.code == 2
    assert str(machine.store) in ran.err
    assert machine.store.read_bytes() == b"this is no database" * 100
    assert not machine.checkpoints()


def test_a_store_where_nothing_can_be_written_costs_no_training(run, machine, notes, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    ran = run("train", "alice", notes("alice"), "--store", tmp_path / "file" / "store.db")
    assert ran.code == 2
    assert "store.db" in ran.err
    assert not machine.checkpoints()


@pytest.fixture
def poisoned(monkeypatch):
    """Make a user's validation loss no number."""
    validate = vectors._Batch._validate

    def poisoned(user):
        def validated(self, text, values):
            return float("nan") if text.user == user else validate(self, text, values)

        monkeypatch.setattr(vectors._Batch, "_validate", validated)

    return poisoned


@pytest.mark.slow
def test_a_user_whose_loss_is_no_number_stops_and_the_others_finish(run, machine, notes, manifest, poisoned):
    poisoned("bob")
    lines = [{"user": name, "files": [notes(name).name]} for name in ("alice", "bob", "carol")]
    ran = run("train", "--manifest", manifest(*lines), "--json")
    assert ran.code == 2
    alice, bob, carol = ran.json
    assert (alice["release"], carol["release"]) == (1, 1)
    assert bob["release"] is None
    assert "'bob' stopped being finite at step 2" in bob["error"]
    assert sorted(machine.users()) == ["alice", "carol"]
    assert not machine.checkpoints()


def test_the_error_of_one_user_is_shown_to_a_person_too(run, notes, poisoned):
    poisoned("alice")
    ran = run("train", "alice", notes("alice"))
    assert ran.code == 2
    assert "alice: failed: " in ran.out
    assert "lower learning rate" in ran.out


WAITING = """
import sys, time
from pathlib import Path
import sharedllm.text.samples
from sharedllm.cli.main import main
from sharedllm.training import recipes, vectors
from tests.cli.conftest import QUICK, writing

flag = Path(sys.argv.pop(1))
recipes.RECIPES["default"] = QUICK
sharedllm.text.samples.general_text = lambda: writing("general")
vectors._CHECKPOINT_SECONDS = 0
step_windows = vectors.step_windows

def waiting(text, recipe, step):
    if step == 4:
        flag.touch()
        time.sleep(300)
    return step_windows(text, recipe, step)

vectors.step_windows = waiting
main()
"""
"""`sharedllm`, but the training writes a checkpoint after every step and waits in the fifth for what may come."""


@pytest.mark.slow
@pytest.mark.parametrize(("stopped_by", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_stopped_training_leaves_nothing_half_written_and_resumes_to_the_same_bits(
    stopped_by, status, run, machine, notes, folder_of, tmp_path
):
    command = ["train", "alice", notes("alice"), "--base", folder_of("llama")]
    flag = tmp_path / "in-step-5"
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, flag, *command],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not flag.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(stopped_by)
    out, err = process.communicate()
    assert (process.returncode, out) == (status, "")
    assert "Traceback" not in err
    assert machine.users() == []
    assert len(machine.checkpoints()) == 1

    steps = []
    update = vectors.RowState.update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors.RowState, "update", lambda self, *rest: (steps.append(rest[2]), update(self, *rest)))
        assert run(*command).out.startswith("alice: release 1 ")
    assert steps == [[4], [5]]
    assert not machine.checkpoints()

    whole = tmp_path / "whole.db"
    run(*command, "--store", whole)
    with open_store(whole) as store:
        np.testing.assert_array_equal(values_of(machine, "alice"), store.release("alice", 1).adapter.values)


@pytest.mark.slow
def test_an_interrupt_while_one_is_judged_loses_nobodys_training(run, machine, notes, manifest, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    lines = [{"user": name, "files": [notes(name).name]} for name in ("alice", "bob")]
    command = ["train", "--manifest", manifest(*lines)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "judge", interrupted)
        assert run(*command).code == 130
    assert machine.users() == []
    assert len(machine.checkpoints()) == 2
    monkeypatch.setattr(vectors, "step_windows", None)
    assert run(*command).code == 0
    assert sorted(machine.users()) == ["alice", "bob"]


@pytest.mark.slow
def test_the_progress_bar_of_a_resumed_training_begins_where_it_was(run, notes, monkeypatch):
    step_windows = vectors.step_windows
    bars = []

    @contextmanager
    def bar(what, total):
        bars.append([])
        yield bars[-1].append
        assert sum(bars[-1]) == total

    def interrupted(text, recipe, step):
        if step == 4:
            raise KeyboardInterrupt
        return step_windows(text, recipe, step)

    monkeypatch.setattr("sharedllm.cli.telling.progress_bar", bar)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "step_windows", interrupted)
        assert run("train", "alice", notes("alice")).code == 130
    assert run("train", "alice", notes("alice")).code == 0
    assert bars == [[1, 1, 1, 1], [5, 1]]


def test_nothing_is_drawn_where_there_is_no_terminal(run, notes, folder_of):
    assert run("train", "alice", notes("alice")).err == f"loading {folder_of('llama')}…\n"


def test_a_forgotten_user_is_not_the_first_file(run, machine, notes):
    file = notes()
    ran = run("train", file, file)
    assert ran.code == 2
    assert str(file) in ran.err
    assert "Name the user first" in ran.err
    assert not machine.users()


@pytest.mark.slow
def test_new_text_is_added_to_the_release_that_answers_and_the_old_text_is_not_needed(run, machine, notes):
    run("train", "alice", notes("alice"))
    notes("alice").unlink()
    # In the hand of the first, since names that begin alike do not write alike.
    week = notes("week")
    week.write_text(writing("alice", 16_000)[8_000:])
    ran = run("train", "alice", week, "--add")
    assert ran.code == 0
    assert ran.out.startswith("alice: release 2 passed: on validation text perplexity is ")
    assert "lower than that of the release it grew from" in ran.out
    shown = run("users", "show", "alice").out
    assert re.search(r"grew from +release 1, made from 1 text, [\d,]+ tokens", shown)
    assert run("users", "show", "alice", "--json").json["served_release"]["provenance"]["grew_from"]["release"] == 1
    again = run("train", "alice", week, "--add")
    assert (again.code, machine.users()) == (0, ["alice"])
    assert "nothing new in the text; release 2 is made from it" in again.err


def test_text_is_added_to_nobody_who_has_no_release_that_answers(run, machine, notes):
    ran = run("train", "alice", notes("alice"), "--add", "--json")
    assert (ran.code, machine.users()) == (2, [])
    assert "sharedllm train USER FILES" in ran.json[0]["error"]
    run("train", "alice", notes("alice"))
    ran = run("train", "alice", notes("bob"), "--add", "--format", "ia3")
    assert ran.code == 2
    assert "--format norm" in ran.out
