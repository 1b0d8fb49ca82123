"""`sharedllm keys`, as an operator would use it."""

import csv
import errno
import io
import json

import pytest

from sharedllm.errors import UnknownKey
from sharedllm.store import open_keys


def test_a_created_key_is_shown_once_alone_on_standard_output(machine, run):
    made = run("keys", "create", "--user", "alice", "--label", "her laptop")
    assert made.code == 0
    secret = made.out.removesuffix("\n")
    with open_keys(machine.store) as keys:
        key = keys.holder(secret)
    assert (key.user, key.label) == ("alice", "her laptop")
    assert f"Key {key.id} speaks for alice" in made.err
    assert secret not in made.err
    for listed in (run("keys", "list"), run("keys", "list", "--json")):
        assert key.id in listed.out
        assert secret not in listed.out


def test_a_service_key_speaks_for_any_user(machine, run):
    secret = run("keys", "create", "--service").out.strip()
    with open_keys(machine.store) as keys:
        assert keys.holder(secret).kind == "service"
    assert "any user" in run("keys", "list").out


@pytest.mark.parametrize("whose", [(), ("--user", "alice", "--service")])
def test_a_key_must_be_a_users_or_a_services(run, whose):
    refused = run("keys", "create", *whose)
    assert (refused.code, refused.out) == (2, "")
    assert "--user USER, or --service" in refused.err


def test_list_as_json_says_all_that_is_known(run):
    assert run("keys", "list").out.startswith("No keys yet")
    assert run("keys", "list", "--json").json == []
    run("keys", "create", "--user", "alice")
    (key,) = run("keys", "list", "--json").json
    assert set(key) == {"id", "kind", "user", "label", "created_at", "revoked_at"}
    assert (key["kind"], key["user"], key["revoked_at"]) == ("user", "alice", None)


def test_a_revoked_key_opens_nothing(machine, run):
    secret = run("keys", "create", "--user", "alice").out.strip()
    (key,) = run("keys", "list", "--json").json
    assert run("keys", "revoke", key["id"]) == (0, f"Key {key['id']} is revoked.\n", "")
    assert "revoked" in run("keys", "list").out
    with open_keys(machine.store) as keys, pytest.raises(UnknownKey):
        keys.holder(secret)


def test_revoking_an_unknown_id_says_where_to_look(run):
    refused = run("keys", "revoke", "0123")
    assert refused.code == 2
    assert "There is no API key with the id '0123'. List the keys" in refused.err
    assert "(sharedllm keys list)" in refused.err


def test_labels_and_ids_cannot_steer_the_terminal(run):
    made = run("keys", "create", "--user", "\x1b[31mred", "--label", "a\nb")
    assert "\x1b" not in made.err + run("keys", "list").out
    assert r"a\nb" in run("keys", "list").out


def holders(machine):
    with open_keys(machine.store) as keys:
        return sorted((key.user, key.label) for key in keys.all())


def test_several_users_get_a_key_each_as_csv_or_json_lines(machine, run):
    made = run("keys", "create", "--user", "alice", "--user", 'b,"ö', "--label", "pilot")
    rows = list(csv.DictReader(io.StringIO(made.out)))
    assert [row["user"] for row in rows] == ["alice", 'b,"ö']
    more = run("keys", "create", "--user", "carol", "--user", "dave", "--format", "jsonl")
    rows += [json.loads(line) for line in more.out.splitlines()]
    with open_keys(machine.store) as keys:
        for row in rows:
            key = keys.holder(row["secret"])
            assert (key.user, key.id, key.label) == (row["user"], row["id"], row["label"])
    assert "2 keys made" in made.err
    assert not [row for row in rows if row["secret"] in made.err + more.err]
    assert len(holders(machine)) == 4


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("users.txt", "alice\r\n\n  bob \n", [("alice", "pilot"), ("bob", "pilot")]),
        ("users.txt", "\ufeffa,b\n", [("a,b", "pilot")]),
        ("users.CSV", 'label,user\nher laptop,alice\n,"b,ob"\n', [("alice", "her laptop"), ("b,ob", "pilot")]),
        ("users.csv", "user\nalice\n", [("alice", "pilot")]),
    ],
)
def test_everybody_in_a_file_gets_a_key(machine, run, tmp_path, name, content, expected):
    (tmp_path / name).write_text(content, newline="")
    made = run("keys", "create", "--file", tmp_path / name, "--label", "pilot")
    assert made.out.startswith("user,id,label,secret\n")
    assert holders(machine) == expected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("users.txt", b"alice\nbob\nalice\n", "names 'alice' twice"),
        ("users.txt", b"alice\n" + b"x" * 2000, "Line 2 of"),
        ("users.txt", b"\n \n", "names nobody"),
        ("users.txt", b"caf\xe9\n", "cannot be read"),
        ("users.csv", b"name\nalice\n", "no column 'user'"),
        ("users.csv", b'user\nalice\n"bo"b\n', "is not CSV"),
        ("users.csv", b"user,label\nalice,x\n,y\n", "Line 3 of"),
        ("users.csv", b"user,label\nalice\nbob,\x00\n", ""),
        ("missing.txt", None, "cannot be read"),
    ],
)
def test_of_a_file_with_a_mistake_no_key_is_made(machine, run, tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused = run("keys", "create", "--file", tmp_path / name)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err
    assert holders(machine) == []


@pytest.mark.parametrize(
    "arguments", [("--user", "a", "--user", "a"), ("--user", "a", "--user", ""), ("--user", "a", "--service")]
)
def test_nor_of_arguments_with_one(machine, run, arguments):
    refused = run("keys", "create", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert holders(machine) == []


def test_keys_whose_secrets_nobody_could_read_are_revoked(machine, run, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sharedllm.cli.keys._show", full)
    refused = run("keys", "create", "--user", "alice", "--user", "bob")
    assert refused.code == 2
    assert "No space left on device), and the keys were revoked" in refused.err
    with open_keys(machine.store) as keys:
        assert all(key.revoked_at for key in keys.all())
