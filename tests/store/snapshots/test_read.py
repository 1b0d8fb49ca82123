"""Opening: what does not verify is refused, whole or row by row, and nobody is given anybody else's row."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

from sharedllm.errors import CorruptAdapter, InvalidUserId, SharedLLMError, SnapshotError, WrongBase
from sharedllm.store.snapshots import Snapshot
from sharedllm.store.snapshots.format import MANIFEST, PLACES, Checksums, signed

from .conftest import USERS, read


def shard_of(folder):
    (shard,) = folder.glob("shard-*")
    return shard


def index_of(folder):
    (index,) = folder.glob("index-*")
    return index


def test_another_key_does_not_open_it(packed):
    with pytest.raises(SnapshotError, match="not signed with this key"):
        Snapshot(packed(), Ed25519PrivateKey.generate().public_key())


def test_a_manifest_that_was_edited_is_refused(packed, opened):
    folder = packed()
    manifest = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(manifest.replace(b'"base-1"', b'"base-2"'))
    with pytest.raises(SnapshotError, match="not signed with this key, or was changed"):
        opened(folder)


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", b"{}\n00\n", b"{}\nzz\n", b"\xff\xfe\n\xff", b"{}\n" + b"00" * 64])
def test_what_is_not_a_signed_manifest_is_refused(packed, opened, data):
    folder = packed()
    (folder / MANIFEST).write_bytes(data)
    with pytest.raises(SnapshotError):
        opened(folder)


def test_a_signature_of_the_same_text_for_another_purpose_is_refused(packed, opened, key):
    folder = packed()
    text = (folder / MANIFEST).read_bytes().split(b"\n")[0]
    (folder / MANIFEST).write_bytes(text + b"\n" + key.sign(text).hex().encode() + b"\n")
    with pytest.raises(SnapshotError, match="not signed"):
        opened(folder)


def test_a_newer_schema_is_refused_by_its_number(packed, opened, key):
    folder = packed()
    manifest = json.loads((folder / MANIFEST).read_bytes().split(b"\n")[0])
    (folder / MANIFEST).write_bytes(signed(json.dumps(manifest | {"schema": 2}).encode(), key))
    with pytest.raises(SnapshotError, match="schema 2, and this version of sharedllm reads 1"):
        opened(folder)


def test_a_folder_that_is_none_is_refused(tmp_path, opened):
    with pytest.raises(SnapshotError, match="fleet pack"):
        opened(tmp_path)


@pytest.mark.parametrize("file", [shard_of, index_of])
def test_a_missing_or_shortened_file_is_refused(packed, opened, file):
    folder = packed()
    path = file(folder)
    whole = path.read_bytes()
    for data in (whole[:-1], whole + b"\0", b""):
        path.write_bytes(data)
        with pytest.raises(SnapshotError, match=path.name):
            opened(folder)
    path.unlink()
    with pytest.raises(SnapshotError, match=path.name):
        opened(folder)


def test_an_index_that_was_changed_is_refused(packed, opened):
    folder = packed()
    index = load_file(index_of(folder))
    # Alice's row under Bob's hash, with its checksum: the lookup alone would be fooled.
    index["users"] = index["users"][::-1].copy()
    save_file(index, index_of(folder))
    with pytest.raises(SnapshotError, match="not what was signed"):
        opened(folder)


@pytest.mark.parametrize("damage", ["exchanged", "emptied", "filled"])
def test_an_index_that_is_changed_in_place_while_it_is_open_changes_nobodys_answer(packed, opened, damage):
    folder = packed()
    snapshot = opened(folder)
    columns = load_file(index_of(folder))
    if damage == "exchanged":
        # Sound in itself: everybody is found at their neighbour's place, by the checksum that this has.
        base = Checksums(snapshot.manifest.base, snapshot.manifest.format)
        shard = shard_of(folder).read_bytes()
        places = np.roll(columns["places"], 1, axis=0)
        for row, place in enumerate(places.view(PLACES).ravel()):
            head = shard[place["head_at"] : place["head_at"] + place["head_bytes"]]
            values = shard[place["values_at"] : place["values_at"] + 2 * snapshot.manifest.parameters]
            checksum = base.of(columns["users"][row].tobytes(), head, values)
            columns["checksums"][row] = np.frombuffer(checksum, np.uint8)
        data = save(columns | {"places": places})
    else:
        data = b"" if damage == "emptied" else b"\xff" * index_of(folder).stat().st_size
    with index_of(folder).open("rb+") as stream:
        stream.truncate(len(data))
        stream.write(data)
    for number, user in enumerate(USERS):
        assert read(snapshot, user).adapter.values.tolist() == [0.5, -0.25 * number]


@pytest.mark.parametrize("left", [0, 1, 100])
def test_a_shard_that_is_shortened_while_it_is_open_is_an_error_for_those_in_it(packed, opened, left):
    folder = packed()
    snapshot = opened(folder)
    with shard_of(folder).open("rb+") as stream:
        stream.truncate(left)
    for user in USERS:
        with pytest.raises(CorruptAdapter, match=user):
            read(snapshot, user)
    with pytest.raises(SnapshotError, match="not what was signed"):
        snapshot.verify()


def test_rows_that_were_exchanged_are_refused_for_both(packed, opened):
    folder = packed()
    shard = load_file(shard_of(folder))
    shard["values"] = shard["values"][[1, 0, 2]]
    save_file(shard, shard_of(folder))
    snapshot = opened(folder)
    for user in ("alice", "bob"):
        with pytest.raises(CorruptAdapter, match=user):
            read(snapshot, user)
    assert read(snapshot, "carol").number == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_after_any_damage_each_reads_their_own_row_or_none(packed, opened, data):
    if not hasattr(packed, "once"):
        packed.once = packed()
    folder = packed.once.with_name("damaged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(packed.once, folder)
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    damaged = bytearray(path.read_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    for number, user in enumerate(USERS):
        try:
            values = read(opened(folder), user).adapter.values.tolist()
        except SharedLLMError:
            continue
        assert values == [0.5, -0.25 * number]


def test_hashing_the_shards_finds_damage_before_anybody_asks(packed, opened):
    folder = packed()
    opened(folder).verify()
    damaged = bytearray(shard_of(folder).read_bytes())
    damaged[-1] ^= 1
    shard_of(folder).write_bytes(damaged)
    with pytest.raises(SnapshotError, match="not what was signed"):
        opened(folder).verify()


def test_what_cannot_name_a_user_is_refused(opened):
    with pytest.raises(InvalidUserId):
        opened().find("nul\0")


def test_another_base_is_refused(opened):
    opened().check_base("base-1")
    with pytest.raises(WrongBase, match="'base-2'"):
        opened().check_base("base-2")


def test_threads_read_at_once(opened):
    snapshot = opened()
    with ThreadPoolExecutor(4) as threads:
        read_by = list(threads.map(lambda turn: (USERS[turn % 3], read(snapshot, USERS[turn % 3]).user), range(300)))
    assert all(asked == given for asked, given in read_by)


def test_a_manifest_that_says_anything_twice_is_refused(packed, opened, key):
    folder = packed()
    text = (folder / MANIFEST).read_bytes().split(b"\n")[0]
    (folder / MANIFEST).write_bytes(signed(text.replace(b'"base":', b'"base":"base-2","base":', 1), key))
    with pytest.raises(SnapshotError, match="names something twice"):
        opened(folder)
