"""A process that serves an app: uvicorn with bounds on slow clients, and an end without broken answers."""

import asyncio
import gc
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any

import h11
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

from sharedllm.base.huge_pages import move_to_huge_pages
from sharedllm.errors import ServingError
from sharedllm.http.app import create_app
from sharedllm.http.connections import SWEEP_SECONDS, Connections, connections_at_most
from sharedllm.http.error_responses import Refused, told
from sharedllm.http.listen_address import check_address, listen
from sharedllm.http.logs import JSONLines
from sharedllm.http.service import Service

KEEP_ALIVE_SECONDS = 15
HEADER_SECONDS = 10.0
HEADER_BYTES = 32 * 1024
CHUNKS = 4096
"""Of one body: the event loop has to look at each, however short it is."""
ACCEPT_PAUSE_SECONDS = 0.5
"""When the process or the system is out of files."""
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
    drain_seconds: float = DRAIN_SECONDS,
) -> None:
    """Serve until the process is told to end by SIGTERM or an interrupt.

    After SIGTERM, ``/readyz`` says 503 for the policy's ``notice_seconds`` while everything is still answered, so that
    whoever sends requests here learns to send them elsewhere; whoever types an interrupt knows already. Then nothing
    new is taken, requests that are running may finish for ``drain_seconds``, and the rest end with 503. A second signal
    ends the process at once.

    Args:
        service: what to serve; its engine is started here, and closed at the end.
        host: an address of this machine. Where nobody has to say who they are it must be a loopback address. There, and
            where keys are given for codes, names other than the loopback's are refused, so that no web page can reach
            the server by a name of its own.
        port: 0 takes a free one.
        ready: told the server's address, as a URL, once it takes connections.
        drain_seconds: how long running requests may take to finish.

    Raises:
        InvalidInput: a server that asks nobody who they are, on an address that others can reach.
        ServingError: the address cannot be taken.
    """
    check_address(host, port, open=service.open)
    app: ASGIApp = create_app(service)
    if service.open or service.visits is not None:
        app = TrustedHostMiddleware(app, allowed_hosts=LOOPBACK_NAMES, www_redirect=False)
    _log_lines()
    listeners = listen(host, port)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        # The engine has ended every request by then.
        timeout_graceful_shutdown=int(drain_seconds) + 5,
    )
    turn = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    # What is there by now stays, and looking through it again with all others waiting takes a good part of a second.
    gc.collect()
    gc.freeze()
    try:
        _Server(config, service, listeners, drain_seconds, ready).run(sockets=[])
    except SystemExit:
        raise ServingError("The server could not begin", remedy="Its log says why.") from None
    finally:
        for listener in listeners:
            listener.close()
        sys.setswitchinterval(turn)
        gc.unfreeze()


class _Server(uvicorn.Server):
    """Accepts within bounds, says when it is ready, and drains the engine while connections finish."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        listeners: Sequence[socket.socket],
        seconds: float,
        ready: Callable[[str], None] | None,
    ) -> None:
        super().__init__(config)
        self._service = service
        self._listeners = listeners
        self._connections = Connections(connections_at_most(), service.policy.send_seconds)
        self._accepting: list[asyncio.Task[None]] = []
        self._sweeping: asyncio.Task[None] | None = None
        self._seconds = seconds
        self._ready = ready
        self._ended_by: int | None = None

    async def startup(self, sockets: Any = None) -> None:
        # uvicorn itself listens nowhere: asyncio accepts whatever comes, and fails at length when it is out of files.
        await super().startup(sockets)
        self._accepting = [asyncio.create_task(self._accept(listener)) for listener in self._listeners]
        self._sweeping = asyncio.create_task(self._sweep())
        if self._service.engine.base.device.type == "cpu":
            # It takes some seconds, in which answers are as late as they would be without.
            Thread(target=move_to_huge_pages, name="huge-pages", daemon=True).start()
        if self._ready is not None:
            host, port = self._listeners[0].getsockname()[:2]
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
            await asyncio.sleep(self._service.policy.notice_seconds)
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        draining = asyncio.create_task(asyncio.to_thread(self._service.engine.drain, self._seconds))
        await super().shutdown(sockets)
        await draining
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        opening: set[asyncio.Task[Any]] = set()
        while True:
            try:
                accepted, address = await loop.sock_accept(listener)
            except ConnectionError:
                continue
            except OSError:
                self._connections.give_way()
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            protocol = _Protocol(
                self._connections, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            if self._connections.add(protocol, address[0]):
                opening.add(task := loop.create_task(self._open(protocol, accepted)))
                task.add_done_callback(opening.discard)
            else:
                with suppress(OSError):
                    accepted.send(_no_room())
                accepted.close()
            # Whoever gave way closes meanwhile.
            await asyncio.sleep(0)

    async def _open(self, protocol: "_Protocol", accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, accepted)
        except OSError:
            self._connections.remove(protocol)
            accepted.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._connections.sweep()


class _Parser(h11.Connection):
    """Reads no body that comes in ever so many chunks."""

    _chunks = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data) and event.chunk_end:
            self._chunks += 1
            if self._chunks > CHUNKS:
                raise h11.RemoteProtocolError(f"more than {CHUNKS} chunks")
        return event


class _Protocol(H11Protocol):
    """One connection. It closes if no whole request head arrives in time, however slowly bytes trickle in.

    Whoever sends a request before the one before it is answered has that answered, and the connection closed.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def __init__(self, connections: Connections, **about: Any) -> None:
        super().__init__(**about)
        self.conn = _Parser(h11.SERVER, HEADER_BYTES)
        self._connections = connections
        self._aborted = False

    @property
    def waits(self) -> bool:
        cycle = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body or self.flow.write_paused

    @property
    def unsent(self) -> int:
        if self.transport is None or not (self.flow.write_paused or self.transport.is_closing()):
            return 0
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        self._aborted = True
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self._aborted:
            self.transport.abort()
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_if_headless)

    def data_received(self, data: bytes) -> None:
        self._connections.heard(self)
        if self._head_timer is None and self.conn.their_state is h11.IDLE:
            self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_if_headless)
        super().data_received(data)
        if self._head_timer is not None and self.conn.their_state is not h11.IDLE:
            self._head_timer.cancel()
            self._head_timer = None
        if self.conn.their_state is h11.DONE and self.conn.trailing_data[0] and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            if not self.cycle.response_started:
                # So that the answer says so.
                self.headers.append(CLOSE_HEADER)

    def on_response_complete(self) -> None:
        self._connections.heard(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            # An answer has begun already, or is over.
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _close_if_headless(self) -> None:
        self._head_timer = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()


def _no_room() -> bytes:
    refused = Refused(503, "too_many_connections", "Too many connections are open", remedy="Come back in a moment.")
    body = json.dumps(told(refused, {})).encode()
    head = f"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: {len(body)}"
    return f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body


def _log_lines() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines())
    for name, level in (("sharedllm.http", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
