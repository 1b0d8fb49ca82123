"""What a file says of itself is kept apart, within bounds, and nothing acts upon it."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sharedllm.adapters import adapter_file
from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.adapter_file import SCHEMA, as_imported, load_adapter, parse_adapter, save_adapter
from sharedllm.adapters.provenance import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    as_read,
    imported,
    is_imported,
    own,
    parse_provenance,
    sources_in,
    text_in,
)
from sharedllm.errors import CorruptAdapter, InvalidInput
from sharedllm.operations.train import already_trained
from sharedllm.reporting.fleet.members import find_fleet
from sharedllm.store import open_store
from sharedllm.store.release_format import Head, reveal, summarise
from sharedllm.store.snapshots import Snapshot, pack
from sharedllm.training.recipes import Recipe, recipe_in

PASSED = GateOutcome(True, "passed: it helps")
TEXT = hashlib.sha256(b"hello").hexdigest()
RECIPE = Recipe("default", steps=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OURS = st.sampled_from(["recipe", "text_sha256", "sources", "compression", "imported", "foreign", "steps", "version"])
LIES = JSON | st.sampled_from(
    [TEXT, RECIPE.as_dict(), {"name": []}, {**RECIPE.as_dict(), "seed": []}, ["/etc/passwd"], {"window": "x"}, {}, []]
)
STATED = st.dictionaries(OURS | st.text(max_size=4), LIES, max_size=6)


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def file_saying(path, provenance):
    """An adapter file whose checksum is right, whatever it says."""
    values = np.ones(2, np.float16)
    about = {"schema": SCHEMA, "format": "norm", "base": "base-1", "provenance": provenance}
    save_file({"values": values}, path, metadata=about | {"sha256": adapter_file._checksum(about, values)})
    return path


@given(STATED)
def test_of_what_a_file_says_nothing_is_known_here(stated):
    kept = imported(stated, "adapter file", base_verified=True)
    assert own(kept) == {"imported": {"from": "adapter file", "base_verified": True}}
    assert is_imported(kept)
    assert (text_in(kept), sources_in(kept), recipe_in(kept)) == (None, (), None)
    assert as_read(kept) == kept
    assert set(kept) <= {"imported", "foreign"}
    assert imported(kept, "peft", base_verified=False).get("foreign") == kept.get("foreign")


@given(STATED)
def test_so_it_is_when_an_earlier_version_stored_it_among_what_it_knew(stated):
    mixed = {**stated, "imported": {"from": "adapter file", "base_verified": True}}
    kept = as_read(mixed)
    assert own(kept) == {"imported": mixed["imported"]}
    assert (text_in(kept), sources_in(kept), recipe_in(kept)) == (None, (), None)


@given(STATED)
def test_whatever_stands_where_ours_should_is_read_or_unknown(stated):
    provenance = as_read(stated)
    assert isinstance(text_in(provenance), str | None)
    assert all(isinstance(source, str) for source in sources_in(provenance))
    recipe = recipe_in(provenance)
    assert recipe is None or recipe_in({"recipe": recipe.as_dict()}) == recipe


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "null",
        "7",
        "{",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": 1' + "0" * 5000 + "}",
        json.dumps({"a": "x" * MAX_CHARACTERS}),
        json.dumps(nested(MAX_DEPTH)),
        '{"a":' * 900 + "1" + "}" * 900,
        '{"a":' * 100_000,
        '{"a": ' + "[" * 5_000 + "]" * 5_000 + "}",
    ],
)
def test_at_the_door_too_much_too_deep_or_no_json_is_refused_by_name(tmp_path, said):
    path = file_saying(tmp_path / "file", said)
    for read in (lambda: load_adapter(path), lambda: parse_adapter(path.read_bytes(), str(path))):
        with pytest.raises(CorruptAdapter, match="does not say where it came from") as refusal:
            read()
        assert str(path) in str(refusal.value)


def test_what_is_just_within_the_bounds_comes_in():
    deep = parse_provenance(json.dumps(nested(MAX_DEPTH - 1)), "file")
    assert deep == nested(MAX_DEPTH - 1)
    assert as_read(imported(deep, "peft", base_verified=True))["foreign"] == deep
    long = {"a": "x" * (MAX_CHARACTERS - 20)}
    assert parse_provenance(json.dumps(long), "file") == long


@pytest.mark.slow
def test_provenance_that_python_cannot_write_is_refused_when_it_is_saved(tmp_path):
    deep = Adapter("norm", "base-1", np.ones(2, np.float32), nested(100_000))
    with pytest.raises(InvalidInput, match="not JSON"):
        save_adapter(deep, tmp_path / "file")


def test_what_an_earlier_version_stored_too_deep_is_left_out_and_the_release_is_there():
    for depth in (MAX_DEPTH + 2, 200, 20_000):
        deep = '{"a":' * depth + "1" + "}" * depth
        for provenance in (deep, deep[:-1] + ',"imported":{}}'):
            head = Head("0" * 32, "alice", 1, "norm", "base-1", provenance, json.dumps(vars(PASSED)), "2026-01-01")
            for said in (reveal(head, b"\0\0").adapter.provenance, summarise(head, 2).provenance):
                assert "left_out" in json.dumps(said)
                assert recipe_in(said) is None


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(STATED, st.booleans())
def test_neither_packing_nor_training_nor_a_report_acts_on_what_others_say(tmp_path_factory, stated, mixed):
    folder = tmp_path_factory.mktemp("lies")
    adapter = Adapter("norm", "base-1", np.ones(4, np.float32), stated)
    adapter = replace(adapter, provenance={**stated, "imported": {}}) if mixed else as_imported(adapter)
    key = signing()
    with open_store(folder / "store.db") as store:
        store.publish("alice", adapter, PASSED)
        pack(store, folder / "packed", key, base="base-1", format="norm")
        snapshot = Snapshot(folder / "packed", key.public_key())
        assert set(snapshot.read("alice", snapshot.find("alice")).adapter.provenance) == {"imported"}
        assert already_trained(store, "base-1", "alice", TEXT, RECIPE) is None
        (folder / "alice.txt").write_text("hello")
        (folder / "manifest.jsonl").write_text('{"user": "alice", "files": ["alice.txt"]}\n')
        with pytest.raises(InvalidInput, match="0 of the users"):
            find_fleet(store, folder / "manifest.jsonl", "base-1")


def signing():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()
