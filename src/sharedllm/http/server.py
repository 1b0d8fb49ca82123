"""A process that serves an app: uvicorn with bounds on slow clients, and an end without broken answers."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from sharedllm.http.address import cannot_listen, check_address
from sharedllm.http.app import create_app
from sharedllm.http.logs import JSONLines
from sharedllm.http.service import Service

KEEP_ALIVE_SECONDS = 15
HEADER_SECONDS = 10.0
HEADER_BYTES = 32 * 1024
CONNECTIONS = 2048
NOTICE_SECONDS = 5.0
DRAIN_SECONDS = 30.0
TURN_SECONDS = 0.0002
"""How long a thread may keep the interpreter from others. The engine's lets go of it at every operation on tensors and
has to get it back a thousand times a pass; with Python's own 5 ms, that cost up to a tenth of the throughput."""
LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"]


def serve(
    service: Service,
    host: str,
    port: int,
    ready: Callable[[str], None] | None = None,
    *,
    notice_seconds: float = NOTICE_SECONDS,
    drain_seconds: float = DRAIN_SECONDS,
) -> None:
    """Serve until the process is told to end by SIGTERM or an interrupt.

    After SIGTERM, ``/readyz`` says 503 for ``notice_seconds`` while everything is still answered, so that whoever sends
    requests here learns to send them elsewhere; whoever types an interrupt knows already. Then nothing new is taken,
    requests that are running may finish for ``drain_seconds``, and the rest end with 503. A second signal ends the
    process at once.

    Args:
        service: what to serve; its engine is started here, and closed at the end.
        host: an address of this machine. Where nobody has to say who they are it must be a loopback address, and names
            other than the loopback's are refused, so that no web page can reach the server by a name of its own.
        port: 0 takes a free one.
        ready: told the server's address, as a URL, once it takes connections.
        notice_seconds: how long the server says that it will end before it takes nothing new.
        drain_seconds: how long running requests may take to finish.

    Raises:
        InvalidInput: a server that asks nobody who they are, on an address that others can reach.
        ServingError: the address cannot be taken.
    """
    check_address(host, port, open=service.open)
    app: ASGIApp = create_app(service)
    if service.open:
        app = TrustedHostMiddleware(app, allowed_hosts=LOOPBACK_NAMES, www_redirect=False)
    _log_lines()
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        # The engine has ended every request by then.
        timeout_graceful_shutdown=int(drain_seconds) + 5,
    )
    turn = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        _Server(config, service, notice_seconds, drain_seconds, ready).run()
    except SystemExit:
        raise cannot_listen(host, port, None) from None
    finally:
        sys.setswitchinterval(turn)


class _Server(uvicorn.Server):
    """Says when it is ready, and drains the engine while connections finish."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        notice_seconds: float,
        drain_seconds: float,
        ready: Callable[[str], None] | None,
    ) -> None:
        super().__init__(config)
        self._service = service
        self._notice_seconds, self._drain_seconds = notice_seconds, drain_seconds
        self._ready = ready
        self._ended_by: int | None = None

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready is not None:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    def handle_exit(self, sig: int, frame: Any) -> None:
        # uvicorn would raise the signal again afterwards, and whoever called `serve` still has a store to close.
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.should_exit, self._service.draining, self._ended_by = True, True, sig

    async def shutdown(self, sockets: Any = None) -> None:
        self._service.draining = True
        if self._ended_by == signal.SIGTERM:
            await asyncio.sleep(self._notice_seconds)
        draining = asyncio.create_task(asyncio.to_thread(self._service.engine.drain, self._drain_seconds))
        await super().shutdown(sockets)
        await draining


class _Protocol(H11Protocol):
    """Closes a connection on which no whole request head arrives in time, however slowly bytes trickle in."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_if_headless)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self.conn.their_state is h11.IDLE:
            self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_if_headless)
        super().data_received(data)
        if self._head_timer is not None and self.conn.their_state is not h11.IDLE:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _close_if_headless(self) -> None:
        self._head_timer = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


def _log_lines() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines())
    for name, level in (("sharedllm.http", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
