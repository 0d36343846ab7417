"""Sites and boxes with every kind of record, for tests of the agent: unit tests and the lab's."""

from __future__ import annotations

import base64
import hashlib

from hypothesis import strategies as st

from hearthmail.ddns.recordset import BY_ROLE, SERVICES, Box, DkimKey, Dmarc, Domain, Issuer, Site

ROLES = frozenset(BY_ROLE)


def rsa_key(seed: str, octets: int = 294) -> str:
    """Something of the length of an RSA-2048 key (294 octets in DER; 550 for RSA-4096)."""
    block = hashlib.sha512(seed.encode()).digest()
    return base64.b64encode((block * (octets // len(block) + 1))[:octets]).decode()


def spki(seed: str) -> str:
    """The hash of a TLS key."""
    return hashlib.sha256(seed.encode()).hexdigest()


def full_site(*names: str, hostname: str | None = None) -> Site:
    """A site that uses everything."""
    domains = tuple(
        Domain(
            name,
            backup_mx=("mx.backup.example",),
            dmarc=Dmarc("reject", (f"postmaster@{name}",)),
            tls_reports=(f"postmaster@{name}",),
        )
        for name in names
    )
    return Site(hostname or f"mail.{names[0]}", domains, "auto", "include:isp.example")


def full_box(*signed: str) -> Box:
    """A box on which every role is deployed, in the middle of each rollover."""
    return Box(
        roles=ROLES,
        ipv4="198.51.100.10",
        ipv6="2001:db8:77::10",
        signed=frozenset(signed),
        tls_keys=(spki("now"), spki("next")),
        dkim_keys=(
            DkimKey("rsa2026", rsa_key("a")),
            DkimKey("ed2026", base64.b64encode(bytes(range(32))).decode(), "ed25519"),
        ),
        issuers=(Issuer("letsencrypt.org", "https://acme.example/acct/1", ("dns-01",)), Issuer("buypass.com")),
        challenges={f"_acme-challenge.mail.{name}": frozenset({"t0ken-A", "t0ken_B"}) for name in signed},
    )


_NAMES = ("hearth.example", "second.example", "sub.hearth.example", "third.example")


@st.composite
def sites(draw: st.DrawFn) -> Site:
    """Any site."""
    names = draw(st.lists(st.sampled_from(_NAMES), min_size=1, unique=True))
    hostname = draw(st.sampled_from([f"mail.{names[0]}", names[0], f"a.b.{names[-1]}", "mx.elsewhere.example"]))
    reports = st.lists(st.sampled_from(["postmaster@x.example", "dmarc@hearth.example"]), max_size=2, unique=True)
    domains = tuple(
        Domain(
            name,
            tuple(draw(st.lists(st.sampled_from(["mx1.backup.example", "mx2.backup.example"]), unique=True))),
            Dmarc(draw(st.sampled_from(["none", "quarantine", "reject"])), tuple(draw(reports))),
            draw(st.sampled_from(["testing", "enforce", "none"])),
            tuple(draw(reports)),
        )
        for name in names
    )
    outbound = draw(st.sampled_from(["direct", "relay", "auto"]))
    relay = draw(st.sampled_from(["include:isp.example", "include:a.example include:b.example", "ip4:192.0.2.0/24"]))
    return Site(hostname, domains, outbound, relay, draw(st.sampled_from([60, 3600, 86400])))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Any box."""
    keys = st.sampled_from(["a", "b", "c"])
    selectors = draw(st.lists(st.sampled_from(["s1", "s2", "mail", "x.y"]), max_size=3, unique=True))
    only = st.sampled_from([(), ("hearth.example",), ("second.example", "third.example")])
    dkim = tuple(
        DkimKey(name, rsa_key(name, draw(st.sampled_from([162, 294, 550]))), "rsa", draw(only)) for name in selectors
    )
    names = [f"_acme-challenge.{prefix}{name}" for prefix in ("", "mail.") for name in _NAMES]
    tokens = st.frozensets(st.sampled_from(["tokenA", "token-B", "TOKEN_c"]), min_size=1)
    return Box(
        roles=draw(st.frozensets(st.sampled_from(sorted(ROLES)))),
        ipv4=draw(st.none() | st.just("198.51.100.10")),
        ipv6=draw(st.none() | st.just("2001:db8:77::10")),
        services=draw(st.frozensets(st.sampled_from(sorted(SERVICES)))),
        signed=draw(st.frozensets(st.sampled_from(_NAMES))),
        tls_keys=tuple(spki(one) for one in draw(st.lists(keys, unique=True))),
        dkim_keys=dkim,
        issuers=tuple(
            draw(
                st.lists(
                    st.sampled_from([Issuer("ca.example"), Issuer("ca.example", "https://x/1", ("dns-01", "http-01"))]),
                    unique=True,
                )
            )
        ),
        challenges=draw(st.dictionaries(st.sampled_from(names), tokens, max_size=3)),
    )
