"""A body that trickles is not waited for, whoever sends it."""

import asyncio

from sharedllm.http.bounds import Bounds
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
