"""Every protocol against a real server: the whole record set is published, moved and healed; others' records stay.

The agent of the box works here with a configuration, fragments and a memory of its own, on a zone that is made for each
test. It believes the box to hold a public address itself; so the box's own agent rests meanwhile.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dns.rdatatype
import dns.rdtypes.txtbase
import pytest

from tests.flow import lab

# Nothing here depends on the release.
pytestmark = pytest.mark.release("bookworm")

ZONE = "providers.example"
MAIL = f"mail.{ZONE}"
PLACE = "/run/flow-test-providers"
CONTROL = "/run/provider-faults/control.json"
FIRST, SECOND, THIRD = "198.51.100.41", "198.51.100.42", "198.51.100.43"
SERVERS = [lab.PROVIDER, "198.51.100.59"]
# The box's own agent, and who would start it again.
AGENTS = ("hearth-probe.timer", "hearth-ddns.service")

# What others have in the zone: values in our places, names like ours, odd TTLs, a wildcard, a delegation, pieces.
FOREIGN = r"""
$ORIGIN providers.example.
$TTL 300
@             SOA   ns1.provider.example. hostmaster.provider.example. 1 3600 600 604800 10
@             NS    ns1.provider.example.
@             NS    ns2.provider.example.
@             A     198.51.100.65
@        7200 TXT   "sitecheck-verification=k7Qw2vXh9LmR4tBz"
@        7200 TXT   "a value; with \"quotes\"" " in two pieces"
@             CAA   0 issue "ca.provider.example"
www         7 A     198.51.100.65
www           AAAA  2001:db8:100::65
_443._tcp.www TLSA  3 1 1 0000000000000000000000000000000000000000000000000000000000000001
mail2         A     198.51.100.65
_dmarc.shop   TXT   "v=DMARC1; p=none"
*.pages       A     198.51.100.65
_xmpp._tcp    SRV   5 0 5222 www
branch        NS    ns1.provider.example.
branch        DS    12345 13 2 0000000000000000000000000000000000000000000000000000000000000002
"""

# What the roles of a whole box hand in.
DKIM = "v=DKIM1; k=rsa; p=" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" * 12
RECORDS: list[tuple[str, str, list[str]]] = [
    ("", "MX", [f"10 {MAIL}."]),
    ("", "TXT", ["v=spf1 mx -all"]),
    ("", "CAA", ['0 issue "letsencrypt.org"']),
    ("_dmarc", "TXT", [f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{ZONE}"]),
    ("s1._domainkey", "TXT", [DKIM]),
    ("_mta-sts", "TXT", ["v=STSv1; id=20261124"]),
    ("mta-sts", "CNAME", [f"{MAIL}."]),
    ("_smtp._tls", "TXT", [f"v=TLSRPTv1; rua=mailto:postmaster@{ZONE}"]),
    ("_25._tcp.mail", "TLSA", [f"3 1 1 {'ab' * 32}", f"3 1 1 {'cd' * 32}"]),
    ("_imaps._tcp", "SRV", [f"0 1 993 {MAIL}."]),
    ("_imap._tcp", "SRV", ["0 0 0 ."]),
    ("autoconfig", "CNAME", [f"{MAIL}."]),
    ("_acme-challenge.mail", "TXT", ["gfj9Xq-Rg85nM1", "gfj9Xq-Rg85nM2"]),
]
ADDRESS_TTL, TTL = 60, 3600

Places = dict[tuple[str, str], Any]


@dataclass(frozen=True)
class Protocol:
    """A way to the provider.

    :param entry: its entry in `dns_providers`.
    :param records: what is handed in; less than the whole where it cannot hold all.
    """

    entry: Mapping[str, Any]
    records: list[tuple[str, str, list[str]]] = field(default_factory=lambda: RECORDS)


PROTOCOLS = {
    "powerdns": Protocol({"type": "powerdns", "url": "http://api.provider.example:8081", "api_key": lab.PROVIDER_KEY}),
    "rfc2136": Protocol({"type": "rfc2136", "host": lab.PROVIDER, **lab.TSIG}),
    "lexicon": Protocol(
        {
            "type": "lexicon",
            "module": "powerdns",
            "auth_token": lab.PROVIDER_KEY,
            "pdns_server": "http://api.provider.example:8081",
            "pdns_disable_notify": True,
            "types": ["A", "AAAA", "CAA", "CNAME", "MX", "SRV", "TLSA", "TXT"],
        }
    ),
    # The account holds one name, as such accounts do: the box's.
    "dyndns2": Protocol(
        {
            "type": "dyndns2",
            "url": "http://update.provider.example/nic/update",
            "plain_http": True,
            "username": "hanako",
            "password": "hanako-secret",
            "hostnames": [MAIL],
        },
        [("mail", "MX", [f"10 {MAIL}."])],
    ),
}


# The zone at the provider ---------------------------------------------------------------------------------------------


def stands() -> Places:
    """Read the zone as the provider holds it, letter by letter; without the serial number."""
    return {
        (rrset["name"].rstrip("."), rrset["type"]): (
            rrset["ttl"],
            sorted((record["content"], record["disabled"]) for record in rrset["records"]),
        )
        for rrset in lab.provider_api("GET", f"/zones/{ZONE}.")["rrsets"]
        if rrset["type"] != "SOA"
    }


def by_hand(name: str, kind: str, ttl: int, *values: str) -> None:
    """Change a record as a person does at the provider's web page; without values it is deleted."""
    rrset: dict[str, Any] = {"name": f"{name}.", "type": kind, "changetype": "DELETE"}
    if values:
        records = [{"content": value, "disabled": False} for value in values]
        rrset.update(changetype="REPLACE", ttl=ttl, records=records)
    lab.provider_api("PATCH", f"/zones/{ZONE}.", {"rrsets": [rrset]})


@pytest.fixture
def foreign() -> Iterator[Places]:
    """Make the zone, with the records of others; gives them."""
    with lab.zone_at_provider(ZONE, FOREIGN):
        yield stands()


def assert_foreign_untouched(before: Places, own: set[tuple[str, str]]) -> None:
    """See that every record of others is there as it was, and nothing that nobody asked for.

    :param own: the places of our records.
    """
    after = stands()
    for place, (ttl, records) in before.items():
        there_ttl, there = after[place]
        assert there_ttl == ttl, place
        # Beside ours, where the place is shared; alone, where it is not.
        assert set(records) <= set(there) if place in own else records == there, place
    assert after.keys() == before.keys() | own


# The agent ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def box_holds_its_address() -> Iterator[None]:
    """Let the box's own agent rest, and the box hold a public address itself."""
    running = [
        unit for unit in AGENTS if lab.run("hearth-home", "systemctl", "is-active", unit, check=False).returncode == 0
    ]
    lab.run("hearth-home", "systemctl", "stop", *running)
    try:
        lab.hold_address(FIRST)
        yield
    finally:
        lab.hold_address(None)
        lab.run("hearth-home", "systemctl", "start", *running)


@pytest.fixture(autouse=True)
def place_of_its_own() -> Iterator[None]:
    """Give the agent an empty place, and a line without faults, and let the box hold the first address."""
    lab.run("hearth-home", "rm", "-rf", PLACE)
    lab.run("hearth-home", "mkdir", "-p", f"{PLACE}/records.d")
    no_fault()
    lab.hold_address(FIRST)
    yield
    no_fault()
    lab.run("hearth-home", "rm", "-rf", PLACE)


def write(path: str, data: Any) -> None:
    """Write a file of the agent's."""
    lab.run("hearth-home", "tee", f"{PLACE}/{path}", stdin=json.dumps(data))


def configure(protocol: Protocol, **options: Any) -> None:
    """Tell the agent what it is in charge of, and the way there.

    :param options: what is otherwise in the provider's entry.
    """
    entry = {**protocol.entry, "nameservers": SERVERS, **options}
    address = {
        "sources": ["interface"],
        "ipv6_check_url": "http://reach.provider.example/?port=25",
        "allow_documentation": True,
    }
    domains = [{"name": ZONE, "dns": "test"}]
    write("ddns.json", {"hostname": MAIL, "domains": domains, "providers": {"test": entry}, "address": address})
    fragment = [
        {"zone": ZONE, "name": name, "type": kind, "ttl": TTL, "values": values}
        for name, kind, values in protocol.records
    ]
    write("records.d/whole.json", fragment)


def agent(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the agent on its own place."""
    places = ["--config", f"{PLACE}/ddns.json", "--records", f"{PLACE}/records.d", "--state", f"{PLACE}/state.json"]
    return lab.run("hearth-home", "hearth-ddns", *places, *words, check=check)


def wanted(protocol: Protocol, ipv4: str) -> dict[tuple[str, str], set[str]]:
    """Say what the world has to see of ours."""
    found = {(f"{name}.{ZONE}".lstrip("."), kind): set(values) for name, kind, values in protocol.records}
    return found | {(MAIL, "A"): {ipv4}, (MAIL, "AAAA"): {lab.home_ipv6()}}


def seen(server: str, name: str, kind: str) -> set[str]:
    """Ask a name server what stands in a place, in the form of the fragments."""
    answer = lab.ask("hearth-roamer", server, name, kind)
    records = [one for found in answer.answer if found.rdtype == dns.rdatatype.from_text(kind) for one in found]
    return {
        b"".join(one.strings).decode() if isinstance(one, dns.rdtypes.txtbase.TXTBase) else one.to_text()
        for one in records
    }


def wrong(protocol: Protocol, *ipv4: str) -> list[str]:
    """List what the provider's servers answer otherwise than they should, or should with an address of these."""
    right = [wanted(protocol, one) for one in ipv4]
    return [
        f"{server} {name} {kind}: {sorted(there)}"
        for server, (name, kind) in itertools.product(SERVERS, right[0])
        if not any(one[name, kind] <= (there := seen(server, name, kind)) for one in right)
        or (kind in ("A", "AAAA", "CNAME") and len(there) != 1)
    ]


# Published, moved, healed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_whole_record_set_is_published_moved_and_healed(name: str, foreign: Places) -> None:
    protocol = PROTOCOLS[name]
    own = set(wanted(protocol, FIRST))
    configure(protocol)

    agent("apply")
    assert wrong(protocol, FIRST) == []
    assert_foreign_untouched(foreign, own)
    published = stands()

    agent("apply")
    assert stands() == published, "a second run changed something"

    lab.hold_address(SECOND)
    agent("apply")
    assert wrong(protocol, SECOND) == []
    assert_foreign_untouched(foreign, own)
    moved = stands()
    assert {place for place in moved if moved[place] != published[place]} == {(MAIL, "A")}

    by_hand(MAIL, "A", ADDRESS_TTL, "198.51.100.66")
    ((exchange, _),) = [place for place in own if place[1] == "MX"]
    by_hand(exchange, "MX", TTL, "10 elsewhere.provider.example.")
    agent("apply")
    assert wrong(protocol, SECOND) == []
    assert seen(SERVERS[0], exchange, "MX") == {f"10 {MAIL}."}
    assert_foreign_untouched(foreign, own)


@pytest.mark.parametrize("name", ["powerdns", "rfc2136"])
def test_ttls_are_ours_and_a_deleted_record_comes_back(name: str, foreign: Places) -> None:
    protocol = PROTOCOLS[name]
    configure(protocol)
    agent("apply")
    there = stands()
    assert there[MAIL, "A"][0] == ADDRESS_TTL
    assert there[f"_dmarc.{ZONE}", "TXT"][0] == TTL
    by_hand(f"_dmarc.{ZONE}", "TXT", 0)
    agent("apply")
    assert stands() == there


def test_with_another_key_nothing_is_read_or_written(foreign: Places) -> None:
    secret = "bm90LXRoZS1sYWItdHNpZy1zZWNyZXQtMDAwMDAwMDE="
    configure(PROTOCOLS["rfc2136"], key_secret=secret)
    done = agent("apply", check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert secret not in said
    assert "key_secret" in said, "it does not say what is to be corrected"
    assert stands() == foreign


# A bad line -----------------------------------------------------------------------------------------------------------


def fault(**what: Any) -> None:
    """Let who asks the provider on port 8082 or 8443 meet a fault (provider_faults.py)."""
    lab.run("hearth-provider", "tee", CONTROL, stdin=json.dumps(what))


def no_fault() -> None:
    """Mend the line."""
    lab.run("hearth-provider", "rm", "-f", CONTROL)


PLAIN, TLS, EXPIRED = (
    "http://api.provider.example:8082",
    "https://api.provider.example:8443",
    "https://expired.provider.example:8443",
)
SLOW = {"fault": "slow", "seconds": 20}
BUSY = {"fault": "status", "status": 429, "headers": {"Retry-After": "120"}}
# What happens, and what the agent has to say about it.
FAULTS = {
    "slow": (SLOW, "timed out"),
    "slow to write": ({**SLOW, "methods": ["PATCH"]}, "timed out"),
    "slow after the write": ({**SLOW, "methods": ["PATCH"], "after": True}, "timed out"),
    "busy": (BUSY, "HTTP 429"),
    "busy for writes": ({**BUSY, "methods": ["PATCH"]}, "HTTP 429"),
    "broken": ({"fault": "status", "status": 500}, "HTTP 500"),
    "broken after the write": ({"fault": "status", "status": 500, "methods": ["PATCH"], "after": True}, "HTTP 500"),
    "reset": ({"fault": "reset"}, "reset by peer"),
    "reset after the write": ({"fault": "reset", "methods": ["PATCH"], "after": True}, "reset by peer"),
    # Debian 12's urllib3 does not compare the length with what was announced: there it is JSON that breaks off.
    "truncated": ({"fault": "truncate", "methods": ["GET"]}, "IncompleteRead|JSONDecodeError"),
}


def assert_survived(protocol: Protocol, foreign: Places, says: str) -> None:
    """Run the agent over the bad line, after the address has changed: it says so, and what is seen is old or new."""
    lab.hold_address(SECOND)
    done = agent("apply", check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert re.search(says, said), said
    assert "Traceback" not in said, said
    assert all(secret not in said for secret in (lab.PROVIDER_KEY, "hanako-secret")), said
    assert wrong(protocol, FIRST, SECOND) == []
    assert_foreign_untouched(foreign, set(wanted(protocol, FIRST)))


@pytest.mark.parametrize("what", FAULTS)
def test_nothing_wrong_is_published_over_a_bad_line(what: str, foreign: Places) -> None:
    protocol = PROTOCOLS["powerdns"]
    control, says = FAULTS[what]
    configure(protocol, url=PLAIN, timeout=2)
    agent("apply")
    fault(**control)
    assert_survived(protocol, foreign, says)

    no_fault()
    agent("apply")
    assert wrong(protocol, SECOND) == []
    assert_foreign_untouched(foreign, set(wanted(protocol, SECOND)))


def test_an_expired_certificate_is_not_accepted(foreign: Places) -> None:
    protocol = PROTOCOLS["powerdns"]
    configure(protocol, url=TLS)
    agent("apply")
    before = stands()
    configure(protocol, url=EXPIRED)
    assert_survived(protocol, foreign, "certificate has expired")
    assert stands() == before, "something went to a server whose certificate has expired"

    configure(protocol, url=TLS)
    agent("apply")
    assert wrong(protocol, SECOND) == []


# Dyn's update protocol ------------------------------------------------------------------------------------------------


def nic(method: str, path: str, body: Any = None) -> Any:
    """Talk to the control of the dynamic DNS service (nic_update.py), which listens in its container only."""
    with lab.node("hearth-provider"):
        connection = http.client.HTTPConnection("127.0.0.1", 8054, timeout=lab.TIMEOUT)
        connection.request(method, path, None if body is None else json.dumps(body))
        text = connection.getresponse().read().decode()
        connection.close()
    return json.loads(text) if text else None


@pytest.fixture
def service() -> Iterator[None]:
    """Have a dynamic DNS service that answers by the rules, before and after."""
    nic("DELETE", "/answers")
    nic("DELETE", "/requests")
    yield
    nic("DELETE", "/answers")


def time_passes() -> None:
    """Let the times end for which the agent was told to wait: half an hour is too long for a test."""
    state = json.loads(lab.out("hearth-home", "cat", f"{PLACE}/state.json"))
    assert state["waits"], "it does not wait"
    for wait in state["waits"].values():
        wait["until"] = 0
    write("state.json", state)


STOPS = ("badauth", "!donator", "notfqdn", "nohost", "numhost", "abuse", "badagent")
WAITS = ("911", "dnserr", "good 127.0.0.1")


@pytest.mark.parametrize("code", [*STOPS, *WAITS])
def test_an_answer_that_says_no_is_obeyed(code: str, foreign: Places, service: None) -> None:
    protocol = PROTOCOLS["dyndns2"]
    configure(protocol)
    agent("apply")
    nic("POST", "/answers", [{"body": f"{code}\n"}])
    assert_survived(protocol, foreign, re.escape(code))
    assert wrong(protocol, FIRST) == []
    asked = len(nic("GET", "/requests"))

    # Whoever goes on asking is blocked.
    again = agent("apply", check=False)
    assert again.returncode == 1
    assert code in again.stdout
    assert len(nic("GET", "/requests")) == asked, "it was asked again all the same"

    if code in STOPS:
        configure(protocol, attempt=2)
    else:
        time_passes()
    agent("apply")
    assert wrong(protocol, SECOND) == []
    assert len(nic("GET", "/requests")) == asked + 1
    assert_foreign_untouched(foreign, set(wanted(protocol, SECOND)))


def test_a_service_that_says_nochg_without_need_is_not_believed_and_not_asked_again(
    foreign: Places, service: None
) -> None:
    protocol = PROTOCOLS["dyndns2"]
    configure(protocol)
    agent("apply")
    lab.hold_address(SECOND)
    nic("POST", "/answers", [{"body": "nochg\n"}])
    assert "still answers" in agent("apply", check=False).stdout, "the old address was taken for the new one"
    asked = len(nic("GET", "/requests"))
    assert agent("apply", check=False).returncode == 1
    assert len(nic("GET", "/requests")) == asked
    assert wrong(protocol, FIRST) == []

    lab.hold_address(THIRD)
    agent("apply")
    assert wrong(protocol, THIRD) == []
    assert_foreign_untouched(foreign, set(wanted(protocol, THIRD)))


@pytest.mark.parametrize(
    ("what", "says"),
    [("slow", "no answer within 2 s"), ("busy", "HTTP 429"), ("broken", "HTTP 500"), ("reset", "reset")],
)
def test_a_bad_line_to_the_dynamic_dns_service(what: str, says: str, foreign: Places, service: None) -> None:
    protocol = PROTOCOLS["dyndns2"]
    configure(protocol, url=f"{PLAIN}/nic/update", timeout=2)
    agent("apply")
    fault(**FAULTS[what][0])
    assert_survived(protocol, foreign, says)
    assert wrong(protocol, FIRST) == []

    no_fault()
    if what == "busy":
        time_passes()
    agent("apply")
    assert wrong(protocol, SECOND) == []


def test_a_password_is_not_sent_to_who_has_an_expired_certificate(foreign: Places, service: None) -> None:
    protocol = PROTOCOLS["dyndns2"]
    configure(protocol, url=f"{TLS}/nic/update")
    agent("apply")
    asked = len(nic("GET", "/requests"))
    configure(protocol, url=f"{EXPIRED}/nic/update")
    assert_survived(protocol, foreign, "certificate has expired")
    assert len(nic("GET", "/requests")) == asked

    configure(protocol, url=f"{TLS}/nic/update")
    agent("apply")
    assert wrong(protocol, SECOND) == []
