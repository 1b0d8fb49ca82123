"""`sharedllm users`, as a person and as a program would use it."""

import json
import shlex
import subprocess
import sys
import weakref
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from click.testing import CliRunner

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.cli.main import COMMANDS, sharedllm
from sharedllm.cli.users import command
from sharedllm.errors import InTraining, InvalidInput, NotServed, StoreBusy, UnknownKey, UnknownUser
from sharedllm.operations.locks import in_training
from sharedllm.operations.route import route
from sharedllm.printable import printable
from sharedllm.store import open_store
from sharedllm.store.opening import open_keys
from sharedllm.store.sql import user_rows
from sharedllm.store.sql.sql_store import SQLStore
from sharedllm.training.checkpoints import checkpoint_folder

BETTER = GateOutcome(True, "improves by 1.2", {"improvement": 1.2})
WORSE = GateOutcome(False, "no better than the base")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Alice with releases 1 and 2 that passed and 3 that did not; 王小明 with one."""
    monkeypatch.setenv("SHAREDLLM_STORE", str(tmp_path / "store.db"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with open_store() as store:
        for value, gate in ((0.1, BETTER), (0.2, BETTER), (0.3, WORSE)):
            adapter = Adapter("norm", "base-1", np.array([value], np.float32), {"recipe": "documented"})
            store.publish("alice", adapter, gate)
        store.publish("王小明", Adapter("norm", "base-1", np.array([1], np.float32)), BETTER)
        yield store


def run(*arguments, **options):
    """What `sharedllm users` prints; an error of ours is raised."""
    result = CliRunner().invoke(sharedllm, ["users", *arguments], **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_summary_in_the_main_help_is_the_commands_own():
    assert command.get_short_help_str(100) == COMMANDS["users"][1]


@pytest.mark.parametrize("name", ["list", "show", "history", "rollback", "reset", "revoke", "restore", "erase"])
def test_help_teaches_and_needs_no_store(name):
    assert "Usage: sharedllm users" in run(name, "--help")


def test_list_aligns_wide_characters(store):
    lines = run("list").splitlines()
    assert lines[0].split("  ")[0] == "USER"
    assert lines[1].split()[:4] == ["alice", "active", "2", "3"]
    assert lines[2].split()[:4] == ["王小明", "active", "1", "1"]
    # Three characters of two columns each: three fewer characters before the next column.
    assert lines[1].index("active") == lines[2].index("active") + 3


def test_list_of_nobody_says_how_to_begin(tmp_path):
    assert "sharedllm train" in run("list", "--store", str(tmp_path / "empty.db"))
    assert json.loads(run("list", "--json", "--store", ":memory:")) == []


def test_list_json(store):
    alice, wang = json.loads(run("list", "--json"))
    assert wang["user"] == "王小明"
    assert list(alice) == ["user", "state", "reason", "served", "releases", "created_at", "updated_at"]
    assert (alice["state"], alice["reason"], alice["served"], alice["releases"]) == ("active", None, 2, 3)
    assert datetime.fromisoformat(alice["created_at"]) == store.user("alice").created_at


@pytest.mark.parametrize("left", [2, 1, 0])
def test_a_list_of_any_length_is_the_same_json_as_ever(store, left):
    for user in ("alice", "王小明")[left:]:
        store.erase(user)
    output = run("list", "--json")
    assert output == json.dumps(json.loads(output), indent=2) + "\n"
    assert len(json.loads(output)) == left


def test_json_is_written_as_it_is_read(store, monkeypatch):
    def interrupted(self):
        yield store.user("alice")
        raise StoreBusy("The store is busy", remedy="Try again.")

    monkeypatch.setattr(SQLStore, "users", interrupted)
    result = CliRunner().invoke(sharedllm, ["users", "list", "--json"])
    assert isinstance(result.exception, StoreBusy)
    assert '"user": "alice"' in result.output


def test_a_table_is_never_held_whole(store, monkeypatch):
    alive, most = weakref.WeakSet(), 0

    def many(self):
        nonlocal most
        for number in range(100):
            each = replace(alice, releases=number)
            alive.add(each)
            most = max(most, len(alive))
            yield each

    alice = store.user("alice")
    monkeypatch.setattr(SQLStore, "users", many)
    assert len(run("list").splitlines()) == 101
    assert most < 5


def test_show(store):
    shown = run("show", "alice")
    for expected in ("active", "norm, 1 values, for base base-1", "passed: improves by 1.2", "documented"):
        assert expected in shown


def test_show_says_why_nobody_answers_and_what_to_type(store):
    figures = {"own": {"base": 21.123456789012345, "improvement": {"estimate": 0.1180001, "low": 0.09, "high": 0.146}}}
    adapter = Adapter("norm", "base-1", np.array([1], np.float32), {"recipe": {"check_every": 5, "seed": 0}})
    store.publish("bob smith", adapter, GateOutcome(False, "held back: it does not clearly help", figures))
    shown = run("show", "bob smith")
    for expected in (
        "held back: it does not clearly help",
        "base 21.12, improvement +11.8% (+9.0% to +14.6%)",
        "check every 5, seed 0",
        "next: train on more or other text, or sharedllm users rollback 'bob smith' --to 1 --override REASON",
    ):
        assert expected in shown
    assert "{" not in shown
    assert "held back: held back" not in shown + run("history", "bob smith")
    found = json.loads(run("show", "bob smith", "--json"))
    assert found["served_release"] is None
    assert found["newest_release"]["gate"]["figures"] == figures


def test_show_gives_a_rise_of_general_perplexity_the_sign_that_one_of_their_own_has_and_shares_in_per_cent(store):
    figures = {
        "own": {"base": 28.7, "adapter": 26.0, "improvement": {"estimate": 0.094, "low": 0.081, "high": 0.107}},
        "general": {"base": 41.5, "adapter": 44.1, "change": {"estimate": -0.062, "low": -0.076, "high": -0.047}},
        "general_tolerance": 0.1,
        "given_away": {"validation": 0.0254, "heldout": 0.6807},
    }
    store.publish("bob", Adapter("norm", "base-1", np.array([1], np.float32), {}), GateOutcome(True, "passed", figures))
    shown = run("show", "bob")
    assert "adapter 44.1, base 41.5, improvement -6.2% (-7.6% to -4.7%)" in shown
    assert "may get worse by 10%" in shown
    assert "68% of heldout, 3% of validation also occurs in the training text" in shown
    assert json.loads(run("show", "bob", "--json"))["served_release"]["gate"]["figures"] == figures


def test_show_json(store):
    shown = json.loads(run("show", "alice", "--json"))
    assert shown["served_release"]["number"] == 2
    assert shown["served_release"]["gate"] == {
        "passed": True,
        "reason": "improves by 1.2",
        "figures": {"improvement": 1.2},
    }
    assert shown["served_release"]["provenance"] == {"recipe": "documented"}


def test_history(store):
    told = run("history", "alice")
    assert "2 *" in told
    assert "held back" in told
    assert "no better than the base" in told


def test_history_json(store):
    told = json.loads(run("history", "alice", "--json"))
    assert list(told) == ["user", "served", "releases", "events"]
    assert [release["number"] for release in told["releases"]] == [1, 2, 3]
    assert [event["kind"] for event in told["events"]] == ["published", "published", "held_back"]


def test_a_long_history_is_shown_in_pages(store, monkeypatch):
    assert "older ones" not in run("history", "alice")
    # As a store holds them in which releases were not pruned yet.
    monkeypatch.setattr(user_rows, "KEPT_RELEASES", 100)
    adapter = Adapter("norm", "base-1", np.array([0.5], np.float32))
    store.publish_many(("bob", adapter, BETTER) for _ in range(30))
    assert "older ones: sharedllm users history bob --before 6" in run("history", "bob")
    older = json.loads(run("history", "bob", "--before", "6", "--json"))
    assert [release["number"] for release in older["releases"]] == [1, 2, 3, 4, 5]


def test_rollback(store):
    assert run("rollback", "alice") == "alice serves release 1.\n"
    assert run("rollback", "alice", "--to", "2") == "alice serves release 2.\n"
    with pytest.raises(NotServed, match="did not pass its gate") as refusal:
        run("rollback", "alice", "--to", "3")
    assert refusal.value.remedy.endswith("sharedllm users rollback alice --to 3 --override REASON")
    assert run("rollback", "alice", "--to", "3", "--override", "a demonstration") == "alice serves release 3.\n"
    assert store.events("alice")[-1].reason == "a demonstration"


def test_revoke_and_restore(store):
    assert run("revoke", "alice", "--reason", "contract ended") == "alice is revoked.\n"
    assert "revoked: contract ended" in run("show", "alice")
    assert "once restored (revoked: contract ended)" in run("rollback", "alice")
    assert run("restore", "alice") == "alice is active.\n"
    assert store.served("alice").number == 1


def test_reset_lets_the_base_answer_and_says_how_to_undo_it(store):
    served = store.user("alice").served
    said = run("reset", "alice")
    assert "alice is back at the base, and their releases are kept" in said
    undo = next(line for line in said.splitlines() if "To undo it" in line).partition("sharedllm users ")[2]
    assert route(store, "alice").kind == "base"
    assert store.user("alice").releases == 3
    run(*undo.split())
    assert store.served("alice").number == served
    run("reset", "alice")
    assert "had no release that answers" in run("reset", "alice")
    assert "reset" in run("history", "alice")


@pytest.mark.parametrize("user", ["-x", "--to", "bob smith", "it's"])
def test_a_command_that_is_named_works_as_it_is_typed_whoever_it_is_for(store, user, monkeypatch):
    monkeypatch.setattr(user_rows, "KEPT_RELEASES", 100)
    adapter = Adapter("norm", "base-1", np.array([0.5], np.float32))
    store.publish_many((user, adapter, BETTER) for _ in range(30))
    older = run("history", "--", user).partition("older ones: sharedllm users ")[2].partition("\n")[0]
    assert "* served" in run(*shlex.split(older))
    undo = run("reset", "--", user).partition("To undo it: sharedllm users ")[2]
    assert run(*shlex.split(undo)).endswith(" serves release 30.\n")


def test_reset_of_one_whose_gate_was_overridden_says_so(store):
    store.rollback("alice", 3, override_reason="I like it")
    assert "--to 3 --override REASON" in run("reset", "alice")


def test_revoke_needs_a_reason(store):
    assert "Missing option '--reason'" in run("revoke", "alice")
    with pytest.raises(InvalidInput):
        run("revoke", "alice", "--reason", " ")
    assert store.user("alice").state == "active"


def test_erase_asks_for_the_id(store):
    with pytest.raises(InvalidInput, match="nothing was erased"):
        run("erase", "alice", input="alicia\n")
    with pytest.raises(InvalidInput, match=r"Nobody typed their id, and nothing was erased\. Give --yes"):
        run("erase", "alice", input="")
    assert store.served("alice").number == 2
    assert "alice is erased: releases 3, events 3." in run("erase", "alice", input="alice\n")
    with pytest.raises(UnknownUser):
        store.served("alice")


def test_someone_with_nothing_but_an_api_key_can_be_erased(store, tmp_path):
    with open_keys(tmp_path / "store.db") as keys:
        secret, _ = keys.create(user="carol")
        assert keys.holder(secret).user == "carol"
        assert "releases (0)" in run("erase", "carol", input="carol\n")
        with pytest.raises(UnknownKey):
            keys.holder(secret)


def test_a_receipt_that_was_not_given_leaves_no_file_behind(store, tmp_path):
    file = tmp_path / "receipt.json"
    with pytest.raises(UnknownUser):
        run("erase", "nobody", "--yes", "--receipt", str(file))
    assert not file.exists()
    run("erase", "alice", "--yes", "--receipt", str(file))
    assert json.loads(file.read_bytes())["removed"]


@pytest.mark.slow
def test_nobody_is_erased_while_a_fleet_is_in_training(store, tmp_path):
    receipt = tmp_path / "receipt.json"
    with in_training(checkpoint_folder()), pytest.raises(InTraining, match=str(checkpoint_folder())):
        run("erase", "alice", "--yes", "--receipt", str(receipt))
    assert not receipt.exists()
    assert store.served("alice")
    run("erase", "alice", "--yes")


@pytest.mark.slow
def test_erase_without_asking(store):
    assert run("erase", "王小明", "--yes").endswith("王小明 is erased: releases 1, events 1.\n")


@pytest.mark.parametrize("name", ["show", "history", "rollback", "restore", "erase"])
def test_an_unknown_user_is_an_error(store, name):
    with pytest.raises(UnknownUser, match="'nobody'"):
        run(name, "nobody", *(["--yes"] if name == "erase" else []))


@pytest.mark.slow
def test_an_error_is_one_line_and_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sharedllm", "users", "show", "nobody", "--store", tmp_path / "store.db"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: The store holds no user 'nobody'. Train them first")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\x7f\x9b", "two\\nlines\\x7f\\x9b"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("line\u2028break", "line\\u2028break"),
        ("👩‍👩‍👧 ok", "👩‍👩‍👧 ok"),
        ("مرحبا שלום 王 é", "مرحبا שלום 王 é"),
        ("a/../b\\c", "a/../b\\c"),
    ],
)
def test_ids_cannot_steer_the_terminal(store, user, shown):
    store.publish(user, Adapter("norm", "base-1", np.ones(1, np.float32)), BETTER)
    assert printable(user) == shown
    for arguments in (["list"], ["show", user], ["rollback", user, "--to", "1"], ["erase", user, "--yes"]):
        output = run(*arguments)
        assert shown in output
        assert user == shown or user not in output


def test_json_keeps_every_id_exactly(store):
    user = "\x1b[31m\u202e\x9b👩‍👩‍👧é\u2028"
    store.publish(user, Adapter("norm", "base-1", np.ones(1, np.float32)), BETTER)
    output = run("list", "--json")
    assert json.loads(output)[-1]["user"] == user
    assert output.isascii()


def test_how_to_train_somebody_who_is_unknown_can_be_pasted(run, tmp_path):
    open_store(tmp_path / "people.db").close()
    refused = run("users", "show", "nobody", "--store", tmp_path / "people.db")
    assert f"(sharedllm train --store {tmp_path / 'people.db'} USER FILES)" in refused.err
