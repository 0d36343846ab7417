"""A domain whose mail goes elsewhere: the first run stops and shows both; it goes on only when told to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flow import lab

# The agent and its libraries are the same file on both.
pytestmark = pytest.mark.release("bookworm")

ZONE = "taken.example"
DOMAINS = [{"name": name, "dns": "lab"} for name in (*lab.DOMAINS, ZONE)]
ZONES = (*lab.DOMAINS, ZONE)


@pytest.fixture(scope="module", autouse=True)
def as_before() -> Iterator[None]:
    """Give the zone back to its owner, and take the domain off the box."""
    before = [line.split("\t") for line in lab.provider_zone(ZONE)]
    yield
    # First the box lets go of the domain: until then its agent would heal what is given back. The mail server got no
    # new domain: only the records were handed in.
    lab.playbook("playbooks/dns.yml")
    for name, ttl, _, kind, value in before:
        if kind in ("MX", "TXT"):
            place = "@" if name == ZONE else name.removesuffix(f".{ZONE}")
            lab.run("hearth-provider", "pdnsutil", "replace-rrset", ZONE, place, kind, ttl, value)
    lab.run("hearth-provider", "pdnsutil", "rectify-zone", ZONE)
    assert [line.split("\t") for line in lab.provider_zone(ZONE)] == before


def test_stops_and_shows_both() -> None:
    before = {zone: lab.provider_zone(zone) for zone in ZONES}
    done = lab.playbook("playbooks/site.yml", "--tags", "ddns,postfix", extra={"mail_domains": DOMAINS}, check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    for words in (
        "10 mx.provider.example.",  # there
        "v=spf1 include:provider.example -all",
        f"10 {lab.MAIL_NAME}.",  # wanted
        "ddns_adopt=true",  # the way out
    ):
        assert words in said, said[-3000:]
    # It stopped before the mail server was touched.
    assert ZONE not in lab.out("hearth-home", "postconf", "virtual_mailbox_domains")
    assert {zone: lab.provider_zone(zone) for zone in ZONES} == before, "something was written all the same"


def test_the_agent_does_not_go_on_by_itself() -> None:
    before = lab.provider_zone(ZONE)
    assert lab.run("hearth-home", "hearth-ddns", "check", check=False).returncode in (0, 3)
    assert lab.provider_zone(ZONE) == before


def test_goes_on_when_told_to() -> None:
    done = lab.playbook("playbooks/dns.yml", extra={"mail_domains": DOMAINS, "ddns_adopt": True})
    assert lab.recap(done)["failed"] == 0
    assert lab.published(ZONE, "MX") == [f"10 {lab.MAIL_NAME}."]
    (spf,) = lab.published(ZONE, "TXT")
    assert "provider.example" not in spf
