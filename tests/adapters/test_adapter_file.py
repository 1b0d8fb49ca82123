import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from sharedllm.adapters.adapter import Adapter, check_fits
from sharedllm.adapters.adapter_file import load_adapter, parse_adapter, save_adapter
from sharedllm.adapters.layouts import Layout
from sharedllm.base.sites import Site
from sharedllm.errors import AdapterError, CorruptAdapter, DiskFull, InvalidInput, WrongBase
from sharedllm.files import new_folder

ADAPTER = Adapter("norm", "ab" * 32, np.float32([0.5, -0.25, 0.0]), {"recipe": "default", "who": "ада 🦉"})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "alice.safetensors"


@settings(max_examples=30, deadline=None)
@given(
    values=arrays.arrays(np.float16, st.integers(1, 50), elements=st.floats(-60000, 60000, width=16)),
    provenance=st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.floats(0, 1))),
)
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, values, provenance):
    path = tmp_path_factory.mktemp("file") / "adapter.safetensors"
    save_adapter(Adapter("ia3", "cd" * 32, values.astype(np.float32), provenance), path)
    loaded = load_adapter(path)
    assert (loaded.format, loaded.base, loaded.provenance) == ("ia3", "cd" * 32, provenance)
    np.testing.assert_array_equal(loaded.values, values.astype(np.float32))
    assert loaded.values.dtype == np.float32
    parsed = parse_adapter(path.read_bytes(), "the file")
    assert (parsed.format, parsed.base, parsed.provenance) == (loaded.format, loaded.base, loaded.provenance)
    np.testing.assert_array_equal(parsed.values, loaded.values)


def test_every_damaged_byte_and_every_truncation_is_noticed(path):
    save_adapter(ADAPTER, path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position])
        with pytest.raises(CorruptAdapter, match="alice"):
            load_adapter(path)
        with pytest.raises(CorruptAdapter, match="alice"):
            parse_adapter(path.read_bytes(), "alice's file")
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        # A changed digit of the schema's version is a version of which nothing is known.
        with pytest.raises(AdapterError, match="alice"):
            load_adapter(path)
        with pytest.raises(AdapterError, match="alice"):
            parse_adapter(path.read_bytes(), "alice's file")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64, b"PK\x03\x04" * 100])
def test_what_is_no_adapter_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(CorruptAdapter, match="alice"):
        load_adapter(path)
    with pytest.raises(CorruptAdapter, match="alice"):
        parse_adapter(content, "alice's file")


def test_somebody_elses_tensors_are_no_adapter(path):
    save_file({"weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(CorruptAdapter, match="not an adapter of ours"):
        load_adapter(path)
    with pytest.raises(CorruptAdapter, match="not an adapter of ours"):
        parse_adapter(path.read_bytes(), "the file")


def test_a_right_checksum_over_infinite_values_does_not_help(path, monkeypatch):
    monkeypatch.setattr("sharedllm.adapters.adapter_file._as_stored", lambda values: values.astype(np.float16))
    save_adapter(replace(ADAPTER, values=np.float32([np.inf])), path)
    with pytest.raises(CorruptAdapter, match="not finite"):
        load_adapter(path)


def test_a_newer_schema_is_told_from_damage(path):
    save_adapter(ADAPTER, path)
    with safe_open(path, "numpy") as opened:
        about = opened.metadata()
    save_file(load_file(path), path, metadata=about | {"schema": "sharedllm-adapter/2"})
    with pytest.raises(AdapterError, match="newer version"):
        load_adapter(path)


def test_a_file_too_large_for_an_adapter_is_not_read(path):
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(CorruptAdapter, match="not a model"):
        load_adapter(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e5])
def test_values_that_float16_cannot_hold_are_refused_before_writing(path, bad):
    with pytest.raises(InvalidInput, match="Value 1 of the adapter"):
        save_adapter(replace(ADAPTER, values=np.float32([0, bad, 0])), path)
    assert not list(path.parent.iterdir())


def test_provenance_must_be_json(path):
    with pytest.raises(InvalidInput, match="not JSON"):
        save_adapter(replace(ADAPTER, provenance={"loss": float("nan")}), path)
    assert not list(path.parent.iterdir())


def test_nobody_else_may_read_it(path, umask):
    save_adapter(ADAPTER, path)
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_an_existing_file_is_kept(path):
    path.write_text("mine")
    with pytest.raises(InvalidInput, match="exists already"):
        save_adapter(ADAPTER, path)
    assert path.read_text() == "mine"


def test_a_full_disk_leaves_nothing(path, monkeypatch):
    def full(target, data):
        with target.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFull, match="alice"):
        save_adapter(ADAPTER, path)
    assert not list(path.parent.iterdir())


def test_a_folder_that_fails_halfway_leaves_nothing(tmp_path):
    out = tmp_path / "new" / "out"
    with pytest.raises(InvalidInput, match="out cannot be written"), new_folder(out) as partial:
        (partial / "config.json").write_text("{}")
        (partial / "missing" / "file").write_text("")
    assert not list(out.parent.iterdir())


def test_what_cannot_be_a_path_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match="file/adapter cannot be written"):
        save_adapter(ADAPTER, tmp_path / "file" / "adapter")
    with pytest.raises(InvalidInput, match="too long"):
        save_adapter(ADAPTER, tmp_path / ("x" * 300))
    with pytest.raises(InvalidInput, match="not an empty folder"), new_folder(Path("/")):
        pass


def test_a_missing_file_is_named(path):
    with pytest.raises(InvalidInput, match="alice"):
        load_adapter(path)


@pytest.mark.parametrize(
    "change", [{"base": "cd" * 32}, {"format": "ia3"}, {"values": np.zeros(4, np.float32)}], ids=lambda c: next(iter(c))
)
def test_an_adapter_fits_only_its_own_base_format_and_size(change):
    layout = Layout("norm", ADAPTER.base, (Site("model.norm", 3),))
    check_fits(ADAPTER, layout)
    with pytest.raises(WrongBase):
        check_fits(replace(ADAPTER, **change), layout)
