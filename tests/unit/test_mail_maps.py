"""What the mail roles tell the firewall and the person whose port is taken."""

from __future__ import annotations

import pytest

from plugins.filter.mail_maps import nft_sources, port_holders


def test_the_world_needs_no_source() -> None:
    assert nft_sources("world") == [""]


def test_the_lan_is_both_families() -> None:
    assert nft_sources("lan") == ["ip saddr @lan4 ", "ip6 saddr @lan6 "]


def test_the_vpn_adds_to_the_lan() -> None:
    sources = nft_sources("vpn")
    assert sources[:2] == nft_sources("lan")
    assert 'iifname "wg*" ' in sources


def test_another_word_is_an_error_and_not_an_open_port() -> None:
    with pytest.raises(ValueError, match="'LAN': write lan, vpn or world"):
        nft_sources("LAN")


def test_who_holds_a_port_is_named_once_with_all_its_ports() -> None:
    listeners = [
        {"name": "exim4", "pid": 612, "port": 25, "address": "127.0.0.1"},
        {"name": "exim4", "pid": 612, "port": 25, "address": "::1"},
        {"name": "exim4", "pid": 612, "port": 587, "address": "0.0.0.0"},
        {"name": "", "pid": 0, "port": 465, "address": "0.0.0.0"},
    ]
    assert port_holders(listeners) == "an unknown program holds port 465; exim4 (process 612) holds ports 25, 587"
