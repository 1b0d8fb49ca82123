"""Who may hold a connection, before anybody is asked who they are: bounded in all, and for each address.

Where there is no room, the connection gives way on which the server has waited for its client the longest, so that
whoever only holds connections holds up nobody. One that is being answered does not give way.
"""

import logging
import resource
import time
from collections import OrderedDict
from typing import Protocol

from sharedllm.http.listen_address import network_of
from sharedllm.http.logs import log

CONNECTIONS = 2048
FILES_BESIDE = 256
"""Open files that are no connections: the store's, those of training, of the base and of whatever is being closed."""
UNSENT_BYTES = 64 * 1024**2
"""Of answers that clients do not take, in all."""
PROGRESS_BYTES = 16 * 1024
"""What a client has to take of an answer while it has its time."""
REPORT_SECONDS = 60.0
SWEEP_SECONDS = 1.0


class Connection(Protocol):
    """What has to be known of one."""

    @property
    def waits(self) -> bool:
        """Whether the client has to do something before the server can."""

    @property
    def unsent(self) -> int:
        """Bytes that the client has to take before anything else happens."""

    def abort(self) -> None:
        """End it at once, whatever was not sent."""


class Connections:
    """The open connections of one server; for its event loop alone."""

    def __init__(self, most: int, send_seconds: float) -> None:
        """None are open yet.

        Args:
            most: how many may be open; an address may have half of them.
            send_seconds: a client that takes next to nothing of an answer for so long is given up.
        """
        self._most, self._send_seconds = most, send_seconds
        # By address; those that were heard of longest ago come first.
        self._open: dict[str, OrderedDict[Connection, None]] = {}
        self._addresses: dict[Connection, str] = {}
        self._stuck: dict[Connection, tuple[int, float]] = {}
        self._refused = self._gave_way = 0
        self._reported = -REPORT_SECONDS

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, connection: Connection, host: str) -> bool:
        """Take a new connection in, if need be for another that gives way; False where there is no room for it.

        Args:
            connection: the new one.
            host: the address that it comes from.
        """
        address = network_of(host)
        if len(self._open.get(address, ())) >= max(1, self._most // 2):
            room = self._make_room(address)
        else:
            room = len(self) < self._most or self._make_room(self._busiest())
        if not room:
            self._refused += 1
            self.report()
            return False
        self._addresses[connection] = address
        self._open.setdefault(address, OrderedDict())[connection] = None
        return True

    def heard(self, connection: Connection) -> None:
        """Note that the client did something, or was answered."""
        if connection in self._addresses:
            self._open[self._addresses[connection]].move_to_end(connection)

    def remove(self, connection: Connection) -> None:
        """Forget one that has ended; one that is forgotten already stays so."""
        address = self._addresses.pop(connection, None)
        self._stuck.pop(connection, None)
        if address is not None:
            del self._open[address][connection]
            if not self._open[address]:
                del self._open[address]

    def give_way(self) -> None:
        """End a connection that waits for its client, of whoever has most, as one could not be accepted."""
        self._refused += 1
        if self._open:
            self._make_room(self._busiest())
        self.report()

    def sweep(self) -> None:
        """End connections whose clients do not take their answers; to be called every `SWEEP_SECONDS`."""
        now = time.monotonic()
        for connection in list(self._addresses):
            unsent = connection.unsent
            before, since = self._stuck.get(connection, (unsent, now))
            if not unsent:
                self._stuck.pop(connection, None)
            elif connection not in self._stuck or unsent <= before - PROGRESS_BYTES:
                self._stuck[connection] = unsent, now
            elif now - since >= self._send_seconds:
                self._end(connection)
        total = sum(unsent for unsent, _ in self._stuck.values())
        for connection, (unsent, _) in sorted(self._stuck.items(), key=lambda each: each[1][1]):
            if total <= UNSENT_BYTES:
                break
            self._end(connection)
            total -= unsent
        self.report()

    def report(self) -> None:
        """Log what was refused and what gave way, now and then: whoever can cause it could fill the disk."""
        now = time.monotonic()
        if (self._refused or self._gave_way) and now - self._reported >= REPORT_SECONDS:
            told = {"event": "connections", "open": len(self), "refused": self._refused, "gave_way": self._gave_way}
            log.log(logging.WARNING, told)
            self._refused, self._gave_way, self._reported = 0, 0, now

    def _busiest(self) -> str:
        return max(self._open, key=lambda each: len(self._open[each]))

    def _make_room(self, address: str) -> bool:
        theirs = self._open[address]
        for _ in range(len(theirs)):
            first = next(iter(theirs))
            if first.waits:
                self._gave_way += 1
                self._end(first)
                self.report()
                return True
            # It is being answered, and is looked at again after all others.
            theirs.move_to_end(first)
        return False

    def _end(self, connection: Connection) -> None:
        self.remove(connection)
        connection.abort()


def connections_at_most() -> int:
    """How many connections this process has open files for, having asked for as many files as it needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, max(soft - FILES_BESIDE, soft // 2))
