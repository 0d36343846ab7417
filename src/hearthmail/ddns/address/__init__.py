"""Finding the box's public addresses. What is not known for sure is not known at all, and changes nothing.

IPv4, in the configured order, the first that knows wins:

1. `interface`: the address from which the box itself talks to the world, when it is a public one.
2. `router`: the router's WAN address, by UPnP IGD, NAT-PMP or as a FRITZ!Box tells it (`router`). A private or shared
   (100.64/10, DS-Lite) one means carrier-grade NAT: then nothing else is asked, because the address that the world
   sees does not lead here.
3. `echo`: services outside that answer with the caller's address (`echo`). Two of different operators must agree.

IPv6: a stable address of the box under its present prefix, and only after a service outside has connected to port 25
on it (`ipv6`).
"""

from __future__ import annotations

from hearthmail.ddns.address.classify import IPAddress, unfit
from hearthmail.ddns.address.find import IPV6_GRACE, Found, Sources, find_ipv4, look
from hearthmail.ddns.address.memory import RouterMemory

__all__ = ["IPV6_GRACE", "Found", "IPAddress", "RouterMemory", "Sources", "find_ipv4", "look", "unfit"]
