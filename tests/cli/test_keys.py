"""`sharedllm keys`, as an operator would use it."""

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


def test_labels_and_ids_cannot_steer_the_terminal(run):
    made = run("keys", "create", "--user", "\x1b[31mred", "--label", "a\nb")
    assert "\x1b" not in made.err + run("keys", "list").out
    assert r"a\nb" in run("keys", "list").out
