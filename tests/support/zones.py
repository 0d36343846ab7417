"""Random zones of others, into which the box's records go: for the merge, for octoDNS, and for a real provider.

How many are tried: `HEARTH_EXAMPLES` in the environment, or the test's own number.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from hearthmail.ddns.merge import Change
from hearthmail.ddns.records import Key, RRset, rdata_text
from tests.support.sites import rsa_key, spki

# What may stand in a zone that is in use. Names: the apex, wildcards, websites, names that look like ours, and ours.
PLAIN_NAMES = ["www", "*", "*.pages", "shop", "a.b.c.d", "xn--bcher-kva", "_github-challenge-org", "_abc123"]
LIKE_OURS = [
    "mail2",
    "smtp",
    "mail.lists",
    "_25._tcp.mail2",
    "_dmarc.shop",
    "_domainkey",
    "autoconfig.shop",
    "mta-sts.x",
]
OURS = [
    *("", "mail", "_25._tcp.mail", "_dmarc", "_mta-sts", "mta-sts", "_smtp._tls", "autoconfig", "autodiscover"),
    *("rsa2026._domainkey", "other._domainkey", "_imaps._tcp", "_imap._tcp", "_acme-challenge.mail"),
]
# Names at which the zone is handed on to other servers.
CUTS = ["sub", "lab.shop", "_tcp.mail", "_domainkey"]
VALUES: Mapping[str, list[str]] = {
    "A": ["198.51.100.10", "203.0.113.5", "203.0.113.6", "192.0.2.77"],
    "AAAA": ["2001:db8:77::10", "2001:db8::1", "2001:db8::2"],
    "MX": ["10 mail.{zone}.", "10 mx.other.example.", "20 mx2.other.example.", "0 .", "20 mx.backup.example."],
    "TXT": [
        "v=spf1 a:mail.{zone} include:isp.example -all",
        "v=spf1 include:x.example ~all",
        "V=SPF1 -all",
        "v=spf10 not spf",
        "v=DMARC1; p=none",
        "v=DMARC1;p=reject;rua=mailto:a@other.example",
        "v=DKIM1; k=rsa; p=" + rsa_key("another's", 294),
        "v=STSv1; id=20260101;",
        "v=TLSRPTv1; rua=mailto:tls@other.example",
        "google-site-verification=k7Qw2vXh9LmR4tBz",
        "plain words; with a semicolon",
        "x" * 255,
        "y" * 256,
        "t0ken-A",
        " a space before and after ",
    ],
    "CAA": [
        '0 issue "ca.example"',
        '0 issue "letsencrypt.org"',
        '0 issuewild ";"',
        '128 iodef "mailto:security@other.example"',
        '0 issue "buypass.com"',
    ],
    "CNAME": ["web.other.example.", "mail.{zone}."],
    "SRV": ["0 1 993 mail.{zone}.", "0 0 0 .", "5 10 443 other.example."],
    "TLSA": [f"3 1 1 {spki('now')}", f"3 1 1 {spki('anothers')}", f"2 0 1 {spki('anchor')}"],
    "NS": ["ns1.other.example.", "ns2.other.example."],
}
TYPES = ["A", "AAAA", "MX", "TXT", "TXT", "CAA", "SRV", "TLSA"]
TTLS = [1, 30, 60, 61, 299, 300, 900, 3600, 7207, 86400, 604800]


@dataclass(frozen=True)
class ForeignZone:
    """A zone before the box comes.

    :param rrsets: what it answers.
    :param disabled: values which it holds but does not answer (PowerDNS knows such), by place.
    """

    zone: str
    rrsets: dict[Key, RRset]
    disabled: dict[Key, frozenset[str]] = field(default_factory=dict)


@st.composite
def foreign_zones(draw: st.DrawFn, zone: str) -> ForeignZone:
    """Any zone that a server would load: a CNAME stands alone, the apex holds no CNAME, no NS but at cuts."""

    def values(rdtype: str, most: int = 4) -> frozenset[str]:
        drawn = draw(st.sets(st.sampled_from(VALUES[rdtype]), min_size=1, max_size=most))
        return frozenset(value.format(zone=zone) for value in drawn)

    def rrset(name: str, rdtype: str, most: int = 4) -> RRset:
        return RRset(Key(zone, name, rdtype), draw(st.sampled_from(TTLS)), values(rdtype, most))

    found: dict[Key, RRset] = {}
    # Others' names in any case; ours in three of four zones at most, or nearly every run would stop at once.
    names = set(draw(st.lists(st.sampled_from(PLAIN_NAMES + LIKE_OURS), max_size=6, unique=True)))
    names |= set(draw(st.lists(st.sampled_from(OURS), max_size=3, unique=True)))
    for name in sorted(names):
        if name and draw(st.integers(0, 4)) == 0:
            one = rrset(name, "CNAME", 1)
            found[one.key] = one
            continue
        types = draw(
            st.lists(st.sampled_from(["A", "AAAA", "MX", "TXT", "TXT", "CAA", "SRV", "TLSA"]), min_size=1, max_size=4)
        )
        for rdtype in sorted(set(types)):
            one = rrset(name, rdtype)
            found[one.key] = one
    # A verification value at the apex is what nearly every zone has.
    if draw(st.booleans()):
        key = Key(zone, "", "TXT")
        there = found.get(key, RRset(key, draw(st.sampled_from(TTLS)), frozenset()))
        found[key] = RRset(key, there.ttl, there.values | {"google-site-verification=k7Qw2vXh9LmR4tBz"})
    for name in draw(st.lists(st.sampled_from(CUTS), max_size=1)):
        # Below a cut a server answers nothing of its own.
        found = {key: one for key, one in found.items() if key.name != name and not key.name.endswith(f".{name}")}
        one = rrset(name, "NS", 2)
        found[one.key] = one
    disabled: dict[Key, frozenset[str]] = {}
    if draw(st.booleans()):
        place = Key(
            zone, draw(st.sampled_from(["", "mail", "www", "_dmarc", "off"])), draw(st.sampled_from(["A", "TXT"]))
        )
        alone = not any(key.name == place.name and key.type in ("CNAME", "NS") for key in found)
        below = any(key.type == "NS" and f".{place.name}".endswith(f".{key.name}") for key in found)
        left = values(place.type) - (found[place].values if place in found else frozenset())
        if alone and not below and left:
            disabled[place] = left
    return ForeignZone(zone, found, disabled)


def examples(default: int) -> int:
    """How many zones to try."""
    return int(os.environ.get("HEARTH_EXAMPLES", default))


# What must hold --------------------------------------------------------------------------------------------------


def lost(before: Mapping[Key, RRset], after: Mapping[Key, RRset], allowed: Collection[Key] = ()) -> list[str]:
    """Values, TTLs and places of others that are not as they were, in words.

    :param allowed: places that were to be taken over.
    """
    found = []
    for key, rrset in before.items():
        if key in allowed:
            continue
        now = after.get(key)
        if now is None:
            found.append(f"{key} is gone")
        elif rrset.values - now.values:
            found.append(f"{key} has lost {', '.join(sorted(rrset.values - now.values))}")
    return found


def strangers(before: Mapping[Key, RRset], after: Mapping[Key, RRset], ours: Iterable[RRset]) -> list[str]:
    """What stands there afterwards and is neither from before nor ours, in words; and TTLs that are nobody's."""
    wanted = {rrset.key: rrset for rrset in ours}
    found = []
    for key, rrset in after.items():
        was, want = before.get(key), wanted.get(key)
        known = (was.values if was else frozenset()) | (want.values if want else frozenset())
        found += [f"{key} {value} is nobody's" for value in sorted(rrset.values - known)]
        foreign = was is not None and bool(was.values - (want.values if want else frozenset()))
        right = was.ttl if was and (foreign or not want) else want.ttl if want else None
        if rrset.ttl != right and not (was and not foreign and rrset.ttl == was.ttl):
            found.append(f"{key} has the TTL {rrset.ttl}, not {right}")
    return found


def applied(zone: Mapping[Key, RRset], changes: Iterable[Change]) -> dict[Key, RRset]:
    """A zone after changes."""
    after = dict(zone)
    for change in changes:
        if change.after:
            after[change.key] = change.after
        else:
            del after[change.key]
    return after


# As a provider holds it ------------------------------------------------------------------------------------------


def powerdns_rrsets(foreign: ForeignZone) -> list[dict[str, Any]]:
    """The zone for PowerDNS's HTTP API (https://doc.powerdns.com/authoritative/http-api/zone.html)."""
    found = []
    for key in sorted({*foreign.rrsets, *foreign.disabled}):
        rrset = foreign.rrsets.get(key, RRset(key, 3600, frozenset()))
        records = [
            {"content": rdata_text(key.type, value), "disabled": value not in rrset.values}
            for value in sorted(rrset.values | foreign.disabled.get(key, frozenset()))
        ]
        found.append({"name": f"{key.fqdn}.", "type": key.type, "ttl": rrset.ttl, "records": records})
    return found
