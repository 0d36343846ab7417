"""The records as a person enters them."""

from __future__ import annotations

import json
from pathlib import Path

import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given

from hearthmail.ddns import cli, printing
from hearthmail.ddns.address import Found
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.records import Key, RRset, canonical
from hearthmail.ddns.recordset import Box, Site, record_set
from hearthmail.ddns.state import Ipv6Proof
from tests.support.sites import boxes, full_box, full_site, sites

from .conftest import CONFIG, MX_AND_SPF, ZONE, World


def read_back(zone: str, text: str) -> list[RRset]:
    found = []
    read = dns.zone.from_text(text, origin=zone, relativize=False, check_origin=False)
    for name, rdataset in read.iterate_rdatasets():
        rdtype = dns.rdatatype.to_text(rdataset.rdtype)
        label = name.relativize(read.origin).to_text() if name != read.origin else ""
        if rdtype == "TXT":
            values = frozenset(b"".join(one.strings).decode() for one in rdataset)
        else:
            values = frozenset(canonical(rdtype, one.to_text()) for one in rdataset)
        found.append(RRset(Key(zone, label, rdtype), rdataset.ttl, values))
    return sorted(found, key=lambda one: one.key)


@given(site=sites(), box=boxes())
def test_a_zone_file_reads_back_equal(site: Site, box: Box) -> None:
    for zone, rrsets in record_set(site, box).items():
        assert read_back(zone, printing.zone_file(zone, rrsets)) == rrsets


def test_the_table_holds_every_value_once() -> None:
    rrsets = record_set(full_site(ZONE), full_box(ZONE))[ZONE]
    rows = printing.rows(rrsets)
    assert len(rows) == sum(len(one.values) for one in rrsets)
    assert {"name": "@", "type": "MX", "ttl": 3600, "priority": 20, "value": "mx.backup.example."} in rows
    srv = {"name": "_imaps._tcp", "type": "SRV", "ttl": 3600, "priority": 0, "value": "1 993 mail.hearth.example."}
    assert srv in rows
    lines = printing.table(ZONE, rrsets).splitlines()
    assert lines[0] == "hearth.example:"
    assert lines[1].split() == ["NAME", "TYPE", "TTL", "PRIORITY", "VALUE"]
    (mail,) = [line for line in lines if line.split()[:2] == ["mail", "A"]]
    assert mail.split() == ["mail", "A", "60", "198.51.100.10"]
    assert mail.index("198.51.100.10") == lines[1].index("VALUE")


def prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Found, *arguments: str) -> int:
    (tmp_path / "records.d").mkdir(exist_ok=True)
    (tmp_path / "records.d" / "postfix.json").write_text(json.dumps(MX_AND_SPF))
    (tmp_path / "c.json").write_text(json.dumps({**CONFIG, "providers": {"lab": {"type": "none"}}}))
    monkeypatch.setattr(Agent, "find", lambda _self, _remembered, probe, at_once=False: found)
    files = ("--config", tmp_path / "c.json", "--records", tmp_path / "records.d", "--state", tmp_path / "s.json")
    return cli.main([*map(str, files), "records", *arguments])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = Found("198.51.100.10", "router", "", None, "nobody has shown it", Ipv6Proof(), 0.0)
    assert prints(tmp_path, monkeypatch, found) == 0
    said = capsys.readouterr().out
    assert "; No AAAA record: nobody has shown it" in said
    assert {str(one.key): one.values for one in read_back(ZONE, said)} == {
        "hearth.example MX": {"10 mail.hearth.example."},
        "hearth.example TXT": {"v=spf1 mx -all"},
        "mail.hearth.example A": {"198.51.100.10"},
    }
    assert prints(tmp_path, monkeypatch, found, "--table") == 0
    said = capsys.readouterr().out
    assert "@     TXT   3600            v=spf1 mx -all" in said
    assert "ends with a dot" in said
    assert prints(tmp_path, monkeypatch, found, "--json", "--domain", ZONE) == 0
    rows = json.loads(capsys.readouterr().out)["zones"][ZONE]
    assert {"name": "mail", "type": "A", "ttl": 60, "priority": None, "value": "198.51.100.10"} in rows
    assert prints(tmp_path, monkeypatch, found, "--domain", "other.example") == 1


def test_without_an_address_the_rest_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Found(None, "", "The router does not answer.", None, "", Ipv6Proof(), 0.0)
    assert prints(tmp_path, monkeypatch, found) == 0
    said = capsys.readouterr().out
    assert "; No A record: The router does not answer." in said
    assert [one.key.type for one in read_back(ZONE, said)] == ["MX", "TXT"]


def test_printing_changes_nothing(world: World) -> None:
    zones, notes = world.agent().records()
    assert [str(one.key) for one in zones[ZONE]] == ["hearth.example MX", "hearth.example TXT", "mail.hearth.example A"]
    assert notes == []
    assert (world.state, world.reads, world.writes, world.questions) == (None, 0, 0, 0)
