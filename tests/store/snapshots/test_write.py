"""Packing: who is in a snapshot, what is on the disk, and what is left when it fails."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.store.samples import BETTER, adapter

from sharedllm.adapters.adapter import Adapter
from sharedllm.errors import CorruptAdapter, DiskFull, InvalidInput
from sharedllm.store import open_store
from sharedllm.store.snapshots import pack, write

from .conftest import USERS, contents, read


def test_everybody_whom_the_store_serves_is_packed_and_nobody_else(opened):
    snapshot = opened()
    assert snapshot.manifest.users == 3
    assert all(snapshot.find(user) for user in USERS)
    assert not any(snapshot.find(user) for user in ("dave", "eve", "mallory", "Alice"))


def test_what_was_packed_is_what_the_store_serves(store, opened):
    snapshot = opened()
    for user in USERS:
        ours, theirs = read(snapshot, user), store.served(user)
        assert vars(ours) | {"adapter": None} == vars(theirs) | {"adapter": None}
        assert vars(ours.adapter) | {"values": None} == vars(theirs.adapter) | {"values": None}
        np.testing.assert_array_equal(ours.adapter.values, theirs.adapter.values)
        assert ours.adapter.values.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            ours.adapter.values[0] = 1


def test_the_release_that_answers_is_packed_not_the_newest(store, opened):
    store.publish("alice", adapter(9, 9), BETTER)
    store.rollback("alice")
    assert read(opened(), "alice").number == 1


def test_adapters_of_other_bases_formats_and_sizes_are_left_out_and_counted(tmp_path, store, key):
    values = np.ones(2, np.float32)
    store.publish("frank", Adapter("norm", "base-2", values), BETTER)
    store.publish("grace", Adapter("ia3", "base-1", values), BETTER)
    store.publish("heidi", adapter(1, 2, 3), BETTER)
    report = pack(store, tmp_path / "out", key, base="base-1", format="norm")
    assert (report.users, report.others, report.damaged) == (3, 3, [])


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_however_many_rows_a_shard_has_everybody_keeps_their_own(monkeypatch, store, opened, rows):
    monkeypatch.setattr(write, "SHARD_BYTES", rows * 4)
    snapshot = opened()
    assert len(snapshot.manifest.shards) == -(-3 // rows)
    for user in USERS:
        np.testing.assert_array_equal(read(snapshot, user).adapter.values, store.served(user).adapter.values)


def test_many_users_are_each_found(tmp_path, key):
    with open_store(tmp_path / "many.db") as store:
        people = [f"user {number}" for number in range(1201)]
        store.publish_many((user, adapter(0, number), BETTER) for number, user in enumerate(people))
        pack(store, tmp_path / "out", key, base="base-1", format="norm")
    snapshot = writing_of(tmp_path / "out", key)
    assert [read(snapshot, user).adapter.values[1] for user in people] == list(range(1201))
    assert not any(snapshot.find(f"nobody {number}") for number in range(500))


def test_a_damaged_release_is_left_out_and_named(tmp_path, store, key, monkeypatch):
    answers = list(store.answers())
    answers[1] = (answers[1][0], CorruptAdapter("Release 1 of 'bob' is damaged", remedy="Train them again"))
    monkeypatch.setattr(store, "answers", lambda: iter(answers))
    report = pack(store, tmp_path / "out", key, base="base-1", format="norm")
    assert report.users == 2
    assert "'bob'" in str(report.damaged[0])
    assert writing_of(tmp_path / "out", key).find("bob") is None


def test_the_files_are_safetensors_without_an_id_in_them(packed):
    folder = packed()
    (shard,) = folder.glob("shard-*")
    (index,) = folder.glob("index-*")
    assert load_file(shard)["values"].dtype == np.float16
    assert load_file(shard)["values"].shape == (3, 2)
    assert {name: tensor.shape for name, tensor in load_file(index).items()} == {
        "users": (3, 32),
        "checksums": (3, 32),
        "places": (3, 32),
    }
    assert not any(user.encode() in contents(folder) for user in USERS)


def test_the_manifest_says_what_the_snapshot_is(store, packed):
    text, signature, _ = (packed() / "manifest.signed").read_bytes().split(b"\n")
    manifest = json.loads(text)
    assert (manifest["base"], manifest["format"], manifest["parameters"], manifest["users"]) == ("base-1", "norm", 2, 3)
    assert manifest["position"] == store.position().number
    assert len(signature) == 128


def test_a_snapshot_is_never_written_over(packed, tmp_path, store, key):
    folder = packed()
    before = contents(folder)
    with pytest.raises(InvalidInput, match="exists already"):
        pack(store, folder, key, base="base-1", format="norm")
    assert contents(folder) == before


def test_nothing_to_pack_is_an_error_and_leaves_nothing(tmp_path, store, key):
    with pytest.raises(InvalidInput, match="nobody's norm adapter for base 'base-9'"):
        pack(store, tmp_path / "out", key, base="base-9", format="norm")
    assert not [path for path in tmp_path.rglob("*") if path.name in ("out", ".out.part")]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, store, key, monkeypatch):
    def full(path, tensors):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "write_tensors", full)
    with pytest.raises(DiskFull):
        pack(store, tmp_path / "out", key, base="base-1", format="norm")
    assert not [path for path in tmp_path.rglob("*") if path.name in ("out", ".out.part")]


def test_what_a_killed_packer_left_behind_is_removed(tmp_path, store, key):
    left = tmp_path / ".out.part"
    left.mkdir()
    (left / "shard-00000-0.safetensors").write_bytes(b"somebody's values")
    pack(store, tmp_path / "out", key, base="base-1", format="norm")
    assert not left.exists()
    assert b"somebody's values" not in contents(tmp_path / "out")


def writing_of(folder, key):
    from sharedllm.store.snapshots import Snapshot

    return Snapshot(folder, key.public_key())
