"""Formats of installed packages, on the command line."""

import sys

import numpy as np
import pytest
from tests.strangers import install, install_guides

from sharedllm.adapters.formats import registry
from sharedllm.store import open_store
from sharedllm.training.recipes import RECIPES, Recipe


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """Install the guide's format; called, it is uninstalled."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.delitem(sys.modules, "acme_formats", raising=False)
    # Long enough to help, so that the gate passes it.
    monkeypatch.setitem(RECIPES, "default", Recipe("default", learning_rate=2e-2, steps=6, window=64, check_every=3))
    folder = str(install_guides(tmp_path / "acme"))
    monkeypatch.syspath_prepend(folder)
    return lambda: sys.path.remove(folder)


def test_formats_are_listed_with_the_package_that_brings_them(run, guest, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path / "bad", "bad_one", "1 / 0", {"bad": "bad_one:FORMAT"}, "bad")))
    listed = {each["name"]: each for each in run("formats", "--json").json}
    assert list(listed) == ["norm", "steering", "ia3", "bank", "norm+bank", "bad", "mlp-out"]
    assert listed["norm"]["package"] == "sharedllm"
    assert "default" in listed["norm"]["about"]
    assert (listed["mlp-out"]["package"], listed["bad"]["package"]) == ("acme-formats 1.2", "bad 1.2")
    assert listed["bad"]["about"].startswith("unusable: ")
    assert "mlp-out" in run("formats").out


def test_a_package_that_is_broken_breaks_no_command(run, notes, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path / "bad", "bad_one", "1 / 0", {"bad": "bad_one:FORMAT"}, "bad")))
    assert run("train", "alice", notes("alice"), "--steps", "1").code in (0, 3)
    refused = run("train", "alice", notes("alice"), "--format", "bad")
    assert (refused.code, refused.out) == (2, "")
    assert "bad 1.2 cannot be imported: ZeroDivisionError" in refused.err


@pytest.mark.slow
def test_a_strangers_format_is_trained_asked_for_packed_moved_and_erased(
    run, guest, notes, machine, folder_of, tmp_path
):
    base = ("--base", folder_of("llama"))
    trained = run("train", "alice", notes("alice"), "--format", "mlp-out")
    assert trained.code == 0, trained
    with open_store(machine.store) as store:
        assert store.served("alice").adapter.format == "mlp-out"
    assert "Release 1 of 'alice' answers" in run("ask", "alice", "Who came", "--max-tokens", "4").err
    assert run("evaluate", "alice").code == 0
    assert run("compress", "alice", *base).code in (0, 3)
    assert run("fleet", "pack", tmp_path / "packed", "--format", "mlp-out", *base).code == 0
    assert run("export", "alice", "--to", "adapter", tmp_path / "alice.safetensors", *base).code == 0
    for kind in ("peft", "merged"):
        refused = run("export", "alice", "--to", kind, tmp_path / "out", *base)
        assert (refused.code, (tmp_path / "out").exists()) == (2, False)
        assert "'mlp-out'" in refused.err
    assert run("import", "bob", tmp_path / "alice.safetensors", *base).code in (0, 3)
    guest()
    for command in (
        ("ask", "alice", "Who came"),
        ("evaluate", "alice"),
        ("import", "carol", tmp_path / "alice.safetensors", *base),
        ("export", "alice", "--to", "merged", tmp_path / "out", *base),
    ):
        gone = run(*command)
        assert gone.code == 2
        assert "'mlp-out' is not installed here; it says that it came with 'acme-formats 1.2'" in gone.err
        assert "loading" not in gone.err
    assert "The base answers" in run("ask", "alice", "Who came", "--allow-base", "--max-tokens", "4").err
    assert run("users", "show", "alice").code == 0
    assert run("users", "erase", "alice", "--yes").code == 0


@pytest.mark.slow
def test_coordinates_of_a_prior_are_trained_asked_for_packed_moved_and_erased(
    run, notes, machine, folder_of, tmp_path, monkeypatch
):
    monkeypatch.setitem(RECIPES, "default", Recipe("default", learning_rate=2e-2, steps=6, window=64, check_every=3))
    base = ("--base", folder_of("adapted"))
    trained = run("train", "alice", notes("alice"), "--format", "norm+bank", *base)
    assert trained.code == 0, trained
    with open_store(machine.store) as store:
        adapter = store.served("alice").adapter
    assert adapter.format == "norm+bank"
    assert "Release 1 of 'alice' answers" in run("ask", "alice", "Who came", "--max-tokens", "4", *base).err
    assert run("evaluate", "alice", *base).code == 0
    assert run("compress", "alice", *base).code in (0, 3)
    assert run("fleet", "pack", tmp_path / "packed", "--format", "norm+bank", *base).code == 0
    for kind in ("peft", "merged", "adapter"):
        assert run("export", "alice", "--to", kind, tmp_path / kind, "--release", "1", *base).code == 0
    for number, kind in enumerate(("adapter", "peft"), 1):
        assert run("import", "bob", tmp_path / kind, *base).code in (0, 3)
        with open_store(machine.store) as store:
            again = store.release("bob", number).adapter
        assert again.format == "norm+bank"
        np.testing.assert_allclose(again.values, adapter.values, atol=1e-3)
    refused = run("export", "alice", "--to", "gguf", tmp_path / "gguf", *base)
    assert (refused.code, (tmp_path / "gguf").exists()) == (2, False)
    assert "--to merged" in refused.err
    bare = ("--base", folder_of("llama"))
    refused = run("train", "carol", notes("carol"), "--format", "norm+bank", *bare)
    assert (refused.code, machine.users()) == (2, ["alice", "bob"])
    assert "is a bare base" in refused.err
    assert run("users", "erase", "alice", "--yes").code == 0


@pytest.mark.parametrize("command", [["serve"], ["fleet", "pack", "out"], ["train", "alice", "notes.txt"]])
def test_a_format_that_is_not_there_is_refused_before_anything_is_opened(command, run, machine):
    refused = run(*command, "--format", "mlp-out")
    assert refused.code == 2
    assert "'mlp-out' is not a vector format. Use one of: norm, steering, ia3" in refused.err
    assert not machine.store.exists()
