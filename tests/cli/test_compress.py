"""`sharedllm compress`: int8 where measurement allows it, and a reason where it does not."""

import numpy as np
import pytest
from tests import models

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.compression.int8 import quantise
from sharedllm.evaluation.gate import Gate
from sharedllm.operations import compress as policy
from sharedllm.store import open_store


@pytest.fixture
def alice(run, notes):
    """Alice's notes, and an adapter trained on them."""
    assert run("train", "alice", notes("alice")).code == 0
    return notes("alice")


@pytest.fixture
def compress(run, folder_of):
    """Run the command on the small base, unless the test names one."""
    return lambda *arguments, base=None, **options: run(
        "compress", *arguments, "--base", base or folder_of("llama"), **options
    )


@pytest.fixture
def too_strict(monkeypatch):
    """No quantised adapter is close enough to the raw one."""
    monkeypatch.setattr(policy, "WORST_RATIO", 0.5)


def test_int8_that_helps_becomes_the_release_that_answers(alice, compress, machine):
    found = compress("alice", "--json").json
    assert (found["user"], found["release"], found["kept"]) == ("alice", 1, "int8")
    assert found["perplexity"]["int8"] < found["perplexity"]["none"]
    assert found["perplexity"]["int8"] == pytest.approx(found["perplexity"]["raw"], rel=0.05)
    assert found["published"]["release"] == 2
    assert found["published"]["served"]
    assert found["published"]["gate"].startswith("passed")
    with open_store(machine.store) as store:
        raw, served = store.release("alice", 1), store.served("alice")
    assert served.number == 2
    compression = served.adapter.provenance["compression"]
    assert (compression["method"], compression["of"], compression["bytes"]) == ("int8", 1, found["bytes"]["int8"])
    others = {name: value for name, value in served.adapter.provenance.items() if name != "compression"}
    assert others == raw.adapter.provenance


def test_the_integers_are_found_again_from_what_is_stored(alice, compress, machine):
    compress("alice")
    with open_store(machine.store) as store:
        raw, served = store.release("alice", 1).adapter.values, store.served("alice").adapter
    scales = np.array(served.provenance["compression"]["scales"], np.float32)
    # The small base has one width throughout.
    widths = [len(raw) // len(scales)] * len(scales)
    packed = quantise(raw, widths)
    assert (scales == packed.scales).all()
    assert (np.rint(served.values / np.repeat(scales, widths)) == packed.values).all()
    assert packed.bytes == served.provenance["compression"]["bytes"] < raw.nbytes / 2


def test_a_person_sees_a_table_and_why(alice, compress):
    ran = compress("alice")
    assert ran.code == 0
    rows = [line.split()[0] for line in ran.out.splitlines() if line.startswith(("none", "raw", "int8  "))]
    assert rows == ["none", "raw", "int8"]
    assert "int8 is kept: it has " in ran.out
    assert ran.out.endswith("release 2 answers\n")


def test_otherwise_raw_stays_and_says_why(alice, compress, machine, too_strict):
    ran = compress("alice")
    assert ran.code == 0
    assert "raw stays: int8 has 1.0" in ran.out
    with open_store(machine.store) as store:
        assert len(store.releases("alice")) == 1
    found = compress("alice", "--json").json
    assert (found["kept"], found["published"]) == ("raw", None)


def test_int8_that_fails_the_gate_is_held_back_and_raw_answers(alice, compress, machine, monkeypatch):
    monkeypatch.setattr(Gate, "decide", lambda *losses: GateOutcome(False, "held back: a test says so", {}))
    ran = compress("alice")
    assert ran.code == 0
    assert "release 2 held back: a test says so" in ran.out
    assert "int8 is kept" not in ran.out
    assert "raw stays: the gate holds int8 back, though it has " in ran.out
    assert "sharedllm users rollback alice --to 2 --override REASON" in ran.out
    assert ran.out.endswith("release 1 answers\n")
    with open_store(machine.store) as store:
        assert store.user("alice").served == 1


def test_twice_is_refused(alice, compress, machine):
    compress("alice")
    ran = compress("alice")
    assert (ran.code, ran.out) == (2, "")
    assert "int8 already" in ran.err
    with open_store(machine.store) as store:
        assert len(store.releases("alice")) == 2


def test_a_release_that_came_in_between_is_not_replaced(alice, compress, run, machine, monkeypatch):
    decide = policy.decide

    def decide_late(*perplexities):
        with open_store(machine.store) as store:
            first = store.release("alice", 1)
            store.publish("alice", first.adapter, first.gate)
        return decide(*perplexities)

    monkeypatch.setattr(policy, "decide", decide_late)
    ran = compress("alice")
    assert (ran.code, ran.out) == (2, "")
    assert "began to answer" in ran.err
    with open_store(machine.store) as store:
        assert store.user("alice").served == 2


def test_what_is_not_served_is_not_compressed(alice, compress, run):
    run("users", "revoke", "alice", "--reason", "left")
    ran = compress("alice")
    assert (ran.code, ran.out) == (2, "")
    assert "revoked" in ran.err


def test_the_text_is_read_where_it_is_and_must_be_the_same(alice, compress):
    moved = alice.rename(alice.with_name("moved.txt"))
    assert "alice.txt" in compress("alice").err
    changed = alice.with_name("changed.txt")
    changed.write_text(moved.read_text() + "One more line.\n")
    assert "not what release 1 was trained on" in compress("alice", changed).err
    assert compress("alice", moved).code == 0


def test_bad_input_is_named(alice, compress, tmp_path):
    assert "'nobody'" in compress("nobody").err
    assert "made for base" in compress("alice", base=models.llama(tmp_path / "other", seed=1)).err
