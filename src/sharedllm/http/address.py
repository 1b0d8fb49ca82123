"""Where a server may listen; checked before anything that takes long, so that a mistake costs no time."""

import socket
from ipaddress import ip_address

from sharedllm.errors import InvalidInput, ServingError


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
