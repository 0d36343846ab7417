"""The records at the provider, what the agent leaves alone, and names as they look from the home and from the world."""

from __future__ import annotations

import json
from collections.abc import Iterator

import dns.flags
import dns.rcode
import pytest
from testinfra.host import Host

from tests.flow import lab

# What stood in the zones before the box came (inventories/lab: lab_dns_provider_zones).
FOREIGN = {
    "hearth.example": {
        ("*.pages.hearth.example", "A", "198.51.100.65"),
        ("hearth.example", "A", "198.51.100.65"),
        ("hearth.example", "TXT", '"sitecheck-verification=k7Qw2vXh9LmR4tBz"'),
        ("shop.hearth.example", "A", "198.51.100.65"),
        ("shop.hearth.example", "MX", "10 mx.provider.example."),
        ("www.hearth.example", "A", "198.51.100.65"),
        ("www.hearth.example", "AAAA", "2001:db8:100::65"),
    },
    "second.example": {("second.example", "TXT", '"sitecheck-verification=p3Ns8cYd6JfU1gEa"')},
}


def records(zone: str) -> set[tuple[str, str, str]]:
    """Read (name, type, value) of a zone at the provider, but for the provider's own name servers."""
    fields = [line.split("\t") for line in lab.provider_zone(zone)]
    return {(name, kind, value) for name, _ttl, _in, kind, value in fields if kind != "NS"}


def ours(zone: str) -> set[tuple[str, str, str]]:
    """Say what has to stand there for the box."""
    spf = next(value for name, kind, value in records(zone) if kind == "TXT" and "spf1" in value and name == zone)
    wanted = {(zone, "MX", f"10 {lab.MAIL_NAME}."), (zone, "TXT", spf)}
    if zone == "hearth.example":
        wanted |= {(lab.MAIL_NAME, "A", lab.wan_address()), (lab.MAIL_NAME, "AAAA", lab.home_ipv6())}
    return wanted


@pytest.mark.parametrize("zone", FOREIGN)
def test_ours_is_there_and_foreign_records_are_untouched(zone: str) -> None:
    found = records(zone)
    assert FOREIGN[zone] - found == set(), "records of others are gone"
    assert found == FOREIGN[zone] | ours(zone)


@pytest.mark.parametrize("zone", FOREIGN)
def test_one_spf_which_ends_in_a_judgement(zone: str) -> None:
    (spf,) = [value for value in lab.published(zone, "TXT") if "v=spf1" in value]
    assert spf.strip('"').split()[-1] in ("-all", "~all")
    assert "isp.example" not in spf, "mail leaves directly"


def test_aaaa_stands_because_the_world_came_in() -> None:
    assert lab.published(lab.MAIL_NAME, "AAAA") == [lab.home_ipv6()]
    log = lab.out("hearth-provider", "journalctl", "-u", "provider-web", "-o", "cat", "--no-pager")
    asked = [line for line in log.splitlines() if line.startswith(lab.home_ipv6()) and "port=25" in line]
    assert asked, "nobody has checked whether mail comes in over IPv6"


def test_both_servers_of_the_provider_agree() -> None:
    for server in ("198.51.100.60", "198.51.100.59"):
        answer = lab.ask("hearth-roamer", server, lab.MAIL_NAME, "A")
        assert [record.to_text() for record in answer.answer[0]] == [lab.wan_address()]


def test_the_home_finds_the_box_at_home_and_the_world_at_the_line() -> None:
    # The router has no way back in (hairpin): from the home, the public address leads nowhere.
    assert lab.name_servers("hearth-pc")[0] == lab.HOME_LAN
    assert lab.resolve("hearth-pc", lab.MAIL_NAME, "A") == [lab.HOME_LAN]
    assert lab.resolve("hearth-roamer", lab.MAIL_NAME, "A") == [lab.wan_address()]
    assert not lab.opens("hearth-pc", lab.wan_address(), 25)


def test_other_types_of_the_name_are_the_same_at_home() -> None:
    assert lab.resolve("hearth-pc", lab.MAIL_NAME, "AAAA") == lab.resolve("hearth-roamer", lab.MAIL_NAME, "AAAA")
    assert lab.resolve("hearth-pc", "www.hearth.example", "A") == ["198.51.100.65"]


@pytest.mark.parametrize(("name", "kind"), [("peer.example", "MX"), ("hearth.example", "MX"), (".", "SOA")])
def test_the_resolver_validates(name: str, kind: str) -> None:
    answer = lab.ask("hearth-pc", lab.HOME_LAN, name, kind, dnssec=True)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AD, f"{name} {kind} is not proven"


@pytest.fixture
def forged_zone() -> Iterator[str]:
    """Let the parent of a zone name another key than the zone is signed with, as a forger's answers would look."""
    zone, parent = "taken.example", "example"

    def set_keys(*keys: str) -> None:
        lab.run("hearth-dns", "pdnsutil", "replace-rrset", parent, "taken", "DS", "300", *keys)
        lab.run("hearth-home", "unbound-control", "flush_zone", zone)

    lines = lab.out("hearth-dns", "pdnsutil", "list-zone", parent).splitlines()
    fields = [line.split("\t") for line in lines if line.count("\t") == 4]
    keys = [value for name, _, _, kind, value in fields if (name, kind) == (zone, "DS")]
    assert keys, "the lab's zones are not signed"
    set_keys("1 13 2 " + "0" * 64)
    yield zone
    set_keys(*keys)


def test_the_resolver_refuses_what_is_forged(forged_zone: str) -> None:
    assert lab.ask("hearth-pc", lab.HOME_LAN, forged_zone, "MX").rcode() == dns.rcode.SERVFAIL


def test_the_box_asks_its_own_resolver() -> None:
    assert lab.name_servers("hearth-home")[0] in ("127.0.0.1", "::1")


def test_the_resolver_is_not_for_the_world() -> None:
    for address in (lab.wan_address(), lab.home_ipv6()):
        assert not lab.opens("hearth-roamer", address, 53)


def test_plan_shows_what_would_change(home: Host) -> None:
    assert lab.run("hearth-home", "hearth-ddns", "plan").returncode == 0
    record = {"zone": "hearth.example", "name": "plan", "type": "TXT", "ttl": 300, "values": ["only a plan"]}
    folder = "/run/flow-test-records"
    lab.run("hearth-home", "cp", "-r", "/etc/hearthmail/records.d", folder)
    try:
        lab.run("hearth-home", "tee", f"{folder}/test.json", stdin=json.dumps([record]))
        planned = lab.run("hearth-home", "hearth-ddns", "--records", folder, "plan", check=False)
    finally:
        lab.run("hearth-home", "rm", "-r", folder)
    assert planned.returncode == 2, planned.stdout
    assert "plan.hearth.example" in planned.stdout
    assert "only a plan" in planned.stdout
    assert not lab.published("plan.hearth.example", "TXT")


# What the box is does not matter: dns.yml asks the agent, which is the same file on both releases.
@pytest.mark.release("trixie")
def test_the_playbook_shows_what_would_change_but_no_credential() -> None:
    before, credential = lab.provider_zone("hearth.example"), "another-lab-key"
    provider = {"type": "powerdns", "url": "http://api.provider.example:8081", "api_key": credential}
    extra = {"postfix_records_ttl": 1234, "dns_providers": {"lab": provider}}
    done = lab.playbook("playbooks/dns.yml", "--check", "--diff", extra=extra)
    assert f"hearth.example. 1234 IN MX 10 {lab.MAIL_NAME}." in " ".join(done.stdout.split())
    assert lab.recap(done)["failed"] == 0
    # The agent's configuration would be another one, which is said without a line of it.
    written = done.stdout.partition("TASK [ddns : Write the agent's configuration")[2].partition("\nTASK [")[0]
    assert "changed: [hearth-home]" in written
    assert all(key not in done.stdout + done.stderr for key in (lab.PROVIDER_KEY, credential))
    assert credential not in lab.out("hearth-home", "cat", "/etc/hearthmail/ddns.json")
    assert lab.provider_zone("hearth.example") == before


def test_status_says_that_all_is_well(home: Host) -> None:
    assert lab.run("hearth-home", "hearth-ddns", "status").returncode == 0
