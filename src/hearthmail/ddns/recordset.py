"""The whole record set of a site's domains: pure functions, one for each kind of record.

A role's fragment is `records_of_role`; all of them together are `record_set`. The values come out in the form in
which the agent compares them. Only Python's own library is needed: the controller's plugins use this module too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.records import ADDRESS_TTL, DEFAULT_TTL, Key, RRset

# Preferences of our own MX and of the first backup MX; each further one is tried after the one before it.
MX_PREFERENCE, BACKUP_PREFERENCE = 10, 20

# Terms of SPF that cost the receiver a DNS lookup, and how many it allows (RFC 7208 4.6.4).
_LOOKUP_TERM = re.compile(r"[+?~-]?(?:include:|exists:|(?:a|mx|ptr)(?:[:/]|$)|redirect=)", re.IGNORECASE)
SPF_LOOKUPS = 10

# The services of RFC 6186 and RFC 8314 by name: their port.
SERVICES = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "submission": 587, "submissions": 465}


@dataclass(frozen=True)
class Dmarc:
    """What receivers do with mail that passes neither SPF nor DKIM (RFC 7489 6.3).

    :param policy: `none`, `quarantine` or `reject`.
    :param reports: addresses for aggregate reports. One in another domain has to allow it there (RFC 7489 7.1).
    """

    policy: str = "quarantine"
    reports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Domain:
    """A mail domain, which is a zone.

    :param backup_mx: names of servers that take mail while the box is away, in the order in which to try them.
    :param sts_mode: the mode of its MTA-STS policy: `testing`, `enforce` or `none` (RFC 8461 5).
    :param tls_reports: addresses for reports about TLS (RFC 8460 3); without one there is no such record.
    """

    name: str
    backup_mx: tuple[str, ...] = ()
    dmarc: Dmarc = Dmarc()
    sts_mode: str = "enforce"
    tls_reports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """What a person decides.

    :param outbound: how mail leaves: `direct`, `relay`, or `auto`: both may be.
    :param relay_spf: what the relay needs in SPF, such as `include:isp.example`.
    :param ttl: seconds, for all but the address records.
    """

    hostname: str
    domains: tuple[Domain, ...]
    outbound: str = "direct"
    relay_spf: str | None = None
    ttl: int = DEFAULT_TTL

    @property
    def hostname_key(self) -> Key | None:
        """The zone and label of the box's name (the type is empty); None when no domain of ours holds it."""
        zones = [one.name for one in self.domains if f".{self.hostname}".endswith(f".{one.name}")]
        if not zones:
            return None
        zone = max(zones, key=len)
        return Key(zone, self.hostname.removesuffix(zone).removesuffix("."), "")


@dataclass(frozen=True)
class DkimKey:
    """A key for signing, as it is published.

    :param public: RSA: its SubjectPublicKeyInfo in DER; Ed25519: its 32 octets (RFC 8463 4.2); in base64.
    :param algorithm: `rsa` or `ed25519`.
    :param domains: those that sign with it; empty: all.
    """

    selector: str
    public: str
    algorithm: str = "rsa"
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Issuer:
    """A certificate authority that may issue for the box's name (RFC 8659 4.2).

    :param account: the URI of the only account that may ask for it (RFC 8657 3).
    :param methods: the only ways in which control may be shown (RFC 8657 4).
    """

    name: str
    account: str | None = None
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Box:
    """What the box knows: nothing of it is decided by a person.

    :param roles: the roles that are deployed; without its role a record is absent.
    :param services: the services that it offers, of `SERVICES`.
    :param signed: the zones that are signed: in others DANE does not count (RFC 7672 2.2), so no TLSA stands there.
    :param tls_keys: SHA-256 of the SubjectPublicKeyInfo of the keys in use and next, in hex.
    :param challenges: values by full name, such as `_acme-challenge.mail.hearth.example`.
    """

    roles: frozenset[str] = frozenset()
    ipv4: str | None = None
    ipv6: str | None = None
    services: frozenset[str] = frozenset({"imaps", "pop3s", "submission", "submissions"})
    signed: frozenset[str] = frozenset()
    tls_keys: tuple[str, ...] = ()
    dkim_keys: tuple[DkimKey, ...] = ()
    issuers: tuple[Issuer, ...] = ()
    challenges: Mapping[str, frozenset[str]] = field(default_factory=dict)


def site_from_model(model: Mapping[str, Any]) -> Site:
    """Read the site from the model that the roles see (plugins/module_utils/hearthmail_site/model.py).

    What a domain does not say yet (`backup_mx`, `dmarc`, `sts_mode`, `tls_reports`) has our default.
    """

    def domain(entry: Mapping[str, Any]) -> Domain:
        dmarc = entry.get("dmarc") or {}
        return Domain(
            entry["name"].lower().rstrip("."),
            tuple(name.lower().rstrip(".") for name in entry.get("backup_mx") or ()),
            Dmarc(dmarc.get("policy", Dmarc.policy), tuple(dmarc.get("reports", ()))),
            entry.get("sts_mode") or Domain.sts_mode,
            tuple(entry.get("tls_reports") or ()),
        )

    return Site(
        hostname=model["hostname"].lower().rstrip("."),
        domains=tuple(domain(entry) for entry in model["domains"]),
        outbound=model["outbound"],
        relay_spf=(model.get("relay") or {}).get("spf"),
        ttl=int(model.get("ttl", DEFAULT_TTL)),
    )


# One kind of record each ------------------------------------------------------------------------------------------


def addresses(site: Site, box: Box, domain: Domain) -> list[RRset]:
    """A and AAAA of the box's name (RFC 1035 3.4.1, RFC 3596)."""
    place = _hostname_in(site, domain)
    if place is None:
        return []
    both = (("A", box.ipv4), ("AAAA", box.ipv6))
    return [
        RRset(Key(place.zone, place.name, rdtype), ADDRESS_TTL, frozenset({address.lower()}))
        for rdtype, address in both
        if address
    ]


def mx(site: Site, _box: Box, domain: Domain) -> list[RRset]:
    """Where mail for the domain goes: the box, and those that keep it while the box is away (RFC 5321 5.1)."""
    values = [f"{MX_PREFERENCE} {site.hostname}."]
    values += [f"{BACKUP_PREFERENCE + 10 * n} {name}." for n, name in enumerate(domain.backup_mx)]
    return [_rrset(site, domain, "", "MX", *values)]


def spf(site: Site, _box: Box, domain: Domain) -> list[RRset]:
    """Who may send for the domain (RFC 7208), fitting the way mail leaves.

    Through a relay the box itself is not named: its address is a line's changing one, and tomorrow's owner of today's
    address must not pass as us. A backup MX only hands mail to us, so with one `mx` would allow too much.

    :raises ConfigError: when receivers would give up over it.
    """
    own = f"a:{site.hostname}" if domain.backup_mx else "mx"
    if site.outbound != "direct" and not site.relay_spf:
        raise ConfigError(
            "Mail leaves through a relay, but what it needs in SPF is not known.",
            "Write mail_relay.spf, such as include:isp.example.",
        )
    relay = site.relay_spf or ""
    ways = {"direct": [own], "relay": [relay], "auto": [own, relay]}
    if site.outbound not in ways:
        raise ConfigError(f"mail_outbound is {site.outbound}.", f"It is one of {', '.join(ways)}.")
    value = " ".join(["v=spf1", *ways[site.outbound], "-all"])
    if spf_lookups(value) > SPF_LOOKUPS:
        raise ConfigError(
            f"The SPF record of {domain.name} would need {spf_lookups(value)} lookups; receivers allow {SPF_LOOKUPS}.",
            "Shorten mail_relay.spf.",
        )
    return [_rrset(site, domain, "", "TXT", value)]


def spf_lookups(value: str) -> int:
    """Count the lookups of a record's own terms (RFC 7208 4.6.4); those of an include's record come on top."""
    return sum(bool(_LOOKUP_TERM.match(term)) for term in value.split()[1:])


def dkim(site: Site, box: Box, domain: Domain) -> list[RRset]:
    """The public keys with which our signatures are checked (RFC 6376 3.6.1, RFC 8463 4.2)."""
    return [
        _rrset(site, domain, f"{key.selector}._domainkey", "TXT", f"v=DKIM1; k={key.algorithm}; p={key.public}")
        for key in box.dkim_keys
        if not key.domains or domain.name in key.domains
    ]


def dmarc(site: Site, _box: Box, domain: Domain) -> list[RRset]:
    """What to do with mail that only says it is ours (RFC 7489 6.1)."""
    terms = ["v=DMARC1", f"p={domain.dmarc.policy}"]
    if domain.dmarc.reports:
        terms.append(f"rua={_mailto(domain.dmarc.reports)}")
    return [_rrset(site, domain, "_dmarc", "TXT", "; ".join(terms))]


def sts_policy(site: Site, domain: Domain) -> str:
    """The MTA-STS policy, which stands at `https://mta-sts.<domain>/.well-known/mta-sts.txt` (RFC 8461 3.2)."""
    # A week: long enough to count, short enough to get out of a mistake.
    lines = ["version: STSv1", f"mode: {domain.sts_mode}"]
    lines += [f"mx: {name}" for name in (site.hostname, *domain.backup_mx)]
    lines.append("max_age: 604800")
    return "".join(f"{line}\r\n" for line in lines)


def mta_sts(site: Site, _box: Box, domain: Domain) -> list[RRset]:
    """That there is an MTA-STS policy, and where (RFC 8461 3.1, 3.3). The id follows from the policy."""
    identity = hashlib.sha256(sts_policy(site, domain).encode()).hexdigest()[:32]
    return [
        _rrset(site, domain, "_mta-sts", "TXT", f"v=STSv1; id={identity};"),
        _rrset(site, domain, "mta-sts", "CNAME", f"{site.hostname}."),
    ]


def tls_reports(site: Site, _box: Box, domain: Domain) -> list[RRset]:
    """Where others report that TLS to us failed (RFC 8460 3)."""
    if not domain.tls_reports:
        return []
    return [_rrset(site, domain, "_smtp._tls", "TXT", f"v=TLSRPTv1; rua={_mailto(domain.tls_reports)}")]


def tlsa(site: Site, box: Box, domain: Domain) -> list[RRset]:
    """The keys that the box shows on port 25: DANE-EE, SPKI, SHA-256 (RFC 6698 2, RFC 7672 3.1.1)."""
    place = _hostname_in(site, domain)
    if place is None or place.zone not in box.signed or not box.tls_keys:
        return []
    name = f"_25._tcp.{place.name}".rstrip(".")
    return [_rrset(site, domain, name, "TLSA", *(f"3 1 1 {digest.lower()}" for digest in box.tls_keys))]


def caa(site: Site, box: Box, domain: Domain) -> list[RRset]:
    """Who may issue certificates for the box's name (RFC 8659, RFC 8657).

    Names that are a CNAME to it are covered: an authority follows them (RFC 8659 3). Is the box's name that of the zone
    itself, there is none: it would forbid the authority of a website below it.
    """
    place = _hostname_in(site, domain)
    if place is None or not place.name or not box.issuers:
        return []

    def value(issuer: Issuer) -> str:
        terms = [issuer.name]
        if issuer.account:
            terms.append(f"accounturi={issuer.account}")
        if issuer.methods:
            terms.append(f"validationmethods={','.join(issuer.methods)}")
        return f'0 issue "{"; ".join(terms)}"'

    return [_rrset(site, domain, place.name, "CAA", *map(value, box.issuers))]


def services(site: Site, box: Box, domain: Domain) -> list[RRset]:
    """Where mail programs find us (RFC 6186 3.1 to 3.3, RFC 8314 5.1); `.` says "not offered" (RFC 2782)."""
    return [
        _rrset(
            site,
            domain,
            f"_{name}._tcp",
            "SRV",
            f"0 1 {port} {site.hostname}." if name in box.services else "0 0 0 .",
        )
        for name, port in sorted(SERVICES.items())
    ]


def autoconfig(site: Site, _box: Box, domain: Domain) -> list[RRset]:
    """Names that mail programs ask for their settings (Thunderbird's and Outlook's)."""
    target = f"{site.hostname}."
    return [
        _rrset(site, domain, "autoconfig", "CNAME", target),
        _rrset(site, domain, "autodiscover", "CNAME", target),
        _rrset(site, domain, "_autodiscover._tcp", "SRV", f"0 1 443 {target}"),
    ]


def challenges(site: Site, box: Box, domain: Domain) -> list[RRset]:
    """What an authority looks for while it issues a certificate (RFC 8555 8.4); several values stand together."""
    return [
        RRset(Key(domain.name, name.removesuffix(f".{domain.name}"), "TXT"), ADDRESS_TTL, frozenset(values))
        for name, values in sorted(box.challenges.items())
        if values and _zone_of(site, name) == domain.name
    ]


# All together -----------------------------------------------------------------------------------------------------

Kind = Callable[[Site, Box, Domain], list[RRset]]
# What each role hands in.
BY_ROLE: Mapping[str, tuple[Kind, ...]] = {
    "ddns": (addresses, challenges),
    "postfix": (mx, spf),
    "rspamd": (dkim, dmarc),
    "certificates": (caa, tlsa),
    "web": (mta_sts, tls_reports, services, autoconfig),
}


def records_of_role(role: str, site: Site, box: Box) -> list[RRset]:
    """The records of one role, for all domains: its fragment.

    :raises ConfigError: when the site cannot have them.
    """
    return [rrset for domain in site.domains for kind in BY_ROLE[role] for rrset in kind(site, box, domain)]


def record_set(site: Site, box: Box) -> dict[str, list[RRset]]:
    """All records of each domain, of the roles that are deployed.

    :raises ConfigError: when the site cannot have them.
    """
    found: dict[str, list[RRset]] = {domain.name: [] for domain in site.domains}
    for role in BY_ROLE:
        if role in box.roles:
            for rrset in records_of_role(role, site, box):
                found[rrset.key.zone].append(rrset)
    return {zone: sorted(rrsets, key=lambda one: one.key) for zone, rrsets in found.items()}


def fragment(rrsets: Iterable[RRset]) -> list[dict[str, Any]]:
    """RRsets as a role's fragment in `/etc/hearthmail/records.d`."""
    return [
        {
            "zone": one.key.zone,
            "name": one.key.name,
            "type": one.key.type,
            "ttl": one.ttl,
            "values": sorted(one.values),
        }
        for one in rrsets
    ]


def _rrset(site: Site, domain: Domain, name: str, rdtype: str, *values: str) -> RRset:
    return RRset(Key(domain.name, name, rdtype), site.ttl, frozenset(values))


def _hostname_in(site: Site, domain: Domain) -> Key | None:
    """The place of the box's name, if this domain's zone holds it."""
    place = site.hostname_key
    return place if place and place.zone == domain.name else None


def _zone_of(site: Site, name: str) -> str | None:
    return max(
        (domain.name for domain in site.domains if f".{name}".endswith(f".{domain.name}")), key=len, default=None
    )


def _mailto(reports: Iterable[str]) -> str:
    return ",".join(f"mailto:{address}" for address in reports)
