"""What only a file can get wrong: crashes, other processes, damage, a full disk, traces of the erased."""

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from tests.store.samples import BETTER, WORSE, adapter

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import (
    CorruptAdapter,
    CorruptStore,
    DiskFull,
    InvalidInput,
    NotServed,
    OutcomeUnknown,
    SharedLLMError,
    StaleStore,
    StoreBusy,
    StoreError,
    UnknownUser,
)
from sharedllm.store import open_keys, open_store
from sharedllm.store.contract import KEPT_RELEASES
from sharedllm.store.opening import accept_store
from sharedllm.store.sql import sqlite
from sharedllm.store.sql.watermark import Watermark

PARAMETERS = 35_136


def large(seed, **provenance):
    return adapter(*np.random.default_rng(seed).normal(0, 0.01, PARAMETERS), **provenance)


def python(code, path, *arguments, **options):
    """Start ``code`` in a process of its own, with a few names at hand."""
    prelude = (
        "import os, resource, sys, numpy as np\n"
        "from sharedllm.adapters.adapter import Adapter, GateOutcome\n"
        "from sharedllm.store import open_store\n"
        "path, *arguments = sys.argv[1:]\n"
        "def adapter(value, length=35136): return Adapter('norm', 'base-1', np.full(length, value, np.float32))\n"
        "better = GateOutcome(True, 'better')\n"
    )
    command = [sys.executable, "-c", prelude + code, str(path), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def edit(path, *statements):
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_store_outlives_its_process(path):
    with open_store(path) as store:
        published = store.publish("alice", large(1, recipe="documented"), BETTER)
    with open_store(path) as store:
        served = store.served("alice")
    assert (served.id, served.gate, served.created_at) == (published.id, published.gate, published.created_at)
    np.testing.assert_array_equal(served.adapter.values, published.adapter.values)


def test_a_value_takes_two_bytes(path):
    with open_store(path) as store:
        store.publish("alice", large(1), BETTER)
    with closing(sqlite3.connect(path)) as connection:
        (blob,) = connection.execute("SELECT deviations FROM releases").fetchone()
    assert len(blob) == 2 * PARAMETERS
    np.testing.assert_array_equal(np.frombuffer(blob, "<f2"), large(1).values.astype(np.float16))


# Crashes


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the insert", "before the commit", "after the commit"])
def test_a_process_that_dies_while_publishing_leaves_the_old_release_or_the_new(path, moment):
    with open_store(path) as store:
        store.publish("alice", adapter(0.5), BETTER)
    killer = python(
        """
import sqlalchemy as sa
store = open_store(path)
if arguments[0] == "before the insert":
    sa.event.listen(store._database._writer, "before_cursor_execute",
        lambda connection, cursor, statement, *_: "INTO releases" in statement and os._exit(9))
if arguments[0] == "before the commit":
    sa.event.listen(store._database._writer, "commit", lambda connection: os._exit(9))
store.publish("alice", adapter(0.25), better)
os._exit(9)
""",
        path,
        moment,
    )
    _, complaints = killer.communicate(timeout=60)
    assert killer.returncode == 9, complaints
    with open_store(path) as store:
        expected = 2 if moment == "after the commit" else 1
        assert store.served("alice").number == expected
        assert set(store.served("alice").adapter.values.tolist()) == {1 / 2**expected}
        assert len(store.releases("alice")) == len(store.events("alice")) == expected
        assert store.publish("alice", adapter(), BETTER).number == expected + 1


@pytest.mark.slow
def test_a_process_killed_at_any_time_leaves_whole_releases(path):
    for attempt in range(4):
        publisher = python(
            "store = open_store(path)\n"
            "for turn in range(10_000):\n"
            "    print(store.publish('alice', adapter(turn % 7), better).number, flush=True)\n",
            path,
        )
        confirmed = int(publisher.stdout.readline())
        time.sleep(0.01 + 0.02 * attempt)
        publisher.send_signal(signal.SIGKILL)
        rest, _ = publisher.communicate(timeout=60)
        confirmed = max([confirmed, *(int(line) for line in rest.split("\n")[:-1])])
        with open_store(path) as store:
            count = store.user("alice").releases
            assert count >= confirmed, "a confirmed release is gone"
            assert store.served("alice").number == count
            kept = [*range(max(1, count - KEPT_RELEASES + 1), count + 1)]
            assert [store.release("alice", number).number for number in kept[-KEPT_RELEASES:]] == kept
            assert len(store.events("alice")) == len(store.releases("alice")) == len(kept)


def test_an_erasure_cut_short_is_finished_at_the_next_opening(path):
    with open_store(path) as store:
        store.publish("bob", adapter(), BETTER)
        store.publish("alice", adapter(), BETTER)
        with patch.object(sqlite.SQLite, "scrub", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            store.erase("alice")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    with open_store(path) as store:
        assert [each.user for each in store.users()] == ["bob"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)


# Other processes


@pytest.mark.slow
def test_processes_that_create_and_write_the_same_store_all_succeed(path):
    publish = (
        "with open_store(path) as store:\n"
        "    for turn in range(15): store.publish(f'shared {turn % 3}', adapter(int(arguments[0])), better)\n"
    )
    publishers = [python(publish, path, number) for number in range(3)]
    for publisher in publishers:
        _, complaints = publisher.communicate(timeout=120)
        assert publisher.returncode == 0, complaints
    with open_store(path) as store:
        for user in ("shared 0", "shared 1", "shared 2"):
            assert [release.number for release in store.releases(user)] == list(range(1, 16))
            whose = [store.release(user, number).adapter.values[0] for number in range(1, 16)]
            assert sorted(whose) == [0] * 5 + [1] * 5 + [2] * 5


def test_a_writer_that_waits_too_long_is_told_so_and_readers_never_wait(path):
    with patch.object(sqlite, "BUSY_SECONDS", 0.1), open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy, match=str(path)):
                store.publish("alice", adapter(), BETTER)
            assert store.served("alice").number == 1
            other.execute("ROLLBACK")
        assert store.publish("alice", adapter(), BETTER).number == 2


def test_threads_of_one_process_wait_for_one_another_however_slow_the_disk_is(path):
    begun, refused = threading.Event(), []

    def slow(connection):
        begun.set()
        time.sleep(0.5)

    def try_to(change):
        try:
            change()
        except StoreBusy as error:
            refused.append(error)

    with patch.object(sqlite, "BUSY_SECONDS", 0.1), closing(sqlite.SQLite(str(path))) as database:
        database.write(database.mark_for_scrubbing)
        changes = (lambda: database.write(slow), lambda: database.write(lambda connection: None), database.scrub)
        threads = [threading.Thread(target=try_to, args=(change,)) for change in changes]
        for thread in threads:
            thread.start()
            begun.wait()
        for thread in threads:
            thread.join()
    assert refused == []


def test_an_erasure_that_a_reader_holds_up_says_that_traces_remain(path):
    with patch.object(sqlite, "BUSY_SECONDS", 0.1), open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM users").fetchall()
            with pytest.raises(StoreBusy, match="'alice' is erased, but traces of them may remain"):
                store.erase("alice")
        with pytest.raises(UnknownUser):
            store.served("alice")
    with open_store(path):
        assert b"alice" not in everything(path)


# Damage


def test_a_changed_byte_among_the_values_is_noticed(path):
    with open_store(path) as store:
        store.publish("alice", adapter(1), BETTER)
        store.publish("alice", adapter(2), BETTER)
        store.publish("bob", adapter(3), BETTER)
        edit(path, "UPDATE releases SET deviations = x'0140' WHERE number = 2")
        with pytest.raises(CorruptAdapter, match="Release 2 of 'alice' is damaged"):
            store.served("alice")
        assert store.release("alice", 1).adapter.values.tolist() == [1]
        assert store.served("bob").adapter.values.tolist() == [3]
        assert store.rollback("alice").number == 1
        assert store.served("alice").number == 1


@pytest.mark.parametrize(
    "column",
    ["id", "format", "base", "provenance", "gate", "created_at", "checksum"],
)
def test_every_field_is_under_the_checksum(path, column):
    with open_store(path) as store:
        store.publish("alice", adapter(recipe="x"), BETTER)
        edit(path, f"UPDATE releases SET {column} = replace({column}, substr({column}, 3, 1), '~')")
        with pytest.raises(CorruptAdapter):
            store.served("alice")


@pytest.mark.parametrize("value", ["'text'", "7", "x''"])
@pytest.mark.parametrize("column", ["provenance", "gate", "created_at", "deviations", "checksum"])
def test_a_field_of_the_wrong_type_is_noticed(path, column, value):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
        edit(path, f"UPDATE releases SET {column} = {value}")
        with pytest.raises((CorruptAdapter, CorruptStore)):
            store.served("alice")


def test_rows_swapped_between_users_serve_nobody(path):
    with open_store(path) as store:
        for user in ("alice", "bob"):
            store.publish(user, adapter(), BETTER)
        edit(
            path,
            "UPDATE releases SET user_key = -1 WHERE user_key = 1",
            "UPDATE releases SET user_key = 1 WHERE user_key = 2",
            "UPDATE releases SET user_key = 2 WHERE user_key = -1",
        )
        for user in ("alice", "bob"):
            with pytest.raises(CorruptAdapter, match=user):
                store.served(user)


def test_rows_renumbered_within_a_user_are_noticed(path):
    with open_store(path) as store:
        for _ in range(2):
            store.publish("alice", adapter(), BETTER)
        edit(path, "DELETE FROM releases WHERE number = 2", "UPDATE releases SET number = 2")
        with pytest.raises(CorruptAdapter):
            store.served("alice")
        for ask in (store.release, store.rollback):
            with pytest.raises(CorruptAdapter):
                ask("alice", 1)


@pytest.mark.slow
def test_any_damaged_byte_gives_the_right_release_or_an_error(path):
    with open_store(path) as store:
        for user in ("alice", "bob"):
            for number in (1, 2):
                store.publish(user, large(number, recipe=user), BETTER if number == 1 else WORSE)
        values = [store.release("alice", number).adapter.values for number in (1, 2)]
    whole = path.read_bytes()
    chance = random.Random(7)
    # Half of the damage goes where it hurts most: outside the values, which are all under one checksum anyway.
    dense = [
        offset for offset in range(len(whole)) if whole[offset : offset + 16].isascii() and any(whole[offset:][:4])
    ]
    noticed = 0
    for turn in range(200):
        offset = chance.choice(dense) if turn % 2 else chance.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            with open_store(path) as store:
                release = store.served("alice")
                store.releases("alice")
                store.events("alice")
                list(store.users())
        except SharedLLMError:
            noticed += 1
        else:
            assert release.user == "alice"
            np.testing.assert_array_equal(release.adapter.values, values[release.number - 1])
            assert release.adapter.provenance == {"recipe": "alice"}
    assert noticed > 10


@pytest.mark.parametrize("content", [b"not a database at all, " * 100, np.random.default_rng(0).bytes(5000)])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(CorruptStore, match=str(path)):
        open_store(path)
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_truncated_file_is_refused_and_left_alone(path):
    with open_store(path) as store:
        store.publish("alice", large(1), BETTER)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptStore, match=str(path)), open_store(path) as store:
        store.served("alice")
    assert path.read_bytes() == whole[: len(whole) // 2]


def test_a_log_cut_short_gives_back_the_last_whole_release(path, tmp_path):
    with open_store(path) as store:
        store.publish("alice", adapter(1), BETTER)
        store.publish("alice", adapter(2), BETTER)
        copy = tmp_path / "copy.db"
        copy.write_bytes(path.read_bytes())
        log = path.with_name("store.db-wal").read_bytes()
        copy.with_name("copy.db-wal").write_bytes(log[:-100])
    with open_store(copy) as store:
        assert store.served("alice").adapter.values.tolist() == [1]
        assert store.user("alice").releases == 1


# Disks


@pytest.mark.slow
def test_a_full_disk_keeps_what_there_was(path):
    filler = python(
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
from sharedllm.errors import DiskFull, StoreError
with open_store(path) as store:
    try:
        for turn in range(100): confirmed = store.publish("alice", adapter(turn), better).number
    except StoreError:
        print(confirmed, store.served("alice").number, set(store.served("alice").adapter.values.tolist()))
""",
        path,
    )
    printed, complaints = filler.communicate(timeout=60)
    assert filler.returncode == 0, complaints
    confirmed = int(printed.split()[0])
    assert printed.split() == [str(confirmed), str(confirmed), f"{{{confirmed - 1}.0}}"]
    with open_store(path) as store:
        assert store.served("alice").number == confirmed
        assert len(store.releases("alice")) == confirmed
        assert store.publish("alice", large(1), BETTER).number == confirmed + 1


def test_a_full_disk_is_called_that(path):
    with open_store(path) as store:
        store.publish("alice", adapter(1), BETTER)
        with patch.object(sqlite, "PRAGMAS", (*sqlite.PRAGMAS, "PRAGMA max_page_count = 10")), open_store(path) as full:
            with pytest.raises(DiskFull, match=r"No room is left to write .*store\.db\. Free some space"):
                full.publish_many(("alice", large(turn), BETTER) for turn in range(5))
            assert full.served("alice").adapter.values.tolist() == [1]
            assert len(full.events("alice")) == 1
        assert store.publish("alice", large(1), BETTER).number == 2


def test_a_store_that_may_only_be_read_is_read(path):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
    edit(path, "PRAGMA user_version = 0")
    with patch.object(sqlite, "PRAGMAS", (*sqlite.PRAGMAS, "PRAGMA query_only = ON")), open_store(path) as store:
        assert store.served("alice").number == 1
        with pytest.raises(StoreError, match=r"store.db is read-only\. Make the file"):
            store.publish("alice", adapter(), BETTER)
        assert store.user("alice").releases == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_file_without_write_permission_is_left_alone(path):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
    path.chmod(0o400)
    with open_store(path) as store:
        assert store.served("alice").number == 1
        with pytest.raises(StoreError, match="read-only"):
            store.publish("alice", adapter(), BETTER)


# Erasure


def everything(path):
    """All bytes that the store has on the disk."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_after_an_erasure_no_byte_of_the_user_is_left(path):
    user = "alice ⁂ the one who leaves"
    gate = GateOutcome(True, "alice improved by 3.14159", {})
    mine = large(99, text_sha256="c0ffee" * 10)
    with open_store(path) as store:
        store.publish("bob", large(1), BETTER)
        for _ in range(3):
            store.publish(user, mine, gate)
        store.revoke(user, "she asked to be forgotten")
        ids = [release.id for release in store.releases(user)]
        blob = mine.values.astype("<f2").tobytes()
        traces = [user.encode(), b"3.14159", b"c0ffee", b"forgotten", *(each.encode() for each in ids)]
        traces += [blob[start : start + 16] for start in range(0, len(blob), 1000)]
        assert all(trace in everything(path) for trace in traces)
        store.erase(user)
        assert not [trace for trace in traces if trace in everything(path)]
        assert store.served("bob").number == 1
    assert not [trace for trace in traces if trace in everything(path)]


@pytest.mark.slow
def test_no_trace_stays_in_pages_that_were_split_or_merged(path):
    """Deleting rows is not enough: b-trees leave copies behind when they move rows between pages."""
    chance = random.Random(1)
    with open_store(path) as store, open_keys(path) as keys:
        # Ids of all lengths up to the longest, so that some lie in rows' own pages and some in overflow pages.
        people = [f"user-{chance.randbytes(chance.choice([4, 40, 200, 500])).hex()}" for _ in range(250)]
        order = [user for user in people for _ in range(3)]
        chance.shuffle(order)
        store.publish_many((user, adapter(trace=f"trace {user}"), GateOutcome(True, f"gate {user}")) for user in order)
        traces = {user: [user.encode(), hashlib.sha256(user.encode()).digest()] for user in people}
        for user in people:
            secret, key = keys.create(user=user, label=f"label {user}")
            traces[user] += [key.id.encode(), hashlib.sha256(secret.encode()).digest()]
            traces[user] += [release.id.encode() for release in store.releases(user)]
        # Rows that grow are moved too.
        for user in chance.sample(people, 100):
            store.revoke(user, f"gone {user} " * 3)
        leaving = chance.sample(people, 12)
        for user in leaving:
            store.erase(user)
        left = everything(path)
    assert not [user for user in leaving if any(trace in left for trace in traces.pop(user))]
    assert all(trace in left for mine in traces.values() for trace in mine)


# Permissions


def modes(path):
    return {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}


def test_nobody_else_may_read_a_store(path, umask):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
        assert {"store.db", "store.db-wal", "store.db-shm"} <= set(modes(path))
        assert set(modes(path).values()) == {"0o600"}
    assert set(modes(path).values()) == {"0o600"}


def test_a_store_that_others_may_read_is_taken_from_them_when_it_is_opened(path, umask):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
        for file in path.parent.iterdir():
            file.chmod(0o644)
        with open_store(path):
            assert set(modes(path).values()) == {"0o600"}


def test_a_file_that_is_no_store_keeps_its_permissions(path, umask):
    path.write_bytes(b"somebody's notes, " * 100)
    with pytest.raises(CorruptStore):
        open_store(path)
    assert modes(path) == {"store.db": "0o644"}


def test_an_address_without_a_file_is_refused():
    with pytest.raises(InvalidInput, match="names no file"):
        open_store("sqlite:///")


# A file that goes back


def killed(path, code):
    """Run ``code`` on a store in a process that dies without closing it, so that its log is left."""
    process = python(f"store = open_store(path)\n{code}\nos._exit(9)\n", path)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 9, complaints


def log_of(path):
    return path.with_name("store.db-wal")


@pytest.mark.slow
def test_a_revocation_holds_without_the_log(path):
    killed(path, "store.publish('alice', adapter(1), better); store.revoke('alice', 'left')")
    for suffix in ("-wal", "-shm", "-mark"):
        path.with_name(f"store.db{suffix}").unlink(missing_ok=True)
    with open_store(path) as store, pytest.raises(NotServed, match="revoked: left"):
        store.served("alice")


@pytest.mark.slow
def test_a_revocation_that_a_reader_keeps_in_the_log_is_not_undone_without_a_word(path):
    with open_store(path) as store:
        store.publish("alice", adapter(1), BETTER)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM users").fetchall()
            killed(path, "store.revoke('alice', 'left')")
            copies = {suffix: path.with_name(f"store.db{suffix}").read_bytes() for suffix in ("", "-mark")}
    path.with_name("store.db-shm").unlink(missing_ok=True)
    log_of(path).unlink(missing_ok=True)
    for suffix, data in copies.items():
        path.with_name(f"store.db{suffix}").write_bytes(data)
    # Of what the reader had seen, SQLite has copied into the file what was not changed since: pages of two states.
    with pytest.raises((StaleStore, CorruptStore)):
        open_store(path)


@pytest.mark.slow
def test_whatever_happens_to_the_log_no_confirmed_change_is_undone_without_a_word(path, tmp_path):
    killed(path, "for turn in range(3): store.publish('alice', adapter(turn, 4), better)")
    log, shared, noted = log_of(path).read_bytes(), path.read_bytes(), path.with_name("store.db-mark").read_bytes()
    chance = random.Random(3)
    damaged = [None, b"", log[:-1], log[: len(log) // 2]]
    for _ in range(40):
        flipped = bytearray(log)
        flipped[chance.randrange(len(log))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    copy = tmp_path / "copy" / "store.db"
    copy.parent.mkdir()
    refused = 0
    for each in damaged:
        for file in copy.parent.iterdir():
            file.unlink()
        copy.write_bytes(shared)
        copy.with_name("store.db-mark").write_bytes(noted)
        if each is not None:
            log_of(copy).write_bytes(each)
        try:
            with open_store(copy) as store:
                assert store.served("alice").number == 3
        except (StaleStore, CorruptStore):
            refused += 1
    assert refused >= 40


def test_an_older_file_in_its_place_is_refused_until_it_is_accepted(path):
    with open_store(path) as store:
        store.publish("alice", adapter(1), BETTER)
    backup = path.read_bytes()
    with open_store(path) as store:
        store.publish("alice", adapter(2), BETTER)
        store.revoke("alice", "left")
    path.write_bytes(backup)
    with pytest.raises(StaleStore, match="sharedllm store accept"):
        open_store(path)
    assert path.read_bytes() == backup
    ((accepted, found, noted),) = accept_store(path)
    assert (accepted, noted - found) == (path, 2)
    with open_store(path) as store:
        assert store.served("alice").number == 1
        store.publish("alice", adapter(3), BETTER)
    with open_store(path) as store:
        assert store.served("alice").number == 2


@pytest.mark.parametrize("left", [0, 100, 4096, 20_000])
def test_a_file_that_was_cut_off_is_never_a_new_store(path, left):
    with open_store(path) as store:
        store.publish("alice", large(1), BETTER)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises((StaleStore, CorruptStore)), open_store(path) as store:
        store.served("alice")


def test_a_store_that_was_deleted_is_begun_anew(path):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
    path.unlink()
    with open_store(path) as store:
        assert list(store.users()) == []
    open_store(path).close()


def test_a_damaged_mark_is_refused_and_can_be_accepted(path):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
    mark = path.with_name("store.db-mark")
    for data in (b"7", b"\xff" * 86, mark.read_bytes().replace(b"0", b"1", 1), b"-" + mark.read_bytes()[1:]):
        mark.write_bytes(data)
        with pytest.raises(CorruptStore, match=r"store\.db-mark is damaged"):
            open_store(path)
        accept_store(path)
        open_store(path).close()


def test_a_store_without_a_mark_is_opened_and_gets_one(path):
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
    mark = path.with_name("store.db-mark")
    mark.unlink()
    with open_store(path) as store:
        store.publish("alice", adapter(), BETTER)
        mark.unlink()
        store.publish("alice", adapter(), BETTER)
    assert int(mark.read_bytes()[:20]) == 4


def test_marks_of_several_processes_never_fall(path):
    with open_store(path) as first, open_store(path) as second:
        for _ in range(3):
            first.publish("alice", adapter(), BETTER)
            second.publish("bob", adapter(), BETTER)
        mark = Watermark(str(path))
        mark.raise_to(2)
        assert mark.read() == 7
        mark.close()


def test_what_cannot_be_noted_is_told_and_not_taken_for_undone(path):
    with open_store(path) as store:
        with (
            patch.object(Watermark, "raise_to", side_effect=OSError(5, "Input/output error")),
            pytest.raises(OutcomeUnknown, match="was changed, and that could not be noted"),
        ):
            store.publish("alice", adapter(), BETTER)
        assert store.served("alice").number == 1


def test_accepting_what_is_in_no_file_is_refused(path):
    for where in (":memory:", "postgresql://nobody@localhost/nothing"):
        with pytest.raises(InvalidInput, match="not in a file"):
            accept_store(where)
    with pytest.raises(StoreError, match="There is no file"):
        accept_store(path)
    assert not path.exists()


# Reading where nothing can be written


def refuse_to_share(path, code):
    """What a connection meets where the file that readers share cannot be made."""
    error = sqlite3.OperationalError("refused")
    error.sqlite_errorcode = code
    return patch.object(sqlite, "_set_up", side_effect=error)


@pytest.mark.slow
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY])
@pytest.mark.parametrize("closed", [True, False])
def test_reads_need_no_room_on_the_disk(path, code, closed):
    if closed:
        with open_store(path) as store:
            store.publish("alice", adapter(), BETTER)
    else:
        killed(path, "store.publish('alice', adapter(1), better)")
    with refuse_to_share(path, code), open_store(path) as store, open_store(path) as other:
        for each in (store, other):
            assert each.served("alice").number == 1
            assert [user.user for user in each.users()] == ["alice"]
            with pytest.raises(StoreError):
                each.publish("alice", adapter(), BETTER)
    with open_store(path) as store:
        assert store.publish("alice", adapter(), BETTER).number == 2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser can become another")
def test_a_folder_that_is_read_only_is_read(tmp_path):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        with open_store(path) as store:
            store.publish("alice", adapter(), BETTER)
        for file in (*path.parent.iterdir(), path.parent):
            file.chmod(0o555 if file.is_dir() else 0o444)
        reader = python(
            # What has to be imported may be the superuser's.
            "open_store(arguments[0]).close()\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "with open_store(path) as store: print(store.served('alice').number)\n",
            path,
            tmp_path / "another.db",
        )
        printed, complaints = reader.communicate(timeout=60)
    assert (reader.returncode, printed) == (0, "1\n"), complaints
