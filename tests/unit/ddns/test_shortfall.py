"""What a provider cannot hold is left out and told; its smallest TTL counts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hearthmail.ddns import shortfall, text
from hearthmail.ddns.config import ProviderConfig, parse
from hearthmail.ddns.providers import SPECS
from hearthmail.ddns.records import Key, RRset, desired_records

from .conftest import CONFIG, MX_AND_SPF, ZONE, World

TLSA = {"zone": ZONE, "name": "_25._tcp.mail", "type": "TLSA", "values": [f"3 1 1 {'ab' * 32}"]}


@pytest.fixture
def poor(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A provider that holds no TLSA and no short TTL."""
    spec = dataclasses.replace(SPECS["powerdns"], holds=SPECS["powerdns"].holds - {"TLSA"}, min_ttl=600)
    monkeypatch.setitem(SPECS, "powerdns", spec)
    world.provider.SUPPORTS = world.provider.SUPPORTS - {"TLSA"}  # type: ignore[misc]
    world.ahead = {"postfix": [*MX_AND_SPF, TLSA]}
    return world


def test_the_rest_is_published_and_the_loss_told(poor: World) -> None:
    plan = poor.agent().plan()
    said = "\n".join(text.lines(plan))
    assert f"no TLSA at _25._tcp.mail.{ZONE}: DANE stays off" in said
    assert "the world may look for the old address for up to 600 s" in said
    assert not plan.errors
    report = poor.agent().apply()
    assert report.exit_code == 0, text.lines(report)
    assert ("mail", "A") in poor.zone
    assert not any(rdtype == "TLSA" for _name, rdtype in poor.zone)
    state = poor.state
    assert state is not None
    assert state.published
    assert not any("TLSA" in place for place in state.owned)
    status = text.status(state)
    assert status["problems"] == []
    assert any("DANE stays off" in line for line in text.status_lines(status))


def test_nobody_is_asked_for_what_was_lost(poor: World, monkeypatch: pytest.MonkeyPatch) -> None:
    poor.agent().apply()
    asked: list[Key] = []
    question = poor.question
    monkeypatch.setattr(poor, "question", lambda server, key: asked.append(key) or question(server, key))
    report = poor.agent().check()
    assert asked
    assert all(key.type != "TLSA" for key in asked)
    assert report.exit_code == 0
    assert text.lines(report) == []


def test_once_the_provider_can_it_is_asked_for(poor: World, monkeypatch: pytest.MonkeyPatch) -> None:
    poor.agent().apply()
    assert not poor.agent().plan(quick=True).changed
    monkeypatch.undo()
    poor.provider.SUPPORTS = poor.provider.SUPPORTS | {"TLSA"}  # type: ignore[misc]
    plan = poor.agent().plan(quick=True)
    assert [change.key.type for zone in plan.zones for change in zone.changes if not change.before] == ["TLSA"]


@pytest.mark.parametrize(
    ("type_", "own", "counts"),
    [("gandi", 0, 300), ("gandi", 60, 300), ("gandi", 900, 900), ("desec", 0, 3600), ("desec", 60, 60)],
)
def test_the_smallest_ttl(type_: str, own: int, counts: int) -> None:
    assert ProviderConfig("home", type_, {"min_ttl": own}).min_ttl == counts
    config: dict[str, Any] = {**CONFIG, "providers": {"lab": {"type": type_, "token": "geheim", "min_ttl": own}}}
    parsed = parse(config)
    (address,) = desired_records(parsed, [], "198.51.100.10", None)
    assert address.ttl == max(60, counts)
    assert bool(shortfall.notes([], parsed)[ZONE]) == (counts > 300)


@pytest.mark.parametrize(
    ("name", "rdtype", "value", "words"),
    [
        ("", "CAA", '0 issue "a.example"', "every authority"),
        ("_imaps._tcp", "SRV", "0 1 993 mail.hearth.example.", "mail programs"),
        ("_acme-challenge", "TXT", "abc", "DNS challenge"),
        ("2026a._domainkey", "TXT", "v=DKIM1; p=", "DKIM"),
        ("_dmarc", "TXT", "v=DMARC1; p=none", "DMARC stays off"),
        ("", "TXT", "v=spf1 mx -all", "SPF stays off"),
        ("_mta-sts", "TXT", "v=STSv1; id=1", "MTA-STS stays off"),
        ("", "TXT", "something", "it is not published"),
    ],
)
def test_every_loss_has_its_words(name: str, rdtype: str, value: str, words: str) -> None:
    rrset = RRset(Key(ZONE, name, rdtype), 3600, frozenset({value}))
    said = shortfall.loss(rrset)
    assert said.startswith(f"no {rdtype} at {rrset.key.fqdn}: ")
    assert words in said


@pytest.mark.parametrize("name", ["", "www"])
def test_what_an_account_holds_at_its_own_names_only_is_lost_elsewhere(name: str) -> None:
    entry = {"type": "dyndns2", "url": "https://dyn.example/nic", "username": "u", "password": "p"}
    config = parse({**CONFIG, "providers": {"lab": {**entry, "hostnames": [f"mail.{ZONE}"]}}})
    here, elsewhere = (RRset(Key(ZONE, one, "MX"), 3600, frozenset({f"10 mail.{ZONE}."})) for one in ("mail", name))
    assert shortfall.split([here, elsewhere], config) == ([here], [elsewhere])
    (said,) = shortfall.notes([elsewhere], config)[ZONE]
    assert said.startswith(f"no MX at {elsewhere.key.fqdn}: mail goes to the address of the name itself")
    assert "dns_providers.lab.hostnames" in said
