"""What an address and a query name, read once and strictly: UTF-8 that is percent-encoded, or a refusal.

Frameworks put a replacement character where bytes are not UTF-8, so that two users would become one, and they decode an
address before they cut it up, so that a slash in an id would move what is asked for. Here an address is cut up first;
routes name a part of it ``{id:part}``, and get it decoded.
"""

import re
from urllib.parse import quote, unquote, unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from sharedllm.http.error_responses import Refused, on_error

_CUT_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
# Whoever stands between a client and us may take them for a step up, and ask for something else.
_STEPS = (".", "..")


class Paths:
    """Middleware that refuses what cannot be read, and leaves the path for routing as one canonical spelling."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope["path"] = _canonical(scope["raw_path"].decode("latin-1"))
                decoded(scope["query_string"].decode("latin-1"))
            except ValueError as error:
                refused = Refused(
                    400, "invalid_address", f"The address {error}", remedy="Percent-encode each part of it as UTF-8."
                )
                await on_error(Request(scope), refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def decoded(text: str) -> str:
    """The text that percent-encoded UTF-8 stands for.

    Raises:
        ValueError: it has characters beyond ASCII, a percent sign that begins no escape, or escapes that are not UTF-8.
    """
    if not text.isascii():
        raise ValueError("has bytes that are not ASCII")
    if _CUT_ESCAPE.search(text):
        raise ValueError("has a percent sign that no two hexadecimal digits follow")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError("has escapes that are not UTF-8") from None


def _canonical(path: str) -> str:
    parts = [decoded(part) for part in path.split("/")]
    if step := next((part for part in parts if part in _STEPS), None):
        raise ValueError(f"has the part {step!r}")
    return "/".join(quote(part, safe="") for part in parts)


class _Part(Convertor[str]):
    """One part of the path, decoded; a slash in it was escaped."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


class _Rest(_Part):
    """All parts that are left, decoded."""

    regex = ".+"


register_url_convertor("part", _Part())
register_url_convertor("rest", _Rest())
