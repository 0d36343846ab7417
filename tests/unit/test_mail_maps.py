"""What the mail roles tell the firewall, the DNS agent and the person whose port is taken."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.filter.mail_maps import mail_records, nft_sources, port_holders


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


def values(records: list[dict[str, Any]], zone: str) -> dict[str, list[str]]:
    return {record["type"]: record["values"] for record in records if record["zone"] == zone}


def test_each_domain_gets_mx_and_spf_at_its_apex() -> None:
    records = mail_records(["second.example", "hearth.example"], "mail.hearth.example", None, 3600)
    assert len(records) == 4
    assert {(record["name"], record["ttl"]) for record in records} == {("", 3600)}
    for zone in ("hearth.example", "second.example"):
        assert values(records, zone) == {"MX": ["10 mail.hearth.example."], "TXT": ["v=spf1 mx -all"]}


def test_through_a_relay_only_the_relay_may_send() -> None:
    records = mail_records(["hearth.example"], "mail.hearth.example", "include:isp.example", 60)
    assert values(records, "hearth.example")["TXT"] == ["v=spf1 include:isp.example -all"]


def test_records_come_in_the_same_order_each_time() -> None:
    one = mail_records(["a.example", "b.example"], "mail.a.example", None, 60)
    assert one == mail_records(["b.example", "a.example"], "mail.a.example", None, 60)


def test_who_holds_a_port_is_named_once_with_all_its_ports() -> None:
    listeners = [
        {"name": "exim4", "pid": 612, "port": 25, "address": "127.0.0.1"},
        {"name": "exim4", "pid": 612, "port": 25, "address": "::1"},
        {"name": "exim4", "pid": 612, "port": 587, "address": "0.0.0.0"},
        {"name": "", "pid": 0, "port": 465, "address": "0.0.0.0"},
    ]
    assert port_holders(listeners) == "an unknown program holds port 465; exim4 (process 612) holds ports 25, 587"
