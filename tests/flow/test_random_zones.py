"""Random zones in use, at the real PowerDNS: the box's agent puts its whole record set in, and nothing else changes.

`HEARTH_EXAMPLES=100` tries a hundred instead of five, in six minutes.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import dns.tokenizer
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from hearthmail.ddns.records import Key, RRset, canonical
from hearthmail.ddns.recordset import BY_ROLE, fragment, record_set, records_of_role
from tests.flow import lab
from tests.support.sites import full_box, full_site
from tests.support.zones import ForeignZone, examples, foreign_zones, lost, powerdns_rrsets, strangers, wrongly_taken

# The agent is the same on both.
pytestmark = pytest.mark.release("trixie")

ZONE = "random.example"
API_PORT, API_KEY = 8081, "lab-api-key"
# On the box: a configuration, fragments and a state beside those that are in use.
FOLDER = "/run/flow-test-random-zones"
OK, CONFLICT = 0, 3

Content = dict[tuple[str, str], tuple[int, frozenset[tuple[str, bool]]]]


def api(method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Ask the provider's HTTP API; gives the status and the document."""
    with lab.node("hearth-roamer"):
        connection = http.client.HTTPConnection(lab.PROVIDER, API_PORT, timeout=lab.TIMEOUT)
        headers = {"X-API-Key": API_KEY, "Content-Type": "application/json"}
        connection.request(method, f"/api/v1/servers/localhost/{path}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
    # What it does not find it says in plain words.
    is_json = answer.getheader("Content-Type", "").startswith("application/json")
    return answer.status, json.loads(text) if text and is_json else text


def drop() -> None:
    """Remove the zone, if it is there."""
    status, said = api("DELETE", f"zones/{ZONE}.")
    assert status in (204, 404), said


def fill(foreign: ForeignZone) -> None:
    """Let the zone be as it was before the box came."""
    drop()
    zone = {
        "name": f"{ZONE}.",
        "kind": "Native",
        "nameservers": ["ns1.provider.example.", "ns2.provider.example."],
        "rrsets": powerdns_rrsets(foreign),
    }
    status, said = api("POST", "zones", zone)
    assert status == 201, said


def content() -> Content:
    """All that the provider holds, to the letter, with the serial number: TTL, values, and which are disabled."""
    status, zone = api("GET", f"zones/{ZONE}.")
    assert status == 200, zone
    return {
        (rrset["name"], rrset["type"]): (
            rrset["ttl"],
            frozenset((record["content"], record["disabled"]) for record in rrset["records"]),
        )
        for rrset in zone["rrsets"]
    }


def answered(held: Content) -> dict[Key, RRset]:
    """What the zone answers, in the agent's form, without SOA and the provider's NS."""
    found = {}
    for (name, rdtype), (ttl, records) in held.items():
        key = Key(ZONE, name.rstrip(".").removesuffix(ZONE).rstrip("."), rdtype)
        values = frozenset(_value(rdtype, text) for text, disabled in records if not disabled)
        if values and rdtype != "SOA" and (key.name, rdtype) != ("", "NS"):
            found[key] = RRset(key, ttl, values)
    return found


def _value(rdtype: str, text: str) -> str:
    if rdtype != "TXT":
        return canonical(rdtype, text)
    # PowerDNS keeps a long value in one piece, and answers with pieces of 255 characters.
    tokens, pieces = dns.tokenizer.Tokenizer(text), []
    while not (token := tokens.get()).is_eol_or_eof():
        pieces.append(token.unescape_to_bytes().value)
    return b"".join(pieces).decode()


def agent(*command: str) -> tuple[int, Any]:
    """Run the box's agent over the zone; gives its exit code and report."""
    files = (f"--config={FOLDER}/ddns.json", f"--records={FOLDER}/records.d", f"--state={FOLDER}/state/ddns.json")
    done = lab.run("hearth-home", "hearth-ddns", *files, *command, "--json", check=False)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module", autouse=True)
def beside_the_agent_in_use() -> Iterator[None]:
    """Bring the configuration and every role's fragment; take all away at the end, the zone too."""
    site, box = full_site(ZONE), full_box(ZONE)
    own = json.loads(lab.out("hearth-home", "cat", "/etc/hearthmail/ddns.json"))
    (name,) = {domain["dns"] for domain in own["domains"]}
    own["hostname"], own["domains"] = f"mail.{ZONE}", [{"name": ZONE, "dns": name}]
    # The world is not told of the zone: its server is asked directly.
    own["providers"][name]["nameservers"] = [lab.PROVIDER]
    lab.run("hearth-home", "install", "--directory", "--mode=0700", FOLDER, f"{FOLDER}/records.d")
    try:
        lab.run("hearth-home", "tee", f"{FOLDER}/ddns.json", stdin=json.dumps(own))
        for role in BY_ROLE:
            # The address and challenges are the agent's own.
            if role != "ddns":
                entries = json.dumps(fragment(records_of_role(role, site, box)))
                lab.run("hearth-home", "tee", f"{FOLDER}/records.d/{role}.json", stdin=entries)
        yield
    finally:
        lab.run("hearth-home", "rm", "-rf", FOLDER)
        drop()


def ours() -> list[RRset]:
    """The whole record set, with the line's addresses of now."""
    site, box = full_site(ZONE), full_box(ZONE)
    now = {"A": lab.wan_address(), "AAAA": lab.home_ipv6()}
    return [
        RRset(one.key, one.ttl, frozenset({now[one.key.type]})) if one.key.type in now else one
        for one in record_set(site, box)[ZONE]
        if not one.key.name.startswith("_acme-challenge")
    ]


# Without shrinking: each try takes seconds. A zone that fails is printed as it is, and `tests/unit/ddns` shrinks it.
@pytest.mark.timeout(1800)
@settings(
    max_examples=examples(5),
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(foreign=foreign_zones(ZONE))
def test_nothing_of_others_changes(foreign: ForeignZone) -> None:
    fill(foreign)
    lab.run("hearth-home", "rm", "-rf", f"{FOLDER}/state")
    wanted, before = ours(), content()
    code, report = agent("apply")
    if code == CONFLICT:
        assert content() == before, "something was written all the same"
        code, report = agent("adopt")
        blocked = {
            Key(ZONE, conflict["name"].removesuffix(ZONE).rstrip("."), conflict["type"])
            for zone in report["zones"]
            for conflict in zone["conflicts"]
        }
        if code == CONFLICT:
            assert blocked, report
            assert content() == before, "a delegation stops all"
            return
        assert wrongly_taken(answered(before), answered(content()), wanted, blocked) == []
    else:
        assert lost(answered(before), answered(content())) == []
        assert strangers(answered(before), answered(content()), wanted) == []
    assert code == OK, report["text"]
    after = content()
    now = answered(after)
    assert [str(one.key) for one in wanted if not one.values <= now[one.key].values] == []
    # What the provider does not answer stays as it was, unless we need the very same value.
    for place, (_ttl, records) in before.items():
        needed = {value for one in wanted if (f"{one.key.fqdn}.", one.key.type) == place for value in one.values}
        asleep = {text for text, disabled in records if disabled and _value(place[1], text) not in needed}
        assert not asleep or asleep <= {text for text, disabled in after[place][1] if disabled}
    # A second run writes nothing: the serial number is the same, too.
    code, report = agent("apply")
    assert (code, report["changed"]) == (OK, False), report["text"]
    assert content() == after
