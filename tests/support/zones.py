"""Random zones of others, into which the box's records go: for the merge, for octoDNS, and for a real provider.

How many are tried: `HEARTH_EXAMPLES` in the environment, or the test's own number.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from hearthmail.ddns.merge import Change, version_tag
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


def _pool(zone: str, names: Iterable[str], types: Iterable[str], each: int) -> list[RRset]:
    """RRsets to choose from, the same in every run: one choice is one RRset, which is quick to draw and to shrink."""
    chance = random.Random(f"{zone} {names}")
    found = []
    for name in names:
        for rdtype in types:
            if rdtype == "CNAME" and not name:
                continue
            for _ in range(each):
                most = 1 if rdtype == "CNAME" else min(4, len(VALUES[rdtype]))
                values = chance.sample(VALUES[rdtype], chance.randint(1, most))
                found.append(
                    RRset(
                        Key(zone, name, rdtype), chance.choice(TTLS), frozenset(one.format(zone=zone) for one in values)
                    )
                )
    return found


def foreign_zones(zone: str) -> st.SearchStrategy[ForeignZone]:
    """Any zone that a server would load: a CNAME stands alone, the apex holds no CNAME, no NS but at cuts."""
    types = ("A", "AAAA", "MX", "TXT", "CAA", "SRV", "TLSA", "CNAME")
    others = st.sampled_from(_pool(zone, PLAIN_NAMES + LIKE_OURS, types, 2))
    # In our places fewer, or nearly every run would stop at once.
    at_ours = st.sampled_from(_pool(zone, OURS, types, 3) + _pool(zone, [""] * 8, ["TXT", "CAA"], 3))
    cuts = st.sampled_from(_pool(zone, CUTS, ["NS"], 2))
    asleep = st.sampled_from(_pool(zone, ["", "mail", "www", "_dmarc", "off"], ["A", "TXT"], 6))
    return st.builds(
        lambda *parts: _loadable(zone, *parts),
        st.lists(others, max_size=6),
        st.lists(at_ours, max_size=3),
        st.lists(cuts, max_size=1),
        st.lists(asleep, max_size=1),
    )


def _loadable(
    zone: str, others: list[RRset], at_ours: list[RRset], cuts: list[RRset], asleep: list[RRset]
) -> ForeignZone:
    """Drop what cannot stand beside the rest."""
    below = {name.key.name for name in cuts}

    def is_cut(name: str) -> bool:
        return any(f".{name}".endswith(f".{cut}") for cut in below)

    found: dict[Key, RRset] = {}
    for rrset in [*others, *at_ours]:
        beside = {key.type for key in found if key.name == rrset.key.name}
        alone = "CNAME" in beside or (rrset.key.type == "CNAME" and beside)
        if not alone and not is_cut(rrset.key.name):
            found[rrset.key] = rrset
    found |= {cut.key: cut for cut in cuts}
    disabled = {}
    for rrset in asleep:
        place = rrset.key
        left = rrset.values - (found[place].values if place in found else frozenset())
        if left and Key(zone, place.name, "CNAME") not in found and not is_cut(place.name):
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


def wrongly_taken(
    before: Mapping[Key, RRset], after: Mapping[Key, RRset], ours: Iterable[RRset], blocked: Collection[Key]
) -> list[str]:
    """What `adopt` took away though it stands in no place of ours, in words.

    :param blocked: places of ours that cannot be taken over.
    """
    wanted = {rrset.key: rrset for rrset in ours if rrset.key not in blocked}
    names = {key.name for key in wanted}
    aliases = {key.name for key in wanted if key.type == "CNAME"}
    found = []
    for key, rrset in before.items():
        if (key.type == "CNAME" and key.name in names) or key.name in aliases:
            continue  # a CNAME, theirs or ours, stands alone
        stays = rrset.values
        if key in wanted and key.type == "TXT":
            tags = {version_tag(value) for value in wanted[key].values} - {None}
            stays = frozenset(value for value in stays if version_tag(value) not in tags)
        elif key in wanted and key.type != "CAA":
            continue
        if key not in wanted and after.get(key) != rrset:
            found.append(f"{key} was changed")
        elif stays and (key not in after or stays - after[key].values):
            found.append(f"{key} has lost a value that was no rival")
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
