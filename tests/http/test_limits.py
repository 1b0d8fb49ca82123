"""A body that trickles is not waited for, whoever sends it, and long ones of one sender leave room for others'."""

import asyncio
import threading
import traceback
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import httpx
import pytest
from tests.http.conftest import FakeEngine

from sharedllm.http.error_responses import Refused
from sharedllm.http.identity import USER_HEADER
from sharedllm.http.limits import Bounds
from sharedllm.http.service import Policy

PIECES = 3_000


def test_a_refusal_does_not_wait_for_a_body_that_trickles_on_and_on():
    read, answered = [], []

    async def refusing(scope, receive, send):
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def trickle():
        await asyncio.sleep(0.001)
        read.append(1)
        return {"type": "http.request", "body": b"x", "more_body": len(read) < PIECES}

    async def send(message):
        answered.append(message["type"])

    scope = {"type": "http", "headers": [(b"content-length", b"4000000")]}
    # All the pieces together take 3 seconds at least, each of them much less than the pause that ends the reading.
    asyncio.run(Bounds(refusing, Policy(body_seconds=0.05))(scope, trickle, send))
    assert answered == ["http.response.start", "http.response.body"]
    assert 0 < len(read) < PIECES


def test_whoever_gives_way_while_still_sending_is_answered_once_all_has_come_and_none_of_it_is_kept():
    pieces, answered, kept, begun, gave_way = [], [], [], asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        try:
            await scope["body"].whole("alice")
        except Refused as refused:
            gave_way.set()
            frames = [frame for frame, _ in traceback.walk_tb(refused.__traceback__)]
            kept.extend(each for frame in frames for each in frame.f_locals.values() if isinstance(each, bytearray))
            await send({"type": "http.response.start", "status": refused.status, "headers": []})

    async def sending():
        await asyncio.sleep(0)
        begun.set()
        pieces.append(gave_way.is_set())
        return {
            "type": "http.request",
            "body": b"x" * 100_000 if len(pieces) == 1 else b"x",
            "more_body": sum(pieces) < 10,
        }

    async def another():
        await begun.wait()
        return {"type": "http.request", "body": b"x" * 200_000, "more_body": False}

    async def send(message):
        answered.append((message["status"], sum(pieces), message["headers"]))

    async def both():
        bounds, scope = (
            Bounds(app, Policy(bodies_bytes=300_000)),
            {"type": "http", "headers": [(b"transfer-encoding", b"chunked")]},
        )
        await asyncio.gather(bounds(dict(scope), sending, send), bounds(dict(scope), another, send))

    asyncio.run(both())
    assert answered == [(503, 10, [])]
    assert not any(kept)


@pytest.mark.slow
def test_long_bodies_of_one_user_keep_out_nobody_else_at_their_address(listening, published):
    begun, may = threading.Semaphore(0), threading.Event()
    engine = FakeEngine(published.base)
    submit = engine.submit
    engine.submit = lambda *asked: (begun.release(), may.wait(60), submit(*asked))[-1]
    address, service, *_ = listening(engine, bodies_bytes=1_000_000)
    body = b'{%s"model": "%s", "prompt": "hi"}' % (b" " * 300_000, service.model.encode())

    def ask(user):
        headers = {"Content-Type": "application/json", USER_HEADER: user}
        return httpx.post(f"{address}/v1/completions", content=body, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(5) as threads:
        hers = [threads.submit(ask, "alice") for _ in range(4)]
        begun.acquire(timeout=20)
        refused = wait(hers, 20, FIRST_COMPLETED).done
        his = threads.submit(ask, "bob")
        let_in = begun.acquire(timeout=20)
        may.set()
    assert {each.result() for each in refused} == {503}
    assert let_in
    assert his.result() == 200
