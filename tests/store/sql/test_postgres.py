"""What only a server can get wrong: others who write at once, lost connections, restarts, refusals, traces."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event, Thread

import numpy as np
import pytest
import sqlalchemy as sa
from tests.store.samples import BETTER, WORSE, adapter, downgrade

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import (
    CorruptAdapter,
    CorruptStore,
    DiskFull,
    ErasedMeanwhile,
    InvalidInput,
    OutcomeUnknown,
    StoreBusy,
    StoreError,
    StoreUnreachable,
    UnknownUser,
)
from sharedllm.store import open_keys, open_store
from sharedllm.store.contract import KEPT_RELEASES
from sharedllm.store.sql.schema import HEAD, metadata


@pytest.fixture
def opened(address):
    """An empty store on the server."""
    with open_store(address) as store:
        yield store


@pytest.fixture
def impatient(monkeypatch):
    """Wait for a server that is away for an instant only."""
    monkeypatch.setattr("sharedllm.store.sql.postgres.PATIENCE_SECONDS", 0.2)


@contextmanager
def once(store, moment, act):
    """Call ``act`` with the connection when it is first about to commit, or to run a statement like ``moment``."""
    fired = []

    def listen(connection, *rest):
        if not fired and (moment == "commit" or moment in rest[1]):
            fired.append(moment)
            act(connection)

    sa.event.listen(store._database._engine, "commit" if moment == "commit" else "before_cursor_execute", listen)
    yield
    assert fired


def history(store, user):
    """What the history says happened: numbers without gaps, one event each, the served one the last that was chosen."""
    summary, events = store.user(user), store.events(user)
    numbers = list(range(1, summary.releases + 1))
    kept = [release.number for release in store.every_release(user)][::-1]
    assert kept == numbers[-KEPT_RELEASES:]
    assert sorted(event.number for event in events if event.kind in ("published", "held_back")) == numbers
    chosen = [event.number for event in events if event.kind in ("published", "rolled_back", "overridden")]
    assert summary.served == (chosen[-1] if chosen else None)
    return numbers


# Migrations


def test_the_migrations_make_the_schema_that_queries_expect(address):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    open_store(address).close()
    with sa.create_engine(address.replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert context.get_current_heads() == (HEAD,)
        assert compare_metadata(context, metadata) == []


def test_a_store_of_the_first_version_is_upgraded_and_loses_nothing(address):
    with open_store(address) as store:
        published = store.publish("alice", adapter(0.5), BETTER)
        with store._database._engine.begin() as connection:
            downgrade(connection, "store_0001")
    with open_store(address) as store, open_keys(address) as keys:
        assert store.served("alice").id == published.id
        assert keys.create(user="alice")[1] in list(keys.all())


def test_processes_that_make_the_same_store_at_once_all_succeed(address):
    together = Barrier(4)

    def work(turn):
        together.wait()
        with open_store(address) as store:
            return store.publish("alice", adapter(turn), BETTER).number

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(work, range(4))) == [1, 2, 3, 4]


def test_a_database_of_something_else_is_refused_and_left_alone(server, address):
    server.run("CREATE TABLE recipes (name text)", address=address)
    with pytest.raises(CorruptStore, match="something else: it holds recipes"):
        open_store(address)


def test_a_store_of_a_newer_version_is_refused(server, address):
    open_store(address).close()
    server.run("UPDATE alembic_version SET version_num = 'store_9999'", address=address)
    with pytest.raises(StoreError, match=r"schema 'store_9999'.* Use the newer version"):
        open_store(address)


# Others who write


@pytest.mark.slow
def test_stores_that_publish_and_roll_back_the_same_users_leave_a_history_without_gaps(address):
    def work(turn):
        with open_store(address) as store:
            for step in range(12):
                user = ("alice", "bob", "carol", "dave")[step % 4]
                store.publish(user, adapter(turn, step), BETTER if (turn + step) % 3 else WORSE)
                if step % 5 == 4:
                    store.rollback(user, 1, override_reason="a test")

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(work, range(5)))
    with open_store(address) as store:
        for user in ("alice", "bob", "carol", "dave"):
            numbers = history(store, user)
            assert len(numbers) == 15
            values = [tuple(store.release(user, number).adapter.values.tolist()) for number in numbers]
            assert len(set(values)) == 15


@pytest.mark.slow
def test_batches_of_the_same_people_in_opposite_orders_all_arrive(address):
    people = [f"user-{number}" for number in range(40)]
    together = Barrier(2)

    def work(order):
        with open_store(address) as store:
            for turn in range(4):
                together.wait()
                store.publish_many((user, adapter(turn), BETTER) for user in people[::order])

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, (1, -1)))
    with open_store(address) as store:
        assert all(len(history(store, user)) == 8 for user in people)


def test_a_writer_that_waits_too_long_is_told_so_and_readers_never_wait(address, opened, monkeypatch):
    import psycopg

    monkeypatch.setattr("sharedllm.store.sql.postgres.LOCK_SECONDS", 0.1)
    for user in ("alice", "bob"):
        opened.publish(user, adapter(), BETTER)
    with psycopg.connect(address) as other:
        other.execute("SELECT * FROM users WHERE id = 'alice' FOR UPDATE")
        with pytest.raises(StoreBusy, match=r"Somebody else has been changing the same users .* Try again"):
            opened.publish("alice", adapter(), BETTER)
        assert opened.served("alice").number == 1
        assert opened.publish("bob", adapter(), BETTER).number == 2
    assert opened.publish("alice", adapter(), BETTER).number == 2


def test_a_user_erased_while_others_publish_begins_anew(address):
    with open_store(address) as store, open_store(address) as other:
        ids = {store.publish("alice", adapter(), BETTER).id}
        done = Event()

        def publish():
            while not done.is_set():
                ids.add(other.publish("alice", adapter(), BETTER).id)

        publisher = Thread(target=publish)
        publisher.start()
        erased = sum(store.erase("alice").releases for _ in range(5) if _exists(store, "alice"))
        done.set()
        publisher.join()
        left = len(history(store, "alice")) if _exists(store, "alice") else 0
    assert erased + left == len(ids)


def _exists(store, user):
    try:
        store.user(user)
    except UnknownUser:
        return False
    return True


# Lost connections


def test_a_reader_whose_connection_was_ended_does_not_notice(server, opened):
    opened.publish("alice", adapter(0.5), BETTER)
    assert opened.served("alice").number == 1
    server.disconnect()
    assert opened.served("alice").number == 1
    server.disconnect()
    assert len(opened.releases("alice")) == 1
    everybody = opened.users()
    server.disconnect()
    assert [each.user for each in everybody] == ["alice"]


@pytest.mark.parametrize("moment", ["UPDATE users", "INTO releases", "INTO events", "pg_current_xact_id", "commit"])
def test_a_change_cut_off_before_it_was_committed_is_made_once(server, opened, moment):
    opened.publish("alice", adapter(1), BETTER)
    with once(opened, moment, lambda _: server.disconnect()):
        assert opened.publish("alice", adapter(2), BETTER).number == 2
    assert history(opened, "alice") == [1, 2]


@pytest.mark.parametrize("publish", ["one", "many"])
def test_a_change_cut_off_after_it_was_committed_is_not_made_again(opened, publish):
    def commit_and_hang_up(connection):
        driver = connection.connection.driver_connection
        driver.commit()
        driver.close()

    opened.publish("alice", adapter(1), BETTER)
    with once(opened, "commit", commit_and_hang_up):
        if publish == "one":
            assert opened.publish("alice", adapter(2), BETTER).number == 2
        else:
            assert [each.number for each in opened.publish_many([("alice", adapter(2), BETTER)])] == [2]
    assert history(opened, "alice") == [1, 2]


@pytest.mark.slow
def test_a_change_whose_outcome_nobody_can_tell_is_an_error_that_says_so(server, opened, impatient):
    opened.publish("alice", adapter(1), BETTER)
    try:
        with (
            once(opened, "commit", lambda _: server.crash()),
            pytest.raises(OutcomeUnknown, match=r"may have happened or not\. Look at the user's history"),
        ):
            opened.publish("alice", adapter(2), BETTER)
        with pytest.raises(StoreUnreachable, match=r"No such file|refused"):
            opened.served("alice")
    finally:
        server.start()
    assert history(opened, "alice") in ([1], [1, 2])


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_the_server_crashes_and_comes_back(server, opened):
    going = Event()
    confirmed = []
    users = [f"user {number}" for number in range(10)]

    def publish():
        for turn in range(200):
            confirmed.append(opened.publish(users[turn % 10], adapter(turn), BETTER).number)
            if turn == 20:
                going.set()

    with ThreadPoolExecutor(1) as threads:
        publisher = threads.submit(publish)
        going.wait(30)
        server.crash()
        server.start()
        publisher.result(60)
    assert confirmed == [1 + turn // 10 for turn in range(200)]
    for place, user in enumerate(users):
        assert history(opened, user) == list(range(1, 21))
        assert [opened.release(user, 1 + turn).adapter.values[0] for turn in range(20)] == [*range(place, 200, 10)]


def test_a_change_is_on_the_disk_even_where_the_server_would_not_wait_for_that(address):
    seen = []
    with open_store(address + "%20-csynchronous_commit%3Doff") as store:
        engine = store._database._engine
        ask = sa.text("SELECT current_setting('synchronous_commit')")
        sa.event.listen(engine, "commit", lambda connection: seen.append(connection.scalar(ask)))
        store.publish("alice", adapter(), BETTER)
    assert seen == ["on"]


@pytest.mark.slow
def test_an_erasure_waits_for_a_release_that_is_being_published_and_then_removes_it(address):
    with open_store(address) as publishing, open_store(address) as erasing, ThreadPoolExecutor(1) as threads:
        stay = publishing.begin(["alice"])["alice"]
        erasures = []

        def inserting(connection, cursor, statement, *_):
            if "INTO users" in statement and not erasures:
                erasures.append(threads.submit(erasing.erase, "alice"))
                with pytest.raises(TimeoutError):
                    erasures[0].result(0.5)

        sa.event.listen(publishing._database._engine, "before_cursor_execute", inserting)
        publishing.publish("alice", adapter(), BETTER, stay)
        assert erasures[0].result(30).releases == 1
        assert list(publishing.users()) == []
        with pytest.raises(ErasedMeanwhile):
            publishing.publish("alice", adapter(), BETTER, stay)


# Refusals


def refusal(address, kind=StoreUnreachable):
    with pytest.raises(kind) as refused:
        open_store(address)
    return str(refused.value)


def test_a_server_that_is_not_there_is_refused_at_once(tmp_path):
    said = refusal(f"postgresql://me:hush@/db?host={tmp_path}&password=hush")
    assert said.startswith("postgresql://me:***@/db?host=")
    assert "No such file" in said
    assert "Check the host and the port, and that the server is running" in said
    assert "hush" not in said


def test_a_database_that_does_not_exist_is_named(server):
    said = refusal(server.address(database="nowhere"))
    assert 'database "nowhere" does not exist. Make the database with createdb' in said


def test_an_unknown_user_of_the_database_is_named(server):
    assert 'role "nobody" does not exist. Make the user with createuser' in refusal(server.address(user="nobody"))


def test_a_wrong_password_is_never_printed(server):
    server.run("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    rules = server.folder / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all guarded scram-sha-256\n" + before)
    server.run("SELECT pg_reload_conf()")
    try:
        said = refusal(server.address(user="guarded:hush"))
    finally:
        rules.write_text(before)
        server.run("SELECT pg_reload_conf()")
    assert "password authentication failed" in said
    assert "PGPASSWORD" in said
    assert "hush" not in said


@pytest.mark.parametrize("address", ["postgresql://me:hu@sh@host/db", "postgresql://me:hush@host:port/db"])
def test_an_address_that_cannot_be_read_is_not_quoted(address):
    said = refusal(address, InvalidInput)
    assert "%40 for an @" in said
    assert "sh@" not in said


def test_a_server_that_takes_no_more_connections_is_busy(server, impatient):
    server.run("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    said = refusal(server.address(user="crowded"), StoreBusy)
    assert "too many connections" in said
    assert "raise its max_connections" in said


def test_a_full_disk_is_called_that_and_keeps_what_there_was(server, address, opened):
    opened.publish("alice", adapter(), BETTER)
    server.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
        "CREATE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()",
        address=address,
    )
    with pytest.raises(DiskFull, match=r"no room left to write\. Free some space there"):
        opened.publish("alice", adapter(), BETTER)
    assert history(opened, "alice") == [1]


def test_a_standby_is_read_and_not_written(server, address, opened):
    opened.publish("alice", adapter(), BETTER)
    with open_store(address + "%20-cdefault_transaction_read_only%3Don") as standby:
        assert standby.served("alice").number == 1
        with pytest.raises(StoreError, match=r"is read-only\. Name the primary server"):
            standby.publish("alice", adapter(), BETTER)


def test_a_user_of_the_database_who_may_do_nothing_is_told_so(server, address, opened):
    schema = address.rpartition("%3D")[2]
    server.run("CREATE ROLE guest LOGIN")
    guest = address.replace("postgres@", "guest@")
    assert "does not allow that: no schema" in refusal(guest, StoreError)
    server.run(f"GRANT USAGE ON SCHEMA {schema} TO guest")
    assert "does not allow that: permission denied" in refusal(guest, StoreError)


def test_a_database_that_cannot_hold_every_id_is_refused(server):
    server.run("CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    said = refusal(server.address(database="latin"), StoreError)
    assert "latin holds text in LATIN1" in said
    assert "--encoding=UTF8" in said


def test_damage_is_noticed(server, address, opened):
    opened.publish("alice", adapter(), BETTER)
    server.run("UPDATE releases SET deviations = '\\x0140'", address=address)
    with pytest.raises(CorruptAdapter, match="Release 1 of 'alice' is damaged"):
        opened.served("alice")


@pytest.mark.slow
def test_more_threads_than_connections_wait_their_turn(opened):
    opened.publish("alice", adapter(), BETTER)
    with ThreadPoolExecutor(40) as threads:
        assert {release.number for release in threads.map(opened.served, ["alice"] * 200)} == {1}


# Erasure


@pytest.mark.slow
def test_erasure_leaves_nothing_to_be_read_and_after_a_rewrite_no_byte_in_the_tables(server, address, opened):
    user = "alice ⁂ the one who leaves"
    mine = adapter(*np.random.default_rng(7).normal(0, 0.01, 3000), trace="c0ffee" * 10)
    others = [f"user-{number}" for number in range(300)]
    opened.publish_many((other, adapter(number), BETTER) for number, other in enumerate(others[:150]))
    stay = opened.begin([user])[user]
    for _ in range(3):
        opened.publish(user, mine, GateOutcome(True, "improved by 3.14159", {}), stay)
    opened.publish_many((other, adapter(number), BETTER) for number, other in enumerate(others[150:]))
    opened.revoke(user, "she asked to be forgotten")
    with open_keys(address) as keys:
        secret, _ = keys.create(user=user, label="a label of hers")
    blob = mine.values.astype("<f2").tobytes()
    traces = [user.encode(), b"3.14159", b"c0ffee", b"forgotten", b"a label of hers"]
    traces += [hashlib.sha256(each.encode()).digest() for each in (user, secret)]
    traces += [release.id.encode() for release in opened.releases(user)]
    traces += [blob[start : start + 16] for start in range(0, len(blob) - 16, 500)]
    # Statistics take samples of the columns, which must not outlive the rows.
    server.run("ANALYZE", "CHECKPOINT", address=address)
    there = tables(server)
    assert all(trace in there for trace in traces)

    opened.note_erasure(user, [])
    erased = opened.erase(user)
    assert (erased.releases, erased.events, erased.keys) == (3, 4, 1)
    opened.keep_receipt(user, {"id": "1"})
    for table in metadata.tables:
        assert user not in str(server.run(f"SELECT * FROM {table}", address=address))
    server.run("VACUUM FULL users, releases, events, keys, stays, erasures", "CHECKPOINT", address=address)
    there = tables(server)
    assert not [trace for trace in traces if trace in there]
    assert [each.user for each in opened.users()] == others


def tables(server):
    """All bytes of the server's tables, indexes and statistics; its log of changes is something else."""
    return b"".join(file.read_bytes() for file in sorted((server.folder / "base").rglob("*")) if file.is_file())
