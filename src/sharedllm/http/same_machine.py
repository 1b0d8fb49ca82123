"""Who of this machine is at the other end of a connection, where the system tells it: Linux does."""

import sys
from ipaddress import IPv4Address
from pathlib import Path

_MAPPED = "0" * 16 + f"{int.from_bytes(bytes((0, 0, 255, 255)), sys.byteorder):08X}"
_TABLES = (("/proc/net/tcp", ""), ("/proc/net/tcp6", _MAPPED))
"""Of connections between IPv4 addresses, and how they are written there: in the second as sockets of IPv6 have them."""

_LOCAL, _REMOTE, _UID = 1, 2, 7
"""Columns."""

End = tuple[str, int]
"""An address and a port."""


def uid_of(end: End, other: End) -> int | None:
    """The number of the user whose socket is one end of an IPv4 connection; None where this machine does not tell."""
    for table, before in _TABLES:
        try:
            ends = [f"{before}{_written(address)}:{port:04X}" for address, port in (end, other)]
            lines = Path(table).read_text().splitlines()
        except (OSError, ValueError):
            continue
        for line in lines:
            cells = line.split()
            if [cells[_LOCAL], cells[_REMOTE]] == ends:
                return int(cells[_UID])
    return None


def _written(address: str) -> str:
    return f"{int.from_bytes(IPv4Address(address).packed, sys.byteorder):08X}"
