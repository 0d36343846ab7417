"""Filters of the firewall: networks as nftables takes them, and who listens on the box."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Listener = Mapping[str, Any]  # an entry of community.general.listen_ports_facts: address, port, name, pid


def networks_of(networks: Iterable[str], version: int) -> list[str]:
    """Pick the networks of IP `version` (4 or 6), merged: nftables refuses a set whose intervals overlap.

    Raises ValueError, which names it, for a malformed network.
    """
    parsed = [ipaddress.ip_network(network) for network in networks]
    if version == 4:
        four = [network for network in parsed if isinstance(network, ipaddress.IPv4Network)]
        return [str(network) for network in ipaddress.collapse_addresses(four)]
    six = [network for network in parsed if isinstance(network, ipaddress.IPv6Network)]
    return [str(network) for network in ipaddress.collapse_addresses(six)]


def bad_networks(networks: Iterable[str]) -> list[str]:
    """Say of each malformed network what is wrong with it; an empty list if there is none."""
    problems = []
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _covers(ports: str, port: int) -> bool:
    """Tell whether a port, or a range such as "5000-5010", contains `port`."""
    first, _, last = ports.partition("-")
    return int(first) <= port <= int(last or first)


def _is_loopback(listener: Listener) -> bool:
    """Tell whether only the box itself can reach the listener. `*` is how ss writes all addresses of both families."""
    address = str(listener["address"]).partition("%")[0].strip("[]").removeprefix("::ffff:")
    return address != "*" and ipaddress.ip_address(address).is_loopback


def ssh_ports(listeners: Iterable[Listener], ansible_port: int) -> list[int]:
    """List every port on which SSH may be reached: the usual one, Ansible's, and those on which sshd listens.

    What sshd opens for a session (port forwarding) is on loopback and does not count.
    """
    found = {int(entry["port"]) for entry in listeners if entry["name"] == "sshd" and not _is_loopback(entry)}
    return sorted(found | {22, int(ansible_port)})


def foreign_listeners(
    listeners: Iterable[Listener], own: Iterable[int], opened: Iterable[Mapping[str, Any]]
) -> list[Listener]:
    """Pick the TCP listeners that the network reaches, and neither the `own` ports nor `firewall_open` names."""
    known = {int(port) for port in own}
    ranges = [str(rule["port"]) for rule in opened if rule.get("protocol", "tcp") == "tcp"]
    return [
        entry
        for entry in listeners
        if not _is_loopback(entry)
        and int(entry["port"]) not in known
        and not any(_covers(ports, int(entry["port"])) for ports in ranges)
    ]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name the filters."""
        return {
            "networks_of": networks_of,
            "bad_networks": bad_networks,
            "ssh_ports": ssh_ports,
            "foreign_listeners": foreign_listeners,
        }
