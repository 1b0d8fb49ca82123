"""`sharedllm store`, `audit` and `receipts`, as an operator would use them."""

import json
import shlex
import sqlite3
import weakref
from contextlib import closing
from datetime import UTC, datetime

import click
import numpy as np
import pytest

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.cli.hints import as_given
from sharedllm.cli.main import sharedllm
from sharedllm.store import open_store
from sharedllm.store.erasure import Written
from sharedllm.store.evidence import audit
from sharedllm.store.evidence.signing import make_key, public_half, read_private, read_public, snapshot_key_file
from sharedllm.store.snapshots import Snapshot, pack

BETTER = GateOutcome(True, "improves by 1.2", {"improvement": 1.2})


@pytest.fixture
def encrypted(machine, run, tmp_path, monkeypatch):
    """Alice and bob in a store that the command line has encrypted."""
    monkeypatch.setenv("SHAREDLLM_MASTER_KEY_FILE", str(tmp_path / "private" / "master.key"))
    publish(machine, "alice", "bob")
    assert run("store", "init-key").code == 0
    done = run("store", "encrypt")
    assert (done.code, done.err) == (0, "")
    assert "Users encrypted: 2. Backups made before are not" in done.out
    return machine


def publish(machine, *users):
    with open_store(machine.store) as store:
        for user in users:
            store.publish(user, Adapter("norm", "base-1", np.ones(4, np.float32)), BETTER)


def test_commands_work_on_an_encrypted_store_as_on_any(encrypted, run):
    assert b"alice" not in encrypted.store.read_bytes()
    assert [user["user"] for user in run("users", "list", "--json").json] == ["alice", "bob"]
    secret = run("keys", "create", "--user", "alice").out.strip()
    assert secret.startswith("sllm_")
    assert run("keys", "list", "--json").json[0]["user"] == "alice"


def test_the_key_is_named_by_its_variable_and_nothing_happens_without_it(machine, run, monkeypatch):
    monkeypatch.delenv("SHAREDLLM_MASTER_KEY_FILE", raising=False)
    for command in ("init-key", "encrypt", "rotate-key"):
        refused = run("store", command)
        assert (refused.code, refused.out) == (2, "")
        assert "SHAREDLLM_MASTER_KEY_FILE" in refused.err
    assert not machine.store.exists()


def test_the_key_is_shown_nowhere(encrypted, run, tmp_path):
    key = tmp_path / "private" / "master.key"
    shown = [key.read_text().strip()]
    printed = [run("store", "init-key"), run("store", "encrypt"), run("store", "rotate-key"), run("store", "status")]
    shown.append(key.read_text().strip())
    assert shown[0] != shown[1]
    assert not [secret for secret in shown for ran in printed if secret in ran.out + ran.err]


def test_status_tells_what_is_encrypted(machine, run, encrypted, tmp_path):
    expected = {"encrypted": "yes", "vault": str(tmp_path / "private" / "vault.db")}
    assert run("store", "status", "--json").json == expected | {"keys": 2, "users": 2, "without_a_key": 0}
    assert "encrypted" in run("store", "status").out
    assert run("store", "status", "--store", tmp_path / "other.db", "--json").json == {"encrypted": "no"}


def test_a_rotated_key_opens_the_store(encrypted, run):
    assert run("store", "rotate-key").out == "Users' keys under the new master key: 2.\n"
    assert run("users", "show", "alice").code == 0


# Receipts


@pytest.mark.slow
def test_an_erasure_prints_a_receipt_that_verifies(encrypted, run, tmp_path):
    erased = run("users", "erase", "alice", "--yes")
    assert (erased.code, "alice" in erased.out) == (0, False)
    assert "alice is erased: releases 1, events 1." in erased.err
    removed = {each["what"]: each["count"] for each in erased.json["removed"]}
    assert removed["releases"] == removed["events"] == removed["encryption key"] == 1
    assert erased.json["audit"] == run("audit", "head", "--json").json

    receipt = tmp_path / "receipt.json"
    receipt.write_text(erased.out)
    assert f"Receipt {erased.json['id']} is as it was signed" in run("receipts", "verify", receipt).out
    assert run("receipts", "verify", receipt, "--user", "alice", "--json").json == erased.json
    assert "somebody else" in run("receipts", "verify", receipt, "--user", "bob").err

    public = tmp_path / "public.pem"
    public.write_text(run("receipts", "key").out)
    assert run("receipts", "verify", receipt, "--public-key", public).code == 0
    receipt.write_text(erased.out.replace('"count": 1', '"count": 2', 1))
    assert "changed since" in run("receipts", "verify", receipt).err


def test_a_receipt_that_cannot_be_written_stops_the_erasure(machine, run, tmp_path):
    publish(machine, "alice")
    receipt = tmp_path / "receipt.json"
    receipt.touch()
    refused = run("users", "erase", "alice", "--yes", "--receipt", receipt)
    assert (refused.code, machine.users()) == (2, ["alice"])
    assert "nobody was erased" in refused.err
    receipt.unlink()
    assert run("users", "erase", "alice", "--yes", "--receipt", receipt).out == ""
    assert run("receipts", "verify", receipt, "--user", "alice").code == 0


def test_a_store_that_is_not_encrypted_gives_receipts_too(machine, run):
    publish(machine, "alice")
    receipt = run("users", "erase", "alice", "--yes").json
    assert receipt["audit"] is None
    assert {"what": "encryption key", "where": "vault", "count": 0} in receipt["removed"]


@pytest.mark.slow
def test_a_snapshot_is_rebuilt_with_the_erasure_and_the_receipt_says_so(encrypted, run, tmp_path):
    make_key(snapshot_key_file())
    with open_store(encrypted.store) as store:
        pack(store, tmp_path / "monday", read_private(snapshot_key_file()), base="base-1", format="norm")
    erased = run("users", "erase", "alice", "--yes", "--snapshot", tmp_path / "monday")
    (derived,) = erased.json["derived"]
    assert derived["outcome"] == "rebuilt without them"
    assert Snapshot(tmp_path / "monday", read_public(public_half(snapshot_key_file()))).manifest.users == 1


def test_a_snapshot_that_could_not_be_rebuilt_is_in_the_receipt(machine, run, tmp_path):
    publish(machine, "alice")
    erased = run("users", "erase", "alice", "--yes", "--snapshot", tmp_path / "monday")
    (derived,) = erased.json["derived"]
    assert derived["outcome"].startswith("still to do")
    assert "still holds them" in erased.err


# The audit log


def test_the_log_is_listed_and_verified(encrypted, run, tmp_path):
    kinds = [entry["kind"] for entry in run("audit", "list", "--json").json]
    assert kinds == ["encrypted"]
    publish(encrypted, "alice")
    run("users", "revoke", "alice", "--reason", "a quarrel")
    assert [entry["kind"] for entry in run("audit", "list", "--user", "alice", "--json").json] == [
        "published",
        "revoked",
    ]
    shown = run("audit", "list").out
    assert "revoked" in shown
    assert "alice" not in shown
    assert run("audit", "verify").out.startswith("The log is whole to entry 3, ")
    assert run("audit", "head").out.startswith("The log goes to entry 3, ")

    kept = tmp_path / "head.json"
    kept.write_text(run("audit", "head", "--json").out)
    assert run("audit", "verify", "--head", kept, "--json").json == json.loads(kept.read_text())
    with closing(sqlite3.connect(encrypted.store)) as connection:
        connection.execute("DELETE FROM audit WHERE key = 3")
        connection.commit()
    cut = run("audit", "verify", "--head", kept)
    assert (cut.code, cut.out) == (2, "")
    assert "Entry 3 of the audit log is missing" in cut.err


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_long_log_is_shown_as_it_is_read(encrypted, run, monkeypatch, options):
    alive, most = weakref.WeakSet(), 0

    def long(*_):
        nonlocal most
        for place in range(50):
            entry = Written(place, datetime.now(UTC), "published", True, 1)
            alive.add(entry)
            most = max(most, len(alive))
            yield entry

    monkeypatch.setattr(audit, "written", long)
    shown = run("audit", "list", *options)
    assert shown.out.count("published") == 50
    assert most < 5
    assert not options or [entry["place"] for entry in shown.json] == list(range(50))


def test_what_is_not_a_head_is_refused(encrypted, run, tmp_path):
    for text in ("[]", '{"place": 1, "place": 2, "hash": ""}'):
        (tmp_path / "head.json").write_text(text)
        assert "not the head" in run("audit", "verify", "--head", tmp_path / "head.json").err


def test_what_to_type_next_works_where_the_store_was_named(encrypted, machine, run, monkeypatch, tmp_path):
    """As it is printed, also where the file's name has a space."""
    store = machine.store.rename(tmp_path / "her store.db")
    monkeypatch.delenv("SHAREDLLM_STORE")
    backup = store.read_bytes()
    assert run("users", "erase", "bob", "--yes", "--store", store).code == 0
    store.write_bytes(backup)
    command = next(line for line in run("users", "list", "--store", store).err.splitlines())
    typed = command[command.index("sharedllm store accept") :]
    assert typed == f"sharedllm store accept --store '{store}'"
    assert run(*shlex.split(typed)[1:]).code == 0
    assert run("users", "list", "--store", store).code == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["users", "show", "zed"], "sharedllm train {} USER FILES), or check the spelling (sharedllm users list {})"),
        (
            ["ask", "zed", "hello"],
            "sharedllm train {} --base ours USER FILES), or check the spelling (sharedllm users list {})",
        ),
        (["keys", "list"], "sharedllm keys create {} --user alice"),
        (["store", "rotate-key"], "sharedllm store encrypt {}"),
        (["audit", "verify", "--head", "-"], "Give what `sharedllm audit head --json` printed"),
    ],
)
def test_commands_that_are_named_have_the_store_and_the_base_that_were(run, tmp_path, monkeypatch, typed, said):
    monkeypatch.setenv("SHAREDLLM_MASTER_KEY_FILE", str(tmp_path / "master.key"))
    store = tmp_path / "other.db"
    open_store(store).close()
    base = ["--base", "ours"] if typed[0] == "ask" else []
    ran = run(*typed, "--store", store, *base)
    assert said.format(*[f"--store {store}"] * 2) in ran.out + ran.err


def test_a_password_is_not_repeated():
    with click.Context(sharedllm) as context:
        context.meta["sharedllm.cli.hints"] = {"--store": "postgresql://me:hush@localhost:1/db"}
        said = as_given("sharedllm users list")
    assert "me:***@localhost:1/db" in said
    assert "hush" not in said


@pytest.mark.slow
def test_a_store_that_went_back_is_refused_until_it_is_accepted(encrypted, machine, run, tmp_path):
    vault = tmp_path / "private" / "vault.db"
    backups = {path: path.read_bytes() for path in (machine.store, vault)}
    assert run("users", "erase", "bob", "--yes").code == 0
    for path, data in backups.items():
        path.write_bytes(data)
    refused = run("users", "list")
    assert refused.code == 2
    assert "went back to an earlier state" in refused.err
    assert "sharedllm store accept" in refused.err
    accepted = run("store", "accept")
    assert accepted.code == 0
    assert all(str(path) in accepted.out for path in backups)
    assert accepted.out.count("that had been confirmed are lost") == 2
    assert [user["user"] for user in run("users", "list", "--json").json] == ["alice", "bob"]
    assert "lost" not in run("store", "accept").out
