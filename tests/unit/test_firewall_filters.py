"""The firewall's view of networks and of who listens on the box."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.filter.firewall import bad_networks, foreign_listeners, networks_of, ssh_ports


def listener(address: str, port: int, name: str = "program") -> dict[str, Any]:
    return {"address": address, "port": port, "name": name, "pid": 1}


def test_networks_are_picked_by_family_and_merged() -> None:
    networks = ["192.168.0.0/16", "192.168.77.0/24", "fd00::/8", "fc00::/7"]
    assert networks_of(networks, 4) == ["192.168.0.0/16"]
    assert networks_of(networks, 6) == ["fc00::/7"]


def test_a_malformed_network_is_named() -> None:
    assert bad_networks(["10.0.0.0/8", "192.168.77.10/24", "home"]) == [
        "192.168.77.10/24 has host bits set",
        "'home' does not appear to be an IPv4 or IPv6 network",
    ]


def test_ssh_is_open_on_every_port_on_which_it_may_be_used() -> None:
    listeners = [
        listener("0.0.0.0", 2222, "sshd"),
        listener("127.0.0.1", 6010, "sshd"),  # X11 of a session
        listener("::1", 6010, "sshd"),
        listener("*", 80, "nginx"),
    ]
    assert ssh_ports(listeners, 2200) == [22, 2200, 2222]


@pytest.mark.parametrize("address", ["0.0.0.0", "*", "::", "[::]", "192.168.77.10", "fe80::1%eth0"])
def test_what_the_network_reaches_is_found(address: str) -> None:
    found = listener(address, 8123, "hass")
    assert foreign_listeners([found], [22], []) == [found]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53%lo", "::1", "[::1]", "::ffff:127.0.0.1"])
def test_what_only_the_box_reaches_is_left_alone(address: str) -> None:
    assert foreign_listeners([listener(address, 8123)], [], []) == []


@pytest.mark.parametrize(
    ("opened", "found"),
    [
        ([{"port": 8123}], False),
        ([{"port": "8000-8200", "from": "world"}], False),
        ([{"port": 8123, "protocol": "udp"}], True),
        ([{"port": 8124}], True),
    ],
)
def test_what_the_site_opens_is_known(opened: list[dict[str, Any]], found: bool) -> None:
    assert bool(foreign_listeners([listener("*", 8123)], [22], opened)) is found
