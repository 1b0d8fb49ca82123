"""A fleet in pieces."""

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharedllm.cluster.fleets.shards import plan_fleet
from sharedllm.cluster.fleets.sizing import DRIVER_BYTES
from sharedllm.errors import InvalidInput, ManifestError, TextError
from sharedllm.text.reading import UserText


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "fleet.jsonl"

    def manifest(*lines):
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    return manifest


def people(count):
    return [{"user": f"user {number}", "text": f"text {number}"} for number in range(count)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(count=st.integers(1, 30), size=st.integers(1, 12))
def test_everyone_is_in_exactly_one_shard_and_no_shard_is_larger_than_asked(manifest, count, size):
    plan = plan_fleet(manifest(*people(count)), size)
    shards = list(plan.shards())
    assert [shard.number for shard in shards] == list(range(1, len(shards) + 1))
    assert all(len(shard.lines) <= size for shard in shards)
    read = [user for shard in shards for _, user, _ in plan.read(shard)]
    assert read == [f"user {number}" for number in range(count)]
    assert list(plan_fleet(plan.manifest, size).shards()) == shards


def test_texts_come_from_the_line_or_from_files_beside_the_manifest(manifest, tmp_path):
    (tmp_path / "bob.txt").write_text("from a file")
    path = manifest(
        "\ufeff" + json.dumps({"user": "alice", "text": "a\r\nb"}), "", {"user": "bob", "files": ["bob.txt"]}
    )
    plan = plan_fleet(path, 10)
    (shard,) = plan.shards()
    assert [text for _, _, text in plan.read(shard)] == [UserText("alice", "a\nb"), UserText("bob", "from a file")]


def test_a_text_that_cannot_be_used_is_its_users_own_failure(manifest, tmp_path):
    (tmp_path / "film").write_bytes(b"\0\1\2")
    path = manifest(
        {"user": "a", "files": ["film"]}, {"user": "b", "files": ["none"]}, {"user": "c", "text": " "}, *people(1)
    )
    plan = plan_fleet(path, 10)
    (shard,) = plan.shards()
    found = {user: text for _, user, text in plan.read(shard)}
    assert isinstance(found["a"], TextError)
    assert isinstance(found["b"], TextError)
    assert isinstance(found["c"], InvalidInput)
    assert found["user 0"] == UserText("user 0", "text 0")


def test_a_line_that_is_none_is_refused_before_anything_is_trained(manifest):
    with pytest.raises(ManifestError, match="Line 3 of"):
        plan_fleet(manifest(*people(2), "not JSON"), 10)


def test_two_lines_for_one_user_are_refused(manifest):
    with pytest.raises(ManifestError, match="'user 1'"):
        plan_fleet(manifest(*people(3), {"user": "user 1", "text": "more"}), 1)


def test_users_whose_digests_are_equal_are_still_two_users(manifest, monkeypatch):
    monkeypatch.setattr("sharedllm.cluster.fleets.shards._digest", lambda user: 7)
    assert len(plan_fleet(manifest(*people(3)), 2).lines) == 3
    with pytest.raises(ManifestError, match="'user 1'"):
        plan_fleet(manifest(*people(3), {"user": "user 1", "text": "more"}), 2)


@pytest.mark.slow
def test_looking_for_users_with_two_lines_takes_what_is_reckoned_with(manifest):
    users = 40_000
    path = manifest(*people(users))
    tracemalloc.start()
    try:
        plan_fleet(path, 1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Beside the line that is being read; an array that grows has room for a sixteenth more.
    assert peak < DRIVER_BYTES * users * 17 / 16 + 100_000


def test_a_manifest_of_nobody_is_refused(manifest):
    with pytest.raises(ManifestError, match="names no user"):
        plan_fleet(manifest("", " "), 10)


def test_a_shard_of_nobody_is_refused(manifest):
    with pytest.raises(InvalidInput, match="A shard of 0"):
        plan_fleet(manifest(*people(1)), 0)


def test_a_manifest_that_changes_under_way_is_noticed(manifest):
    plan = plan_fleet(manifest(*people(2)), 2)
    manifest({"user": "someone with a longer name", "text": "x"})
    (shard,) = plan.shards()
    with pytest.raises(ManifestError, match="has changed"):
        list(plan.read(shard))
