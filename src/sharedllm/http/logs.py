"""One JSON line per request to standard error, and nothing in it that somebody wrote or is called.

A line has the address's template (``/v1/users/{id}``), not the address; no query, no key, no user, no text. Its status
is how the request ended, also where a stream had begun with 200. An unforeseen error is logged by its class and the
lines of code it came through: its message could quote a text.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sharedllm.errors import SharedLLMError
from sharedllm.http.error_responses import UNKNOWN_PARAMETER, unforeseen
from sharedllm.http.metrics import Metrics
from sharedllm.http.public_errors import for_log, is_hidden
from sharedllm.http.routing import Routed

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What is logged of a method; anything else is what somebody wrote."""

log = logging.getLogger("sharedllm.http")


@dataclass
class RequestRecord:
    """What is found out about a request on its way: for its line, and for its response, an error among them.

    Attributes:
        route: which kind of adapter answers; None while that is not decided.
        headers: how it was routed, for the response; empty while that is not decided.
        told: the same for the body, its ``sharedllm`` object.
        prompt_tokens: read, once the answer is complete.
        new_tokens: drawn, once the answer is complete.
        status: how it ended, where that is not how its response began; None where it is.
        code: why it was refused or ended early.
        param: the parameter at fault, never one that the caller has named.
        refused: the error that was answered with, if one of ours was.
    """

    route: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    status: int | None = None
    code: str | None = None
    param: str | None = None
    refused: SharedLLMError | None = None

    def routed(self, decided: Routed, seed: int) -> None:
        """Take over the decision."""
        self.route, self.headers, self.told = decided.decision.kind, decided.headers, decided.told(seed)

    def counted(self, usage: Mapping[str, Any]) -> None:
        """Take over the counts of the response."""
        self.prompt_tokens = usage["prompt_tokens"]
        self.new_tokens = usage["completion_tokens"]

    def ended(self, status: int, code: str, param: str | None = None) -> None:
        """Take over how it failed, as its response said or would have, had it not begun before that."""
        self.status, self.code = status, code
        self.param = None if code == UNKNOWN_PARAMETER else param


class JSONLines(logging.Formatter):
    """A dict as it is; what a library logs as its message alone, without values or tracebacks in it."""

    def format(self, record: logging.LogRecord) -> str:
        what = record.msg if isinstance(record.msg, dict) else {"event": record.name, "message": str(record.msg)}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"at": at, "level": record.levelname.lower(), **what})


class Watched:
    """Middleware around everything else: names the request, logs it, counts it, and answers for unforeseen errors.

    Whatever the response is, its headers say how the request was routed, once that is decided.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id = secrets.token_hex(16)
        record = scope["record"] = RequestRecord()
        began = time.perf_counter()
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                ours = {"x-request-id": id, **record.headers}
                encoded = [(name.lower().encode(), value.encode()) for name, value in ours.items()]
                message["headers"] = [*message["headers"], *encoded]
            await send(message)

        try:
            await self._app(scope, receive, named)
        except asyncio.CancelledError:
            record.ended(503, "shutdown")
            raise
        except Exception as error:
            record.ended(500, "internal_error")
            log.error({"event": "error", "id": id, **for_log(error)})
            # One that has begun cannot be taken back; left unfinished, the server closes the connection.
            if not status:
                await unforeseen(record.told)(scope, receive, named)
        finally:
            if record.refused is not None and is_hidden(record.refused):
                log.error({"event": "error", "id": id, **for_log(record.refused)})
            endpoint = getattr(scope.get("route"), "path_format", "unmatched")
            status = record.status or status
            self._metrics.requests.labels(endpoint, str(status), record.route or "none").inc()
            line: dict[str, Any] = {
                "event": "request",
                "id": id,
                "method": scope["method"] if scope["method"] in METHODS else "",
                "endpoint": endpoint,
                "status": status,
                "ms": round(1000 * (time.perf_counter() - began), 1),
                "route": record.route,
                "prompt_tokens": record.prompt_tokens,
                "new_tokens": record.new_tokens,
            }
            if record.code is not None:
                line |= {"code": record.code, "param": record.param}
            log.info(line)
