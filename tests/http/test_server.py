"""A real socket: slow clients are let go, and the end of the process leaves no answer broken."""

import signal
import socket
import sys
import threading
import time

import httpx
import pytest
from tests.http.conftest import FakeEngine, connected, until_closed

from sharedllm.errors import InvalidInput, ServingError
from sharedllm.http import server as server_module
from sharedllm.http.listen_address import listen
from sharedllm.http.server import serve
from sharedllm.http.service import Service

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.slow
def test_a_head_that_never_ends_is_cut_off_however_slowly_it_trickles(listening, monkeypatch):
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 0.3)
    address, *_ = listening()
    with connected(address) as silent, connected(address) as slow:
        slow.sendall(HEAD)
        assert until_closed(silent) == b""
        assert until_closed(slow) == b""


@pytest.mark.slow
def test_a_body_that_does_not_arrive_is_408_and_the_connection_ends(listening):
    address, *_ = listening(body_seconds=0.3)
    with connected(address) as slow:
        slow.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        answer = until_closed(slow)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"error"' in answer


@pytest.mark.slow
def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(listening):
    address, *_ = listening(body_bytes=1000)
    with connected(address) as big:
        big.sendall(HEAD + b"Content-Length: 10000000\r\n\r\n")
        assert until_closed(big).startswith(b"HTTP/1.1 413")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/completions", "/nowhere"])
def test_a_client_that_sends_ten_megabytes_sees_why_they_were_refused(listening, path):
    address, *_ = listening()
    response = httpx.post(address + path, content=b"x" * 10_000_000, headers={"Content-Type": "application/json"})
    assert response.status_code == (413 if path != "/nowhere" else 404)


@pytest.mark.slow
def test_a_client_that_goes_away_while_it_sends_is_not_the_servers_error(listening):
    address, *_ = listening()
    with connected(address) as gone:
        gone.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    deadline = time.monotonic() + 20
    while 'endpoint="/v1/completions"' not in (metrics := httpx.get(f"{address}/metrics", timeout=20).text):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert 'endpoint="/v1/completions",route="none",status="499"' in metrics


@pytest.mark.slow
def test_a_connection_that_is_used_again_is_not_cut_off(listening, monkeypatch):
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 0.3)
    address, *_ = listening()
    with httpx.Client(base_url=address) as client:
        for _ in range(2):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.4)


@pytest.mark.slow
def test_without_keys_only_the_loopbacks_own_names_are_answered(listening):
    address, *_ = listening()
    assert httpx.get(f"{address}/healthz", headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(f"{address}/healthz").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_without_keys_the_server_does_not_leave_the_machine(published, host):
    with pytest.raises(InvalidInput, match="Without keys"):
        serve(Service(FakeEngine(published.base), published.store), host, 0)


@pytest.mark.slow
def test_at_the_end_the_engine_is_drained_and_a_running_answer_is_completed(listening, published):
    engine = FakeEngine(published.base)
    engine.held = True
    engine.delivers = []
    answer = engine.answer

    def kept(request, deliver):
        engine.delivers.append(lambda: answer(request, deliver))

    def drain(seconds):
        engine.held = False
        for each in engine.delivers:
            each()

    engine.answer, engine.drain = kept, drain
    address, service, server, thread = listening(engine)
    answers = []

    def ask():
        body = {"model": service.model, "prompt": "hi", "user": "alice"}
        answers.append(httpx.post(f"{address}/v1/completions", json=body, timeout=20))

    asking = threading.Thread(target=ask)
    asking.start()
    while not engine.delivers:
        time.sleep(0.01)
    server.handle_exit(signal.SIGTERM, None)
    asking.join()
    thread.join()
    assert service.draining
    assert answers[0].status_code == 200
    assert answers[0].json()["choices"][0]["text"].startswith("abc")


@pytest.mark.slow
def test_after_sigterm_it_says_that_it_will_end_while_it_still_answers_and_only_then_closes(listening):
    address, service, server, thread = listening(notice_seconds=1.0)
    assert httpx.get(f"{address}/readyz").status_code == 200
    server.handle_exit(signal.SIGTERM, None)
    noticed = httpx.get(f"{address}/readyz")
    assert (noticed.status_code, noticed.json()["reasons"]) == (503, ["shutting down"])
    body = {"model": service.model, "prompt": "hi", "user": "alice"}
    assert httpx.post(f"{address}/v1/completions", json=body).status_code == 200
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/readyz")


@pytest.mark.slow
def test_what_it_holds_is_moved_to_large_pages_once_it_takes_connections(listening, monkeypatch):
    moved = threading.Event()
    monkeypatch.setattr(server_module, "move_to_huge_pages", moved.set)
    listening()
    assert moved.wait(20)


@pytest.mark.slow
def test_an_interrupt_gives_no_notice(listening):
    *_, server, thread = listening(notice_seconds=600)
    server.handle_exit(signal.SIGINT, None)
    thread.join(20)
    assert not thread.is_alive()


def test_an_address_that_a_name_has_and_the_machine_has_not_is_left_out(monkeypatch):
    here, elsewhere = ("127.0.0.1", 0), ("192.0.2.1", 0)
    of = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(*of, elsewhere), (*of, here)])
    (listener,) = listen("both", 0)
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(*of, elsewhere)])
    with pytest.raises(ServingError, match="no such address"):
        listen("neither", 0)


@pytest.mark.slow
def test_threads_give_way_to_the_engines_while_it_serves(listening):
    before = sys.getswitchinterval()
    _, _, server, thread = listening()
    assert sys.getswitchinterval() == pytest.approx(server_module.TURN_SECONDS)
    server.should_exit = True
    thread.join()
    assert sys.getswitchinterval() == before
