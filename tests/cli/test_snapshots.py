"""`sharedllm fleet pack`, `verify` and `forget`, and serving from what they made."""

import json

import numpy as np
import pytest
from tests.store.samples import BETTER

from sharedllm.adapters.adapter import Adapter
from sharedllm.base.fingerprint import fingerprint
from sharedllm.errors import NotServed
from sharedllm.store import open_store
from sharedllm.store.snapshots import SnapshotStore


@pytest.fixture
def fleet(machine, folder_of):
    """Alice and Bob, for the small base."""
    base = fingerprint(folder_of("llama"))
    with open_store(machine.store) as store:
        for user in ("alice", "bob"):
            store.publish(user, Adapter("norm", base, np.ones(4, np.float32)), BETTER)


@pytest.fixture
def pack(run, fleet, folder_of, tmp_path):
    def pack(*options):
        return run("fleet", "pack", tmp_path / "out", "--base", folder_of("llama"), *options)

    return pack


def test_a_snapshot_is_packed_and_a_key_made_the_first_time(pack, run, tmp_path):
    ran = pack()
    assert ran.code == 0
    assert "2 adapters are in" in ran.out
    assert "made the signing key" in ran.err
    verified = run("fleet", "verify", tmp_path / "out")
    assert (verified.code, verified.out.endswith("as it was signed: 2 adapters\n")) == (0, True)
    assert "exists already" in pack().err


def test_a_key_of_ones_own_is_made_where_it_is_named(pack, run, tmp_path):
    assert pack("--key", tmp_path / "mine", "--json").json["users"] == 2
    assert run("fleet", "verify", tmp_path / "out").code == 2
    assert run("fleet", "verify", tmp_path / "out", "--key", tmp_path / "mine.pub").code == 0


def test_damage_is_found(pack, run, tmp_path):
    pack()
    (shard,) = (tmp_path / "out").glob("shard-*")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert "not what was signed" in run("fleet", "verify", tmp_path / "out").err


def test_a_base_without_adapters_packs_nothing(run, fleet, folder_of, tmp_path):
    ran = run("fleet", "pack", tmp_path / "out", "--base", folder_of("qwen3"))
    assert (ran.code, (tmp_path / "out").exists()) == (2, False)
    assert "serves nobody's norm adapter" in ran.err


def test_a_damaged_release_is_named_and_the_others_are_packed(pack, machine):
    import sqlite3

    with sqlite3.connect(machine.store) as database:
        database.execute("UPDATE releases SET deviations = zeroblob(8) WHERE user_key = 1")
    database.close()
    ran = pack()
    assert ran.code == 2
    assert "left out: Release 1 of 'alice' is damaged" in ran.out
    assert "1 adapters are in" in ran.out


def test_whoever_is_erased_is_forgotten(pack, run, tmp_path):
    pack()
    assert run("users", "erase", "alice", "--yes").code == 0
    assert run("fleet", "forget", tmp_path / "out").out.startswith("1 erased users are removed")
    assert run("fleet", "forget", tmp_path / "out", "--json").json == {"removed": 0}
    assert run("fleet", "verify", tmp_path / "out", "--json").json["users"] == 1


@pytest.mark.slow
def test_an_erasure_that_is_interrupted_before_it_comes_to_the_snapshot_ends_with_a_receipt_that_says_it_did(
    pack, run, tmp_path, monkeypatch
):
    pack()
    erase = ["users", "erase", "alice", "--yes", "--snapshot", tmp_path / "out"]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sharedllm.store.snapshots.forget.forget_erased", interrupted)
        assert run(*erase).code == 130
    receipt = run(*erase).json
    assert [each["outcome"] for each in receipt["derived"]] == ["rebuilt without them"]
    assert {each["what"]: each["count"] for each in receipt["removed"]}["releases"] == 1
    assert run("fleet", "verify", tmp_path / "out", "--json").json["users"] == 1
    assert run(*erase).json == receipt


def test_a_snapshot_that_could_not_be_signed_again_is_told_each_time_and_the_receipt_says_so(pack, run, tmp_path):
    pack()
    (tmp_path / "out").rename(tmp_path / "away")
    erase = ["users", "erase", "alice", "--yes", "--snapshot", tmp_path / "out"]
    first = run(*erase)
    (derived,) = first.json["derived"]
    assert derived["outcome"].startswith("still to do: ")
    again = run(*erase)
    assert again.json == first.json
    for ran in (first, again):
        assert ran.code == 0
        assert f"{tmp_path / 'out'} still holds them: {derived['outcome'].removeprefix('still to do: ')}" in ran.err


@pytest.mark.slow
def test_a_server_answers_from_the_snapshot_as_long_as_the_store_says_so(
    pack, run, machine, folder_of, tmp_path, monkeypatch
):
    pack()
    seen = []

    def serve(service, host, port, ready):
        assert isinstance(service.store, SnapshotStore)
        seen.append(service.store.served("alice").user)
        with open_store(machine.store) as elsewhere:
            elsewhere.revoke("alice", "left")
        with pytest.raises(NotServed):
            while True:
                service.store.served("alice")
        ready("http://here")
        service.engine.close()

    monkeypatch.setattr("sharedllm.http.server.serve", serve)
    command = ["serve", "--port", 0, "--cache-tokens", 1024, "--running", 2, "--packed", tmp_path / "out"]
    ran = run(*command, "--base", folder_of("llama"))
    assert (ran.code, seen) == (0, ["alice"])
    assert "2 users packed" in ran.out
    refused = run(*command, "--base", folder_of("qwen3"))
    assert refused.code == 2
    assert "is of base" in refused.err


def test_a_server_does_not_start_on_what_does_not_verify(pack, run, tmp_path):
    pack("--key", tmp_path / "mine")
    ran = run("serve", "--port", 0, "--packed", tmp_path / "out")
    assert "cannot be read" in ran.err
    manifest = tmp_path / "out" / "manifest.signed"
    manifest.write_bytes(manifest.read_bytes().replace(b'"users":2', b'"users":1'))
    ran = run("serve", "--port", 0, "--packed", tmp_path / "out", "--packed-key", tmp_path / "mine.pub")
    assert (ran.code, "not signed with this key, or was changed" in ran.err) == (2, True)
    assert json.loads(manifest.read_bytes().split(b"\n")[0])["users"] == 1
