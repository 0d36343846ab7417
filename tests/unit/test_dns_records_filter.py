"""What the roles hand in to the DNS agent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plugins.filter.dns_records import mail_records

PROJECT = Path(__file__).resolve().parents[2]
RELAY = {"host": "smtp.isp.example", "spf": "include:isp.example"}


def values(records: list[dict[str, Any]], zone: str) -> dict[str, list[str]]:
    return {record["type"]: record["values"] for record in records if record["zone"] == zone}


def test_each_domain_gets_mx_and_spf_at_its_apex() -> None:
    records = mail_records(["second.example", "hearth.example"], "mail.hearth.example", "direct", RELAY, 3600)
    assert len(records) == 4
    assert {(record["name"], record["ttl"]) for record in records} == {("", 3600)}
    for zone in ("hearth.example", "second.example"):
        assert values(records, zone) == {"MX": ["10 mail.hearth.example."], "TXT": ["v=spf1 mx -all"]}


def test_through_a_relay_only_the_relay_may_send() -> None:
    records = mail_records(["hearth.example"], "mail.hearth.example", "relay", RELAY, 60)
    assert values(records, "hearth.example")["TXT"] == ["v=spf1 include:isp.example -all"]


def test_records_come_in_the_same_order_each_time() -> None:
    one = mail_records(["a.example", "b.example"], "mail.a.example", "direct", None, 60)
    assert one == mail_records(["b.example", "a.example"], "mail.a.example", "direct", None, 60)


def test_both_ways_are_named_when_either_may_be_used() -> None:
    records = mail_records(["hearth.example"], "mail.hearth.example", "auto", RELAY, 60)
    assert values(records, "hearth.example")["TXT"] == ["v=spf1 mx include:isp.example -all"]


def test_a_relay_without_its_term_is_named() -> None:
    with pytest.raises(ValueError, match=r"mail_relay\.spf"):
        mail_records(["hearth.example"], "mail.hearth.example", "relay", {"spf": None}, 60)


def test_the_controller_needs_none_of_the_agents_libraries() -> None:
    """A box that deploys itself has Ansible alone."""
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['dns', 'octodns', 'requests']))\n"
        f"sys.path.insert(0, {str(PROJECT)!r})\n"
        "from plugins.filter.dns_records import mail_records\n"
        "print(mail_records(['x.example'], 'mail.x.example', 'direct', None, 60)[0]['values'])\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['10 mail.x.example.']\n"
