"""Where a server may listen; checked before anything that takes long, so that a mistake costs no time."""

import errno
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Any

from sharedllm.errors import InvalidInput, ServingError

BACKLOG = 1024
"""Connections that the system holds until they are accepted."""


def check_address(host: str, port: int, *, open: bool) -> None:
    """Refuse an address that a server cannot or must not listen on.

    Args:
        host: an address or a name of this machine.
        port: 0 stands for a free one.
        open: whether the server will ask nobody who they are.

    Raises:
        InvalidInput: an open server where others could reach it.
        ServingError: the address cannot be taken.
    """
    if open and not is_loopback(host):
        raise InvalidInput(
            f"Without keys the server does not listen on {host!r}, where others could reach it",
            remedy="Use --host 127.0.0.1, or serve with keys.",
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            # As the server will, or a server that has just ended would keep its own port from the next one.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise cannot_listen(host, port, error.strerror) from None


def first_free(host: str, ports: Iterable[int]) -> int:
    """The first of some ports that a server could listen on.

    Raises:
        ServingError: none of them; it is of the last.
    """
    refused: ServingError | None = None
    for port in ports:
        try:
            check_address(host, port, open=False)
        except ServingError as error:
            refused = error
        else:
            return port
    raise refused or cannot_listen(host, 0, "there is no port to try")


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address that the name has on this machine.

    Raises:
        ServingError: one cannot be taken, or there is none.
    """
    listeners: list[socket.socket] = []
    try:
        for info in dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)):
            with suppress(_AbsentAddress):
                listeners.append(_listening(*info))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise cannot_listen(host, port, error.strerror) from None
    if not listeners:
        raise cannot_listen(host, port, "this machine has no such address")
    return listeners


class _AbsentAddress(Exception):
    """The name has an address that the machine has not, such as one of IPv6 where that is switched off."""


def _listening(family: int, kind: int, protocol: int, _: str, address: tuple[Any, ...]) -> socket.socket:
    try:
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _AbsentAddress from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # What comes over IPv4 has a socket of its own.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _AbsentAddress from error
        raise
    return listener


def cannot_listen(host: str, port: int, why: str | None) -> ServingError:
    """The address cannot be taken."""
    return ServingError(
        f"The server cannot listen on {host}, port {port}: {why or 'it is not free'}",
        remedy="Choose another address with --host and --port (0 finds a free port), or end what is using this one.",
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def network_of(host: str) -> str:
    """What whoever connects from ``host`` shares with nobody: the address, or of IPv6 the network around it."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    # Whoever has one IPv6 address has at least 64 bits of them.
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
