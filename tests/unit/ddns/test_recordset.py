"""The record set of a site: what every record of it keeps to, and each kind by an example."""

from __future__ import annotations

import dataclasses

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given

from hearthmail.ddns import recordset
from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.merge import version_tag
from hearthmail.ddns.records import Key, canonical, parse_fragment, rdata_text
from hearthmail.ddns.recordset import Box, DkimKey, Domain, Issuer, Site, record_set, spf_lookups
from tests.support.sites import ROLES, boxes, full_box, full_site, rsa_key, sites, spki

ZONE = "hearth.example"


def values(site: Site, box: Box, name: str, rdtype: str, zone: str = ZONE) -> set[str]:
    return {
        value
        for one in record_set(site, box)[zone]
        if (one.key.name, one.key.type) == (name, rdtype)
        for value in one.values
    }


@given(site=sites(), box=boxes())
def test_every_record_set_keeps_to_the_rules(site: Site, box: Box) -> None:
    for domain in site.domains:
        rrsets = record_set(site, box)[domain.name]
        keys = [one.key for one in rrsets]
        assert len(keys) == len(set(keys)), "two RRsets in one place"
        for rrset in rrsets:
            assert rrset.key.zone == domain.name
            assert rrset.values
            for value in rrset.values:
                assert canonical(rrset.key.type, value) == value
                printed = rdata_text(rrset.key.type, value)
                read = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(rrset.key.type), printed)
                if rrset.key.type == "TXT":
                    assert max(map(len, read.strings)) <= 255
                    assert b"".join(read.strings).decode() == value
            tags = [version_tag(value) for value in rrset.values if version_tag(value)]
            assert len(tags) == len(set(tags)), "two values of which receivers take one"
            volatile = rrset.key.type in ("A", "AAAA") or rrset.key.name.startswith("_acme-challenge")
            assert rrset.ttl == (60 if volatile else site.ttl)
        aliases = {key.name for key in keys if key.type == "CNAME"}
        assert not [key for key in keys if key.name in aliases and key.type != "CNAME"]
        assert not aliases & {""}
        spf = [value for one in rrsets for value in one.values if value.startswith("v=spf1")]
        assert len(spf) == ("postfix" in box.roles)
        for one in spf:
            assert spf_lookups(one) <= 10
            assert one.endswith(" -all")
        # The agent takes it as a fragment, too.
        assert parse_fragment("test", recordset.fragment(rrsets), [domain.name]) == rrsets


@given(site=sites(), box=boxes())
def test_a_domain_depends_on_no_other(site: Site, box: Box) -> None:
    """But for the zone that the box's name lies in."""
    place = site.hostname_key
    whole = record_set(site, box)
    for domain in site.domains:
        home = [one for one in site.domains if place and one.name == place.zone and one.name != domain.name]
        below = [one for one in site.domains if one.name.endswith(f".{domain.name}") and one not in home]
        alone = dataclasses.replace(site, domains=(domain, *home, *below))
        others = tuple(dataclasses.replace(one, backup_mx=("mx.other.example",)) for one in (*home, *below))
        changed = dataclasses.replace(alone, domains=(domain, *others))
        assert record_set(alone, box)[domain.name] == whole[domain.name]
        assert record_set(changed, box)[domain.name] == whole[domain.name]


@pytest.mark.parametrize("role", sorted(ROLES))
def test_without_its_role_a_record_is_absent(role: str) -> None:
    site, box = full_site(ZONE), full_box(ZONE)
    rest = record_set(site, dataclasses.replace(box, roles=ROLES - {role}))[ZONE]
    whole = record_set(site, box)[ZONE]
    alone = record_set(site, dataclasses.replace(box, roles=frozenset({role})))[ZONE]
    assert alone
    assert sorted(one.key for one in rest + alone) == [one.key for one in whole]


def test_the_address() -> None:
    site, box = full_site(ZONE, "second.example"), full_box(ZONE)
    assert values(site, box, "mail", "A") == {"198.51.100.10"}
    assert values(site, box, "mail", "AAAA") == {"2001:db8:77::10"}
    assert not [one for one in record_set(site, box)["second.example"] if one.key.type in ("A", "AAAA")]
    assert values(site, dataclasses.replace(box, ipv6=None), "mail", "AAAA") == set()


def test_mx_with_a_backup() -> None:
    domain = Domain(ZONE, ("mx1.backup.example", "mx2.backup.example"))
    site = Site("mail.hearth.example", (domain,))
    box = Box(roles=frozenset({"postfix"}))
    expected = {"10 mail.hearth.example.", "20 mx1.backup.example.", "30 mx2.backup.example."}
    assert values(site, box, "", "MX") == expected
    # The backup may not send as us.
    assert values(site, box, "", "TXT") == {"v=spf1 a:mail.hearth.example -all"}


@pytest.mark.parametrize(
    ("outbound", "expected"),
    [
        ("direct", "v=spf1 mx -all"),
        ("relay", "v=spf1 include:isp.example -all"),
        ("auto", "v=spf1 mx include:isp.example -all"),
    ],
)
def test_spf_fits_the_way_mail_leaves(outbound: str, expected: str) -> None:
    site = Site("mail.hearth.example", (Domain(ZONE),), outbound, "include:isp.example")
    assert values(site, Box(roles=frozenset({"postfix"})), "", "TXT") == {expected}


def test_spf_that_receivers_give_up_over_is_refused() -> None:
    terms = " ".join(f"include:{n}.example" for n in range(10))
    site = Site("mail.hearth.example", (Domain(ZONE),), "auto", terms)
    with pytest.raises(ConfigError, match="11 lookups"):
        record_set(site, Box(roles=frozenset({"postfix"})))
    with pytest.raises(ConfigError, match=r"mail_relay\.spf"):
        record_set(dataclasses.replace(site, relay_spf=None), Box(roles=frozenset({"postfix"})))
    with pytest.raises(ConfigError, match="mail_outbound is pigeon"):
        record_set(dataclasses.replace(site, outbound="pigeon"), Box(roles=frozenset({"postfix"})))


def test_terms_of_spf_are_counted() -> None:
    assert spf_lookups("v=spf1 mx -all") == 1
    assert spf_lookups("v=spf1 a:x a/24 ?exists:%{i}.x +mx:y ptr redirect=z") == 6
    assert spf_lookups("v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 all exp=x") == 0


def test_dkim_keys_stand_beside_each_other() -> None:
    keys = (
        DkimKey("one", rsa_key("x", 550)),
        DkimKey("two", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "ed25519"),
    )
    box = Box(roles=frozenset({"rspamd"}), dkim_keys=(*keys, DkimKey("three", "AAAA", domains=("other.example",))))
    site = Site("mail.hearth.example", (Domain(ZONE),))
    (long,) = values(site, box, "one._domainkey", "TXT")
    assert long == f"v=DKIM1; k=rsa; p={rsa_key('x', 550)}"
    assert [len(part) for part in rdata_text("TXT", long).split('" "')] == [256, 255, len(long) - 510 + 1]
    # RFC 8463 A.2.
    assert values(site, box, "two._domainkey", "TXT") == {
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    }
    assert values(site, box, "three._domainkey", "TXT") == set()


def test_policies() -> None:
    site, box = full_site(ZONE, "second.example"), full_box(ZONE)
    assert values(site, box, "_dmarc", "TXT") == {"v=DMARC1; p=reject; rua=mailto:postmaster@hearth.example"}
    assert values(site, box, "_smtp._tls", "TXT") == {"v=TLSRPTv1; rua=mailto:postmaster@hearth.example"}
    assert values(site, box, "mta-sts", "CNAME") == {"mail.hearth.example."}
    (sts,) = values(site, box, "_mta-sts", "TXT")
    assert sts.startswith("v=STSv1; id=")
    policy = recordset.sts_policy(site, site.domains[0])
    assert policy.startswith("version: STSv1\r\nmode: enforce\r\nmx: mail.hearth.example\r\nmx: mx.backup.example\r\n")
    testing = dataclasses.replace(site, domains=(dataclasses.replace(site.domains[0], sts_mode="testing"),))
    assert values(testing, box, "_mta-sts", "TXT") != {sts}, "the id has to change with the policy"


def test_tlsa_only_where_the_zone_is_signed() -> None:
    site, box = full_site(ZONE), full_box(ZONE)
    assert values(site, box, "_25._tcp.mail", "TLSA") == {f"3 1 1 {spki('now')}", f"3 1 1 {spki('next')}"}
    assert values(site, dataclasses.replace(box, signed=frozenset()), "_25._tcp.mail", "TLSA") == set()
    at_apex = full_site(ZONE, hostname=ZONE)
    assert len(values(at_apex, box, "_25._tcp", "TLSA")) == 2


def test_caa() -> None:
    site, box = full_site(ZONE), full_box(ZONE)
    limited = '0 issue "letsencrypt.org; accounturi=https://acme.example/acct/1; validationmethods=dns-01"'
    assert values(site, box, "mail", "CAA") == {limited, '0 issue "buypass.com"'}
    only = dataclasses.replace(box, issuers=(Issuer("letsencrypt.org"),))
    assert values(site, only, "mail", "CAA") == {'0 issue "letsencrypt.org"'}
    # At the apex it would bind the website, too.
    assert values(full_site(ZONE, hostname=ZONE), box, "", "CAA") == set()


def test_services_and_what_is_not_offered() -> None:
    site, box = full_site("second.example", hostname="mail.second.example"), full_box()
    assert values(site, box, "_imaps._tcp", "SRV", "second.example") == {"0 1 993 mail.second.example."}
    assert values(site, box, "_submissions._tcp", "SRV", "second.example") == {"0 1 465 mail.second.example."}
    assert values(site, box, "_imap._tcp", "SRV", "second.example") == {"0 0 0 ."}
    assert values(site, box, "_pop3._tcp", "SRV", "second.example") == {"0 0 0 ."}
    assert values(site, box, "autoconfig", "CNAME", "second.example") == {"mail.second.example."}


def test_the_model_of_the_roles_is_read() -> None:
    model = {
        "hostname": "mail.hearth.example",
        "domains": [{"name": ZONE, "dns": "lab"}, {"name": "second.example", "backup_mx": ["mx.x.example"]}],
        "outbound": "direct",
        "relay": None,
    }
    site = recordset.site_from_model(model)
    assert site.domains == (Domain(ZONE), Domain("second.example", ("mx.x.example",)))
    assert site.hostname_key == Key(ZONE, "mail", "")
    assert site.relay_spf is None
