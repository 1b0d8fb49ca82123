"""Large answers without holding anybody up: written as JSON in pieces, and sent in pieces.

Python's own encoder keeps the interpreter to itself until it is done, which for tens of thousands of scored tokens
takes seconds, in whatever thread it runs.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

ITEMS = 64
"""Of an iterator that are encoded at a time; a token has some forty numbers and texts at most."""
SENT_BYTES = 256 * 1024


def to_json(content: Any) -> bytes:
    """``content`` as JSON in UTF-8, without blanks.

    Lists that may be long are given as iterators, and read as they are written: of what is made for them no more exists
    at a time than a piece, which the garbage collector would otherwise look through again and again.

    Raises:
        ValueError: a number in it is not finite.
    """
    return b"".join(_pieces(content))


class InPieces(Response):
    """A body of JSON that was made before."""

    media_type = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        whole = memoryview(self.body)
        for at in range(0, max(1, len(whole)), SENT_BYTES):
            more = at + SENT_BYTES < len(whole)
            await send({"type": "http.response.body", "body": bytes(whole[at : at + SENT_BYTES]), "more_body": more})


def _pieces(content: Any) -> Iterator[bytes]:
    if isinstance(content, dict) and content:
        before = b"{"
        for name, value in content.items():
            yield before + _encoded(name) + b":"
            yield from _pieces(value)
            before = b","
        yield b"}"
    elif isinstance(content, Iterator):
        before = b"["
        while items := list(islice(content, ITEMS)):
            yield before + _encoded(items)[1:-1]
            before = b","
        yield b"]" if before == b"," else b"[]"
    elif isinstance(content, list) and content:
        before = b"["
        for value in content:
            yield before
            yield from _pieces(value)
            before = b","
        yield b"]"
    else:
        yield _encoded(content)


def _encoded(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
