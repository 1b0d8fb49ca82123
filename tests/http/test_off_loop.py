"""Work before the engine's queue: one piece of everybody's at a time, whoever has how many waiting."""

import asyncio
import threading

import httpx
import pytest
from anyio import to_thread

from sharedllm.http import off_loop as turns_module
from sharedllm.http.off_loop import Turns


class Work:
    """Pieces of work that end when they are told to."""

    def __init__(self):
        self.begun, self.may = [], threading.Event()

    def of(self, owner):
        def work():
            self.begun.append(owner)
            assert self.may.wait(60)
            return owner

        return work


async def until(true):
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.005)


def test_each_owner_has_one_piece_under_way_and_the_others_theirs():
    async def run():
        turns, work = Turns(), Work()
        flood = [asyncio.create_task(turns.run("alice", work.of("alice"))) for _ in range(40)]
        others = [asyncio.create_task(turns.run(name, work.of(name))) for name in ("bob", "carol")]
        await until(lambda: len(work.begun) == 3)
        assert sorted(work.begun) == ["alice", "bob", "carol"]
        work.may.set()
        assert await asyncio.gather(*flood, *others) == ["alice"] * 40 + ["bob", "carol"]

    asyncio.run(run())


def test_owners_take_turns_where_there_are_more_than_threads(monkeypatch):
    monkeypatch.setattr(turns_module, "THREADS", 1)

    async def run():
        turns, work = Turns(), Work()
        tasks = [asyncio.create_task(turns.run(name, work.of(name))) for name in ("a", "a", "a", "b", "b", "c")]
        await until(lambda: work.begun == ["a"])
        work.may.set()
        await asyncio.gather(*tasks)
        assert work.begun == ["a", "a", "b", "c", "a", "b"]

    asyncio.run(run())


def test_what_fails_or_is_given_up_makes_room_for_the_next():
    def fail():
        raise ValueError("no")

    async def run():
        turns, work = Turns(), Work()
        held = asyncio.create_task(turns.run("alice", work.of("held")))
        await until(lambda: work.begun)
        given_up = asyncio.create_task(turns.run("alice", work.of("given up")))
        failing = asyncio.create_task(turns.run("alice", fail))
        last = asyncio.create_task(turns.run("alice", work.of("last")))
        await asyncio.sleep(0)
        given_up.cancel()
        work.may.set()
        assert await held == "held"
        with pytest.raises(ValueError, match="no"):
            await failing
        assert await last == "last"
        assert work.begun == ["held", "last"]

    asyncio.run(run())


def test_one_who_floods_with_long_prompts_delays_nobody_else(serving, published, monkeypatch):
    server = serving()
    encoding, encode, may = [], type(published.base).encode, threading.Event()

    def slow(self, text):
        encoding.append(text)
        if text == "long":
            assert may.wait(60)
        return encode(self, text)

    monkeypatch.setattr(type(published.base), "encode", slow)

    async def run():
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", timeout=60) as client:

            def ask(user, prompt):
                asked = {"model": server.model, "prompt": prompt, "max_tokens": 1}
                headers = dict(getattr(server, user).headers)
                return asyncio.create_task(client.post("/v1/completions", json=asked, headers=headers))

            flood = [ask("alice", "long") for _ in range(40)]
            try:
                await until(lambda: encoding)
                answers = [await ask(user, "short") for user in ("bob", "service", "bob")]
                assert encoding.count("long") == 1
            finally:
                may.set()
            return [each.status_code for each in answers], {(await each).status_code for each in flood}

    answers, flood = asyncio.run(run())
    # The service has named nobody.
    assert (answers, flood) == ([200, 400, 200], {200})


def test_one_who_has_much_looked_up_keeps_nobody_from_being_authenticated(serving, published, monkeypatch):
    server = serving()
    looking, releases, may = [], published.store.releases, threading.Event()

    def slow(user, **page):
        looking.append(user)
        assert may.wait(60)
        return releases(user, **page)

    monkeypatch.setattr(published.store, "releases", slow)

    async def run():
        to_thread.current_default_thread_limiter().total_tokens = 1
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", timeout=60) as client:
            theirs = {"headers": dict(server.alice.headers)}
            flood = [asyncio.create_task(client.get("/v1/users/alice", **theirs)) for _ in range(20)]
            try:
                await until(lambda: looking)
                async with asyncio.timeout(20):
                    models = await client.get("/v1/models", headers=dict(server.bob.headers))
                assert looking == ["alice"]
            finally:
                may.set()
            return models.status_code, {(await each).status_code for each in flood}

    assert asyncio.run(run()) == (200, {200})


def test_of_a_text_that_does_not_fit_no_more_is_encoded_than_shows_it(serving, published, monkeypatch):
    server = serving()
    tokens = published.base.tokens
    encoded, encode = [], type(tokens).encode
    monkeypatch.setattr(tokens, "longest", 1000)
    noted = lambda self, text, **how: encoded.append(len(text)) or encode(self, text, **how)  # noqa: E731
    monkeypatch.setattr(type(tokens), "encode", noted)
    error = server.alice.post("/v1/completions", json={"model": server.model, "prompt": "a" * 500_000}).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert encoded == [8 * 512]


def test_a_text_of_many_characters_and_few_tokens_is_answered(serving, published, monkeypatch):
    server = serving()
    tokens = published.base.tokens
    monkeypatch.setattr(tokens, "longest", 1000)
    monkeypatch.setattr(type(tokens), "encode", lambda self, text, **_: [5] * (len(text) // 100))
    asked = {"model": server.model, "prompt": "a" * 40_000, "max_tokens": 1}
    assert server.alice.post("/v1/completions", json=asked).status_code == 200
