"""Which addresses may be published."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598
_DSLITE = ipaddress.ip_network("192.0.0.0/29")  # RFC 6333 section 5.7, RFC 7335
# RFC 5737, RFC 3849, RFC 9637; RFC 2544, RFC 5180
_DOCUMENTATION = tuple(
    ipaddress.ip_network(net)
    for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
)
_BENCHMARK = tuple(ipaddress.ip_network(net) for net in ("198.18.0.0/15", "2001:2::/48"))
# Useless for a mail server: protocol assignments (RFC 6890), 6to4 and its relays, Teredo, ORCHID, NAT64.
_TRANSITION = tuple(
    ipaddress.ip_network(net)
    for net in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "2002::/16",
        "2001::/32",
        "2001:10::/28",
        "2001:20::/28",
        "64:ff9b::/96",
    )
)
_GLOBAL_UNICAST6 = ipaddress.ip_network("2000::/3")


def unfit(address: IPAddress, allow_documentation: bool = False) -> str | None:
    """Why an address must not be published; None when it is a public one.

    :param allow_documentation: take documentation and benchmark ranges as public: the lab lives there.
    """

    def within(networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
        return any(address in network for network in networks)

    if within(_DOCUMENTATION) or within(_BENCHMARK):
        return None if allow_documentation else "from a range for documentation or benchmarks"
    if within((_SHARED,)):
        return "from the ISP's shared range 100.64.0.0/10 (carrier-grade NAT)"
    if within((_DSLITE,)):
        return "from the range 192.0.0.0/29 (DS-Lite: IPv4 goes through a tunnel to the ISP's NAT)"
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return "not a host's address"
    if address.is_link_local:
        return "link-local"
    if within(_TRANSITION):
        return "from a range for protocols and tunnels"
    if not address.is_global or address.is_reserved:
        return "private or reserved"
    if address.version == 6 and address not in _GLOBAL_UNICAST6:
        return "outside of the global unicast range 2000::/3"
    return None


def is_carriers(address: IPAddress) -> bool:
    """Whether an address is one that only ISPs with a NAT of their own give out (RFC 6598, RFC 6333)."""
    return address in _SHARED or address in _DSLITE
