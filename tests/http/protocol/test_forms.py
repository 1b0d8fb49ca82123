"""What takes long to encode: refused before that where it cannot fit, and in nobody else's way."""

import asyncio
import threading

import httpx
import pytest
from anyio import to_thread

from sharedllm.base.tokens import Tokens

TEMPLATE = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}<s>"


@pytest.fixture
def unencoded(published, monkeypatch):
    """Encoding anything fails the test."""
    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE)

    def never(text, **_):
        raise AssertionError(f"{len(text)} characters were encoded")

    for encode in ("encode", "encode_framed"):
        monkeypatch.setattr(Tokens, encode, lambda self, text, *_, **__: never(text))


def refused(server, path, **asked):
    response = server.alice.post(path, json={"model": server.model, **asked})
    assert response.status_code == 400
    return response.json()["error"]


def test_a_text_with_more_characters_than_fit_as_the_longest_tokens_is_not_encoded(serving, unencoded):
    # The small base's longest token is <pad>, and its context has 512.
    error = refused(serving(), "/v1/completions", prompt="a" * (512 * 5 + 1))
    assert error["code"] == "context_length_exceeded"
    assert "2,561 characters does not fit. The context has 512 tokens of at most 5 characters" in error["message"]


@pytest.mark.parametrize("texts", [["a" * 1300, "b" * 1300], [""] * 513])
def test_nor_is_a_conversation(serving, unencoded, texts):
    messages = [{"role": "user", "content": text} for text in texts]
    assert refused(serving(), "/v1/chat/completions", messages=messages)["code"] == "context_length_exceeded"


def test_nor_are_more_prompts_than_there_may_be(serving, unencoded):
    assert "65 answers" in refused(serving(), "/v1/completions", prompt=["a"] * 65)["message"]


def test_nor_what_comes_after_a_prompt_that_does_not_fit(serving, published, monkeypatch):
    encoded = []
    encode = type(published.base).encode
    monkeypatch.setattr(
        type(published.base), "encode", lambda self, text: encoded.append(len(text)) or encode(self, text)
    )
    refused(serving(), "/v1/completions", prompt=["a", "b" * 600, "c" * 700])
    assert encoded == [1, 600]


def test_requests_that_are_being_encoded_keep_nobody_from_being_authenticated(serving, published, monkeypatch):
    server = serving()
    encoding, go_on = threading.Event(), threading.Event()
    encode = type(published.base).encode

    def held(self, text):
        encoding.set()
        assert go_on.wait(60)
        return encode(self, text)

    monkeypatch.setattr(type(published.base), "encode", held)

    async def both():
        to_thread.current_default_thread_limiter().total_tokens = 1
        transport = httpx.ASGITransport(server.app)
        headers = dict(server.alice.headers)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
            asked = {"model": server.model, "prompt": "hi"}
            long = asyncio.create_task(client.post("/v1/completions", json=asked))
            try:
                while not encoding.is_set():
                    await asyncio.sleep(0.01)
                # In vain, it would wait for ever.
                async with asyncio.timeout(20):
                    models = await client.get("/v1/models")
            finally:
                go_on.set()
            return models.status_code, (await long).status_code

    assert asyncio.run(both()) == (200, 200)
