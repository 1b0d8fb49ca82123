import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sharedllm.cache_folder import PinnedPackage, cache_dir, drop, fetch_package, hold
from sharedllm.errors import DownloadError

PEEWEE = PinnedPackage("peewee", "4.5.3", "4c5db9d2a3c4ae9a5725b229c29af51dbd063193f3a6c03b837974a90e44548c", 0.2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SHAREDLLM_CACHE", str(folder))
    return folder


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


def leftovers(cache):
    return [path.name for path in (cache / "packages").iterdir() if path.suffix not in {".whl", ".lock"}]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_cache_dir_follows_the_environment(cache, monkeypatch):
    assert cache_dir() == cache
    monkeypatch.delenv("SHAREDLLM_CACHE")
    assert cache_dir().name == "sharedllm"


def test_a_package_is_fetched_once_and_kept(cache, capfd):
    wheel = fetch_package(PEEWEE)
    assert wheel.parent == cache / "packages"
    assert sha256(wheel) == PEEWEE.sha256
    assert "fetching peewee 4.5.3 (0.2 MB)…" in capfd.readouterr().err
    written = wheel.stat().st_mtime_ns
    assert fetch_package(PEEWEE) == wheel
    assert wheel.stat().st_mtime_ns == written
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert leftovers(cache) == []


def test_progress_can_be_silenced(capfd):
    fetch_package(PEEWEE, progress=False)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_damaged_wheel_and_an_abandoned_download_are_replaced(cache):
    packages = cache / "packages"
    (packages / "peewee-4.5.3.part").mkdir(parents=True)
    (packages / "peewee-4.5.3.part" / "other-1.0-py3-none-any.whl").write_bytes(b"half of it")
    (packages / "peewee-4.5.3-py3-none-any.whl").write_bytes(b"not a wheel")
    assert sha256(fetch_package(PEEWEE)) == PEEWEE.sha256
    assert leftovers(cache) == []


def test_another_hash_is_refused_and_nothing_is_kept(cache):
    wrong = replace(PEEWEE, sha256="0" * 64)
    with pytest.raises(DownloadError) as refusal:
        fetch_package(wrong)
    assert "peewee 4.5.3 is not the file that was pinned" in str(refusal.value)
    assert wrong.sha256 in str(refusal.value)
    assert PEEWEE.sha256 in str(refusal.value)
    assert "check which package index" in refusal.value.remedy
    assert list(cache.rglob("*.whl")) == leftovers(cache) == []


def test_offline_names_the_package_the_cause_and_the_way_out(cache, offline):
    with pytest.raises(DownloadError) as refusal:
        fetch_package(PEEWEE)
    assert "peewee 4.5.3 cannot be fetched: No matching distribution" in str(refusal.value)
    assert "Check the network" in refusal.value.remedy
    assert str(cache / "packages") in refusal.value.remedy
    assert leftovers(cache) == []


def test_a_wheel_copied_into_the_cache_needs_no_network(cache, offline, monkeypatch):
    with monkeypatch.context() as online:
        online.delenv("PIP_NO_INDEX")
        online.delenv("PIP_FIND_LINKS")
        wheel = fetch_package(PEEWEE)
    assert fetch_package(PEEWEE) == wheel


def test_missing_pip_says_how_to_add_it(tmp_path, monkeypatch):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\necho "{bare}: No module named pip" >&2\nexit 1\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(DownloadError, match="No module named pip") as refusal:
        fetch_package(PEEWEE)
    assert "-m ensurepip" in refusal.value.remedy


def test_a_cache_that_cannot_be_written_is_named(cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=str(cache)) as refusal:
        fetch_package(PEEWEE)
    assert "SHAREDLLM_CACHE" in refusal.value.remedy


def test_processes_at_the_same_time_download_once():
    program = f"from sharedllm.cache_folder import *; print(fetch_package({PEEWEE!r}))"
    both = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert len({out for out, _ in outputs}) == 1
    assert sum("fetching" in err for _, err in outputs) == 1


def test_what_is_dropped_goes_unless_another_process_uses_it(tmp_path):
    file = tmp_path / "file"
    file.touch()
    program = "import sys; from pathlib import Path; from sharedllm.cache_folder import hold\n"
    program += "assert hold(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    other = [sys.executable, "-c", program, str(file)]
    assert hold(file)
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout.readline() == "held\n"
        drop(file)
        assert file.exists()
        user.communicate()
    assert hold(file)
    for _ in range(2):
        drop(file)
    assert not file.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_gets_the_progress_on_standard_error():
    import pty

    leader, follower = pty.openpty()
    program = f"from sharedllm.cache_folder import *; print(fetch_package({PEEWEE!r}))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=follower) as process:
        os.close(follower)
        out, _ = process.communicate(timeout=60)
    shown = os.read(leader, 100_000)
    os.close(leader)
    assert out.count(b"\n") == 1
    assert b"Downloading peewee" in shown
