"""Records of others in the places of ours, with several domains at one provider and at several."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hearthmail.ddns import text
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.records import Key
from hearthmail.ddns.recordset import fragment, record_set
from hearthmail.ddns.report import CHANGES, CONFLICT, ERROR, OK
from tests.support.sites import full_box, full_site

from .conftest import ZONE, MemoryProvider, World

SECOND = "second.example"
FOREIGN: dict[tuple[str, str], dict[str, Any]] = {
    ("", "MX"): {"ttl": 300, "values": [{"preference": 5, "exchange": "mx.old-hoster.example."}]},
    ("", "TXT"): {"ttl": 300, "values": ["v=spf1 include:old-hoster.example ~all", "site=abc"]},
    ("_dmarc", "TXT"): {"ttl": 300, "values": ["v=DMARC1\\; p=none\\; rua=mailto:x@old-hoster.example"]},
    ("", "CAA"): {"ttl": 300, "values": [{"flags": 0, "tag": "issue", "value": "ca.old-hoster.example"}]},
    ("old._domainkey", "TXT"): {"ttl": 300, "values": ["v=DKIM1\\; p=AAAA"]},
}


class TwoProviders(World):
    """The first domain lies at one provider, the second at another."""

    def prepare(self) -> None:
        entry = {"type": "powerdns", "url": "http://127.0.0.1:1", "api_key": "x"}
        self.config = {
            **self.config,
            "domains": [{"name": ZONE, "dns": "one"}, {"name": SECOND, "dns": "two"}],
            "providers": {"one": entry, "two": entry},
        }
        site = full_site(ZONE, SECOND)
        rrsets = [one for rrsets in record_set(site, full_box(ZONE)).values() for one in rrsets]
        self.ahead = {"all": fragment(one for one in rrsets if one.key.type not in ("A", "AAAA"))}
        self.at = {
            "one": MemoryProvider({f"{ZONE}.": {}}),
            "two": MemoryProvider({f"{SECOND}.": {}}),
        }
        self.broken: set[str] = set()

    def make(self, config: Any) -> MemoryProvider:
        if config.name in self.broken:
            raise ConnectionError("connection refused")
        return self.at[config.name]

    def agent(self) -> Agent:
        return dataclasses.replace(super().agent(), make=self.make)

    def question(self, server: str, key: Key) -> Any:
        self.provider = self.at["one" if key.zone == ZONE else "two"]
        return super().question(server, key)

    def held(self, zone: str) -> dict[tuple[str, str], dict[str, Any]]:
        return self.at["one" if zone == ZONE else "two"].zones[f"{zone}."]

    @property
    def all_writes(self) -> int:
        return sum(len(provider.applied) for provider in self.at.values())


@pytest.fixture
def two(world: World) -> TwoProviders:
    made = TwoProviders(world.path)
    made.prepare()
    return made


def test_one_run_fills_both(two: TwoProviders) -> None:
    assert two.agent().plan().exit_code == CHANGES
    assert two.agent().apply().exit_code == OK
    assert two.values("mail", "A") == {"198.51.100.10"}
    assert two.held(SECOND)["", "MX"]["values"]
    assert [len(provider.applied) for provider in two.at.values()] == [1, 1]
    assert two.agent().apply().exit_code == OK
    assert two.agent().check().exit_code == OK
    assert two.all_writes == 2


@pytest.mark.parametrize("zone", [ZONE, SECOND])
@pytest.mark.parametrize("place", [("", "MX"), ("", "TXT"), ("_dmarc", "TXT")], ids=["MX", "SPF", "DMARC"])
def test_a_conflict_at_one_stops_both_and_the_plan_shows_both_sides(
    two: TwoProviders, zone: str, place: tuple[str, str]
) -> None:
    two.held(zone)[place] = dict(FOREIGN[place])
    for report in (two.agent().plan(), two.agent().apply(), two.agent().plan()):
        assert report.exit_code == CONFLICT
        said = text.lines(report)
        assert any("there:" in line and "old-hoster" in line for line in said)
        assert any("wanted:" in line and zone in line for line in said)
    two.agent().check()
    assert two.all_writes == 0
    assert two.held(zone) == {place: FOREIGN[place]}
    # Told to take over the other domain only, it still stops.
    other = SECOND if zone == ZONE else ZONE
    assert two.agent().apply(adopt=[other]).exit_code == CONFLICT
    assert two.all_writes == 0
    assert two.agent().apply(adopt=[zone]).exit_code == OK
    assert "old-hoster" not in str(two.held(zone)[place])


def test_what_is_adopted_is_no_more_than_our_places(two: TwoProviders) -> None:
    two.held(SECOND).update({place: dict(data) for place, data in FOREIGN.items()})
    assert two.agent().apply(adopt=[]).exit_code == OK
    held = two.held(SECOND)
    assert held["", "CAA"] == FOREIGN["", "CAA"], "CAA of the website's authority"
    assert held["old._domainkey", "TXT"] == FOREIGN["old._domainkey", "TXT"], "another's signatures"
    assert "site=abc" in held["", "TXT"]["values"]


def test_a_provider_that_is_down_stops_apply_at_the_other_but_not_its_healing(two: TwoProviders) -> None:
    two.broken = {"two"}
    assert two.agent().apply().exit_code == ERROR
    assert two.all_writes == 0
    two.broken = set()
    two.agent().apply()
    two.broken, two.ipv4 = {"two"}, "198.51.100.44"
    two.agent().check()
    assert two.values("mail", "A") == {"198.51.100.44"}


def test_several_domains_at_one_entry(world: World) -> None:
    world.config = {**world.config, "domains": [{"name": ZONE, "dns": "lab"}, {"name": SECOND, "dns": "lab"}]}
    site = full_site(ZONE, SECOND)
    rrsets = record_set(site, dataclasses.replace(full_box(ZONE), ipv4=None, ipv6=None))
    world.ahead = {"all": fragment(one for zone in rrsets.values() for one in zone)}
    world.zones[f"{SECOND}."] = {place: dict(data) for place, data in FOREIGN.items()}
    before = dict(world.zones[f"{SECOND}."])
    assert world.agent().apply().exit_code == CONFLICT
    assert (world.writes, world.zone, world.zones[f"{SECOND}."]) == (0, {}, before)
    assert world.agent().apply(adopt=[SECOND]).exit_code == OK
    assert world.writes == 2
    assert world.zones[f"{SECOND}."]["", "CAA"] == FOREIGN["", "CAA"]
    assert world.agent().plan().exit_code == OK
