"""Whoever holds connections, sends halves of bodies or reads no answers holds up nobody else."""

import contextlib
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed, wait
from itertools import islice
from types import SimpleNamespace

import httpx
import pytest
from tests.http.conftest import FakeEngine, connected, until_closed

from sharedllm.http import connections as connections_module
from sharedllm.http import off_loop as turns_module
from sharedllm.http import server as server_module
from sharedllm.http.connections import Connections, connections_at_most
from sharedllm.http.identity import USER_HEADER
from sharedllm.http.listen_address import network_of
from sharedllm.http.metrics import Metrics

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Held:
    """A connection."""

    def __init__(self, *, waits=True):
        self.waits, self.unsent, self.aborted = waits, 0, False

    def abort(self):
        self.aborted = True


def open_some(connections, *hosts, waits=True):
    held = [Held(waits=waits) for _ in hosts]
    assert all(list(map(connections.add, held, hosts)))
    return held


def aborted(held):
    return [each.aborted for each in held]


def test_an_address_has_half_of_the_room_and_its_own_oldest_gives_way():
    connections = Connections(8, 60)
    theirs, others = open_some(connections, *["a"] * 4), open_some(connections, *["b"] * 3)
    connections.heard(theirs[0])
    open_some(connections, "a")
    assert aborted(theirs) == [False, True, False, False]
    assert not any(aborted(others))
    assert len(connections) == 7


def test_where_there_is_no_room_at_all_whoever_has_most_gives_way():
    connections = Connections(8, 60)
    few, many = open_some(connections, "b", "c", "d", "e"), open_some(connections, *["a"] * 4)
    open_some(connections, "f")
    assert aborted(many) == [True, False, False, False]
    assert not any(aborted(few))


def test_what_is_being_answered_does_not_give_way():
    connections = Connections(8, 60)
    busy, idle = open_some(connections, *["a"] * 3, waits=False), open_some(connections, "a")
    open_some(connections, "a", waits=False)
    assert aborted(busy + idle) == [False, False, False, True]
    assert not connections.add(Held(), "a")
    assert len(connections) == 4


def test_what_has_ended_makes_room_and_may_end_twice():
    connections = Connections(2, 60)
    (first,) = open_some(connections, "a")
    for _ in range(2):
        connections.remove(first)
    connections.heard(first)
    open_some(connections, "a")
    assert not first.aborted


def test_what_is_refused_is_counted_and_told_now_and_then(caplog, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(connections_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    connections = Connections(2, 60)
    open_some(connections, "a", waits=False)
    for _ in range(500):
        connections.add(Held(), "a")
    clock[0] += 61
    connections.sweep()
    assert [record.msg["refused"] for record in caplog.records] == [1, 499]


def test_an_answer_that_nobody_takes_is_given_up_and_one_that_is_taken_slowly_is_not(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(connections_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    connections = Connections(8, 60)
    unread, slow, quick = open_some(connections, "a", "b", "c")
    unread.unsent, slow.unsent, quick.unsent = 200_000, 200_000, 200_000
    for _ in range(3):
        connections.sweep()
        assert not any(aborted([unread, slow, quick]))
        clock[0] += 20
        slow.unsent, quick.unsent = slow.unsent - 20_000, 0
    connections.sweep()
    assert aborted([unread, slow, quick]) == [True, False, False]


def test_answers_that_nobody_takes_are_bounded_together(monkeypatch):
    monkeypatch.setattr(connections_module, "UNSENT_BYTES", 1000)
    connections = Connections(8, 60)
    first, second, third = held = open_some(connections, "a", "a", "a")
    first.unsent = second.unsent = 400
    connections.sweep()
    third.unsent = 400
    connections.sweep()
    assert aborted(held) == [True, False, False]


def test_an_ipv6_customer_is_one_address():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1" == network_of("192.0.2.1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")


@pytest.mark.parametrize(
    ("soft", "hard", "most"), [(1024, 1024, 768), (100, 100, 50), (1024, 2304, 2048), (-1, -1, 2048)]
)
def test_as_many_connections_as_there_may_be_open_files(monkeypatch, soft, hard, most):
    limits = []
    monkeypatch.setattr(connections_module.resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(connections_module.resource, "setrlimit", lambda which, limit: limits.append(limit))
    assert connections_at_most() == most
    assert all(asked <= hard for asked, _ in limits)


@pytest.fixture
def small(listening, monkeypatch):
    """A server that has room for eight connections, of which an address has four."""
    monkeypatch.setattr(server_module, "connections_at_most", lambda: 8)
    monkeypatch.setattr(server_module, "SWEEP_SECONDS", 0.05)
    return listening


def soon(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_idle_connections_keep_nobody_out(small):
    address, _, server, _ = small()
    with contextlib.ExitStack() as idle:
        for _ in range(30):
            idle.enter_context(connected(address))
        for _ in range(3):
            assert httpx.get(f"{address}/healthz", timeout=20).status_code == 200
        assert len(server.server_state.connections) <= 4


@pytest.mark.slow
def test_heads_and_bodies_that_never_end_keep_nobody_out_and_end_no_answer(small, published):
    engine = FakeEngine(published.base)
    answer, may = engine.answer, threading.Event()
    engine.answer = lambda *asked: (may.wait(60), answer(*asked))
    address, service, *_ = small(engine)
    told = []

    def ask():
        body = {"model": service.model, "prompt": "hi", "user": "alice"}
        told.append(httpx.post(f"{address}/v1/completions", json=body, timeout=60).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    soon(lambda: engine.requests)
    with contextlib.ExitStack() as halves:
        for number in range(20):
            half = halves.enter_context(connected(address))
            half.sendall(HEAD + (b"Content-Length: 100\r\n\r\n{" if number % 2 else b""))
        assert httpx.get(f"{address}/healthz", timeout=20).status_code == 200
        may.set()
        asking.join(60)
    assert told == [200]


@pytest.mark.slow
def test_what_waits_of_one_user_does_not_take_all_connections_of_an_address(small, published, monkeypatch):
    monkeypatch.setattr(turns_module, "WAITING_PER_OWNER", 1, raising=False)
    engine = FakeEngine(published.base)
    submit, may = engine.submit, threading.Event()
    engine.submit = lambda *asked: (may.wait(60), submit(*asked))[-1]
    address, service, *_ = small(engine)

    def ask(_):
        body = {"model": service.model, "prompt": "hi"}
        headers = {USER_HEADER: "alice"}
        return httpx.post(f"{address}/v1/completions", json=body, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(4) as threads:
        hers = [threads.submit(ask, number) for number in range(4)]
        refused = wait(hers, 20, FIRST_COMPLETED).done
        answered = httpx.get(f"{address}/healthz", timeout=20).status_code
        may.set()
    assert {each.result() for each in refused} == {429}
    assert answered == 200
    assert sorted({each.result() for each in hers}) == [200, 429]


@pytest.mark.slow
def test_where_everybody_is_being_answered_a_new_connection_is_told_to_come_back(small, published):
    engine = FakeEngine(published.base)
    engine.held = True
    address, service, *_ = small(engine)
    body = b'{"model": "%s", "prompt": "hi", "user": "alice"}' % service.model.encode()
    with contextlib.ExitStack() as asking:
        for _ in range(4):
            asked = asking.enter_context(connected(address))
            asked.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        soon(lambda: len(engine.requests) == 4)
        with connected(address) as late:
            answer = until_closed(late)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1" in answer
    assert b'"too_many_connections"' in answer


@pytest.mark.slow
def test_of_requests_that_are_sent_ahead_only_the_first_is_answered(small):
    address, service, *_ = small()
    body = b'{"model": "%s", "prompt": "hi", "user": "alice"}' % service.model.encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connected(address) as pipelining:
        pipelining.sendall(request * 50)
        answer = until_closed(pipelining)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in answer.lower()
    assert len(service.engine.requests) == 1


@pytest.mark.slow
def test_an_answer_that_nobody_reads_ends_with_its_connection(small, monkeypatch):
    monkeypatch.setattr(Metrics, "text", lambda self: b"#" * 20_000_000)
    address, _, server, _ = small(send_seconds=0.3)
    with connected(address) as deaf:
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # What is counted stays counted, also where the connection ends before anybody looks.
        soon(lambda: server.server_state.total_requests)
        soon(lambda: not server.server_state.connections and not server.server_state.tasks)


@pytest.mark.slow
def test_halves_of_bodies_take_bounded_memory_and_hold_up_nobody(small):
    address, service, *_ = small(bodies_bytes=1_000_000)
    body = {"model": service.model, "prompt": "hi", "user": "alice"}
    with contextlib.ExitStack() as opened, ThreadPoolExecutor(3) as threads:
        halves = [opened.enter_context(connected(address)) for _ in range(3)]
        for half in halves:
            half.sendall(HEAD + b"Content-Length: 4000000\r\n\r\n" + b"[" * 400_000)
        ends = [threads.submit(until_closed, half) for half in halves]
        # Each has more than half of what an address may hold, so all but one give way, whichever of them paused first.
        assert len(list(islice(as_completed(ends, 20), 2))) == 2
        assert httpx.post(f"{address}/v1/completions", json=body, timeout=20).status_code == 200
        # This one is refused for what is in it, and the last half has given way to it.
        long = httpx.post(f"{address}/v1/completions", json=body | {"stop": "x" * 300_000}, timeout=20)
        assert long.status_code == 400
        for answer in (each.result(20) for each in ends):
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"too_many_bodies" in answer


@pytest.mark.slow
def test_many_long_bodies_at_once_are_answered_or_told_to_come_back(small, monkeypatch):
    monkeypatch.setattr(server_module, "connections_at_most", lambda: 200)
    address, service, *_ = small(bodies_bytes=1_000_000)
    body = {"model": service.model, "prompt": "hi", "user": "alice", "stop": "x" * 300_000}

    def ask(_):
        return httpx.post(f"{address}/v1/completions", json=body, timeout=60).status_code

    with ThreadPoolExecutor(40) as threads:
        statuses = list(threads.map(ask, range(80)))
    # It is refused for what is in it, once there is room for it.
    assert set(statuses) <= {400, 503}
    assert 400 in statuses


@pytest.mark.slow
def test_a_body_in_ever_so_many_chunks_is_not_read_and_one_in_many_is(small):
    address, *_ = small()
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    with connected(address) as many:
        many.sendall(chunked + b"1\r\n[\r\n" * 4000 + b"0\r\n\r\n")
        answer = many.recv(4096)
        # The head may come by itself.
        assert b"invalid_json" in answer or b"invalid_json" in many.recv(4096)
    with connected(address) as too_many, contextlib.suppress(ConnectionError):
        too_many.sendall(chunked + b"1\r\n[\r\n" * 50_000)
        assert b"Invalid HTTP request" in until_closed(too_many)
    assert httpx.get(f"{address}/healthz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", [b"/v1/completions", b"/nowhere"])
def test_what_is_not_http_ends_its_connection_whatever_was_answered_before(small, caplog, path):
    address, _, server, _ = small()
    with connected(address) as client:
        client.sendall(b"POST " + path + HEAD[20:] + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\nno chunk\r\n")
        assert until_closed(client).startswith(b"HTTP/1.1 4")
    soon(lambda: not server.server_state.tasks)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.rare
def test_a_server_with_few_open_files_answers_beside_more_idle_connections_than_it_has(
    tmp_path, folder_of, monkeypatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    command = ["serve", "--port", "0", "--base", folder_of("llama"), "--store", str(tmp_path / "store.db")]
    command += ["--insecure-no-auth", "--notice-seconds", "0"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            ["sh", "-c", 'ulimit -n 256; exec "$0" "$@"', sys.executable, "-m", "sharedllm", *command],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        line = process.stdout.readline()
        assert line, (tmp_path / "log").read_text()
        address = line.split(" at ")[1].split("/v1")[0]
        with contextlib.ExitStack() as idle:
            for number in range(600):
                idle.enter_context(connected(address))
                if not number % 100:
                    began = time.monotonic()
                    assert httpx.get(f"{address}/readyz", timeout=20).status_code == 200
                    assert time.monotonic() - began < 15
        process.terminate()
        assert process.wait(60) == 0
        assert (tmp_path / "log").stat().st_size < 10_000
    finally:
        process.kill()
        process.communicate()
