"""Adapters to files and back, each through one function."""

import pytest
from tests.cli.conftest import writing

from sharedllm.adapters.adapter import UNTESTED
from sharedllm.errors import AdapterError, ErasedMeanwhile, TooLittleText, UnknownUser
from sharedllm.operations import exchange
from sharedllm.operations.exchange import export, import_


@pytest.fixture
def alice(people):
    people.train("alice")
    return people


def test_what_is_exported_comes_back_as_another_release_without_where_its_text_lay(alice, tmp_path):
    out = tmp_path / "alice.safetensors"
    assert export(alice.workplace, alice.store, "alice", "adapter", out).number == 1
    held_back = import_(alice.workplace, alice.store, "bob", out)
    assert (held_back.gate.passed, held_back.gate.reason) == (False, UNTESTED)
    assert "sources" not in held_back.adapter.provenance
    assert (held_back.adapter.values == alice.store.served("alice").adapter.values).all()


def test_an_adapter_alone_is_exported_without_a_base(alice, tmp_path, monkeypatch):
    monkeypatch.setattr(type(alice.workplace), "base", property(lambda _: pytest.fail("the base was loaded")))
    export(alice.workplace, alice.store, "alice", "adapter", tmp_path / "out.safetensors")


@pytest.mark.parametrize("kind", ["peft", "adapter"])
def test_an_import_is_tested_on_the_text_that_is_given(alice, tmp_path, kind):
    export(alice.workplace, alice.store, "alice", kind, tmp_path / "out")
    release = import_(alice.workplace, alice.store, "bob", tmp_path / "out", wrote=writing("alice", 20_000))
    assert "on validation text" in release.gate.reason
    assert (alice.store.user("bob").served == 1) == release.gate.passed


def test_nothing_is_stored_of_what_cannot_be_imported_or_tested(alice, tmp_path):
    (tmp_path / "no adapter").write_bytes(b"at all")
    with pytest.raises(AdapterError):
        import_(alice.workplace, alice.store, "bob", tmp_path / "no adapter")
    export(alice.workplace, alice.store, "alice", "adapter", tmp_path / "out")
    with pytest.raises(TooLittleText):
        import_(alice.workplace, alice.store, "bob", tmp_path / "out", wrote="short")
    assert [user.user for user in alice.store.users()] == ["alice"]


def test_whoever_is_erased_meanwhile_does_not_come_back(alice, tmp_path, monkeypatch):
    export(alice.workplace, alice.store, "alice", "adapter", tmp_path / "out")
    judge = exchange._judge
    monkeypatch.setattr(exchange, "_judge", lambda *given: (alice.store.erase("alice"), judge(*given))[1])
    with pytest.raises(ErasedMeanwhile):
        import_(alice.workplace, alice.store, "alice", tmp_path / "out")
    assert not list(alice.store.users())


def test_nobody_is_exported_who_is_not_there(people, tmp_path):
    with pytest.raises(UnknownUser):
        export(people.workplace, people.store, "alice", "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()
