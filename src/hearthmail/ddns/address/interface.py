"""What the box knows by itself: its address and its default gateway. Nothing is sent."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

# Flags of a route (linux/route.h).
_UP, _GATEWAY = 0x1, 0x2


def own_ipv4() -> ipaddress.IPv4Address | None:
    """The address from which the box talks to the world; None without an IPv4 route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # A root name server's address stands for "the world": connect() on UDP only looks up the route.
            probe.connect(("198.41.0.4", 53))
        except OSError:
            return None
        return ipaddress.IPv4Address(probe.getsockname()[0])


def gateway_in(table: str) -> ipaddress.IPv4Address | None:
    """The gateway of the default route with the lowest metric; None when there is none.

    :param table: the text of /proc/net/route: addresses are hexadecimal numbers in the machine's byte order.
    """
    found = []
    for line in table.splitlines()[1:]:
        _device, destination, gateway, flags, _references, _use, metric, mask = line.split()[:8]
        if int(destination, 16) == 0 and int(mask, 16) == 0 and int(flags, 16) & (_UP | _GATEWAY) == _UP | _GATEWAY:
            found.append((int(metric), socket.ntohl(int(gateway, 16))))
    return ipaddress.IPv4Address(min(found)[1]) if found else None


def default_gateway() -> ipaddress.IPv4Address | None:
    """The router: the gateway of the default route; None without one."""
    try:
        table = Path("/proc/net/route").read_text(encoding="ascii")
    except OSError:
        return None
    return gateway_in(table)
