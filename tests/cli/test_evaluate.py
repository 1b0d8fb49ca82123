"""`sharedllm evaluate`: a user's adapter on text it never saw."""

import math
import sqlite3

import pytest
from tests import models

from sharedllm.store import open_store


@pytest.fixture
def alice(run, notes):
    """Alice's notes, and an adapter trained on them."""
    assert run("train", "alice", notes("alice")).code == 0
    return notes("alice")


def test_own_and_general_text_against_the_base(alice, run):
    found = run("evaluate", "alice", "--json").json
    assert (found["user"], found["release"], found["window"]) == ("alice", 1, 64)
    assert found["heldout"]["own"] < found["heldout"]["base"]
    assert found["heldout"]["improvement"]["low"] > 0
    gain = 1 - found["heldout"]["own"] / found["heldout"]["base"]
    assert found["heldout"]["improvement"]["estimate"] == pytest.approx(gain)
    assert set(found["general"]) == {"windows", "base", "own", "improvement"}
    assert (found["others"], found["margins"]) == ({}, None)


def test_a_person_sees_a_table(alice, run):
    ran = run("evaluate", "alice")
    assert ran.code == 0
    rows = [line.split()[:2] for line in ran.out.splitlines() if line.startswith(("held-out", "general"))]
    assert rows == [["held-out", "base"], ["held-out", "own"], ["general", "base"], ["general", "own"]]


def test_bits_per_character_are_perplexity_by_character(alice, run):
    found = run("evaluate", "alice", "--json").json
    base, own = found["worth"]
    assert (base["reader"], own["reader"]) == (None, "alice")
    # A token of this base is a byte, and these letters are one byte each.
    bits = {name: math.log2(found["heldout"][name]) for name in ("base", "own")}
    assert base["bits_per_character"]["value"]["estimate"] == pytest.approx(bits["base"])
    assert own["bits_per_character"]["value"]["estimate"] == pytest.approx(bits["own"])
    assert own["bits_per_character"]["over_base"]["high"] < 0
    assert own["next_word_1"]["value"] is None, "words are foretold only where that was asked for"


@pytest.mark.rare
def test_worth_is_words_foretold_keystrokes_and_style_for_base_own_and_anothers(alice, run, notes):
    run("train", "bob", notes("bob"))
    found = run("evaluate", "alice", "--worth", "--json").json["worth"]
    assert [each["reader"] for each in found] == [None, "alice", "bob"]
    for each in found:
        one, three = (each[f"next_word_{count}"]["value"]["estimate"] for count in (1, 3))
        assert 0 <= one <= three <= 1
        one, three = (each[f"saved_{count}"]["value"]["estimate"] for count in (1, 3))
        assert 0 <= one <= three < 1
    ran = run("evaluate", "alice", "--worth")
    said = " ".join(ran.out.split())
    assert "next word, one of three" in said
    assert "keystrokes saved, one suggestion" in said
    assert "HELD-OUT BASE OWN ADAPTER HIGHER BY BOB" in said


@pytest.mark.slow
def test_others_read_the_same_text(alice, run, notes):
    run("train", "bob", notes("bob"))
    run("train", "carol", notes("carol"))
    found = run("evaluate", "alice", "--json").json
    bob, carol = found["others"]["bob"], found["others"]["carol"]
    own, base = found["heldout"]["own"], found["heldout"]["base"]
    assert found["margins"] == pytest.approx(
        {
            "mean": 1 - own / ((bob + carol) / 2),
            "best": 1 - own / min(bob, carol, base),
            "worst": 1 - own / max(bob, carol),
        }
    )
    assert found["rival"]["improvement"]["estimate"] == pytest.approx(found["margins"]["best"])
    assert found["rival"]["user"] == min({"bob": bob, "carol": carol, None: base}.items(), key=lambda each: each[1])[0]
    assert "than the best of the others and the base" in run("evaluate", "alice").out


@pytest.mark.slow
def test_costs_and_what_flatters_stand_beside_the_gain(run, notes):
    path, line = notes("alice"), "a line of more than forty characters that is written again"
    path.write_text(f"{line}\n{path.read_text()}\n" + f"{line}\n" * 6)
    run("train", "alice", path)
    found = run("evaluate", "alice", "--json").json
    assert found["repeats"]["lines"] >= 1
    said = " ".join(run("evaluate", "alice").out.split())
    assert "The adapter helps on its user's held-out text" in said
    assert "also occur" in said
    assert ("general text gets clearly worse, by" in said) == (found["general"]["improvement"]["high"] < 0)


@pytest.mark.slow
def test_others_who_are_not_served_are_left_out(alice, run, notes, folder_of, tmp_path):
    run("train", "revoked", notes("bob"))
    run("users", "revoke", "revoked", "--reason", "left")
    run("train", "elsewhere", notes("carol"), base=models.llama(tmp_path / "other", seed=1))
    assert run("evaluate", "alice", "--json").json["others"] == {}


@pytest.mark.slow
def test_a_damaged_release_of_another_is_left_out_and_named(alice, run, machine, notes):
    run("train", "bob", notes("bob"))
    damage(machine.store, "bob")
    ran = run("evaluate", "alice", "--json")
    assert (ran.code, ran.json["others"]) == (0, {})
    assert "left out bob: " in ran.err


def test_a_damaged_release_of_their_own_is_refused(alice, run, machine):
    damage(machine.store, "alice")
    ran = run("evaluate", "alice")
    assert (ran.code, ran.out) == (2, "")
    assert "'alice'" in ran.err


def damage(store, user):
    with sqlite3.connect(store) as connection:
        (changed,) = connection.execute(
            "UPDATE releases SET deviations = zeroblob(length(deviations)) WHERE user_key ="
            " (SELECT key FROM users WHERE id = ?) RETURNING 1",
            [user],
        ).fetchone()
    assert changed
    connection.close()


@pytest.mark.slow
def test_the_newest_release_where_none_is_served_and_any_by_its_number(alice, run):
    run("train", "alice", alice, "--seed", "1")
    assert run("evaluate", "alice", "--json").json["release"] == 2
    assert run("evaluate", "alice", "--release", "1", "--json").json["release"] == 1


def test_text_that_has_changed_since_the_training_is_refused(alice, run):
    alice.write_text(alice.read_text() + "One more line.\n")
    ran = run("evaluate", "alice")
    assert (ran.code, ran.out) == (2, "")
    assert "not what release 1 was trained on" in ran.err
    assert "Train again" in ran.err


def test_text_that_has_moved_is_read_where_it_is_now(alice, run):
    moved = alice.rename(alice.with_name("moved.txt"))
    assert "alice.txt" in run("evaluate", "alice").err
    assert run("evaluate", "alice", moved).code == 0


@pytest.mark.parametrize("also", [[], ["file"]])
def test_text_from_standard_input_must_be_given_again(also, run, notes):
    sources = [notes("bob") for _ in also]
    text = notes("alice").read_bytes()
    run("train", "alice", *sources, "-", stdin=text)
    ran = run("evaluate", "alice", stdin=text)
    assert ran.code == 2
    assert "does not say where its text is" in ran.err
    assert run("evaluate", "alice", *sources, "-", stdin=text).code == 0


def test_text_from_a_manifest_is_found_again(run, tmp_path, notes):
    manifest = tmp_path / "users.jsonl"
    notes("alice")
    manifest.write_text('{"user": "alice", "files": ["alice.txt"]}\n')
    run("train", "--manifest", manifest)
    assert run("evaluate", "alice").code == 0
    manifest.write_text('{"user": "bob", "files": ["alice.txt"]}\n')
    ran = run("evaluate", "alice")
    assert ran.code == 2
    assert "no longer has a line for 'alice'" in ran.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nobody"], ["'nobody'", "Train them first"]),
        (["alice", "--release", "7"], ["7", "alice"]),
        (["a\0b"], ["a\\x00b", "Remove NUL"]),
    ],
)
def test_bad_input_is_named_with_its_remedy(arguments, expected, alice, run):
    ran = run("evaluate", *arguments)
    assert (ran.code, ran.out) == (2, "")
    for words in expected:
        assert words in ran.err


def test_an_adapter_of_another_base_is_refused(alice, run, tmp_path):
    ran = run("evaluate", "alice", base=models.llama(tmp_path / "other", seed=1))
    assert (ran.code, ran.out) == (2, "")
    assert "made for base" in ran.err
    assert "--base" in ran.err


def test_nothing_is_written(alice, run, machine):
    with open_store(machine.store) as store:
        before = store.events("alice")
        run("evaluate", "alice")
        assert store.events("alice") == before
    assert not machine.checkpoints()
