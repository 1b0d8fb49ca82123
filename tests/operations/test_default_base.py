"""Which base a job works on where nobody named one."""

import pytest

from sharedllm.base import resolve
from sharedllm.operations import default_base as module
from sharedllm.operations.default_base import default_base


@pytest.fixture
def built_in(monkeypatch, folder_of):
    """Two built-in bases that are here: the small llama, and the default, which has a prior."""
    folders = {"with-prior": folder_of("adapted"), "bare": folder_of("llama")}
    monkeypatch.setattr(module, "DEFAULT_BASE", "with-prior")
    monkeypatch.setattr(module, "built_in_bases", lambda: folders)
    monkeypatch.setattr(module, "is_pulled", folders.__contains__)
    monkeypatch.setattr(module, "resolve_base", folders.__getitem__)


def test_a_new_store_begins_with_the_default(people, built_in):
    assert default_base(people.store) == default_base() == "with-prior"


def test_a_store_whose_people_have_the_bare_base_goes_on_with_it(people, built_in):
    people.train("alice")
    people.store.rollback("alice", 1, override_reason="for the test")
    assert default_base(people.store) == "bare"


def test_a_store_on_a_base_that_is_not_built_in_says_nothing_of_it(people, built_in, monkeypatch):
    people.train("alice")
    people.store.rollback("alice", 1, override_reason="for the test")
    monkeypatch.setattr(module, "is_pulled", lambda name: False)
    assert default_base(people.store) == "with-prior"


def test_a_store_on_a_base_that_was_made_here_goes_on_with_it(people, built_in, monkeypatch, folder_of):
    people.train("alice")
    people.store.rollback("alice", 1, override_reason="for the test")
    monkeypatch.setattr(module, "built_in_bases", lambda: {})
    monkeypatch.setattr(module, "made_bases", lambda: {"bare": folder_of("llama")})
    assert default_base(people.store) == "bare"


def test_every_built_in_base_can_be_named():
    assert set(resolve.BUILT_IN) | set(resolve.SHIPPED_PRIORS) == set(resolve.built_in_bases())
    assert {resolve.BARE_BASE, resolve.DEFAULT_BASE} <= set(resolve.built_in_bases())
