"""What a provider cannot give: records of a type that it does not hold, and short TTLs. Pure functions, in words."""

from __future__ import annotations

from collections.abc import Iterable

from hearthmail.ddns.config import Config, ProviderConfig
from hearthmail.ddns.records import RRset, address_keys

# Seconds. With a longer TTL a changed address is a matter of its own.
LONG_TTL = 300

# What the world does without a record, by its type.
_WITHOUT = {
    "A": "nobody reaches that name over IPv4",
    "AAAA": "nobody reaches that name over IPv6",
    "CAA": "every authority may issue certificates for it",
    "CNAME": "that name leads nowhere",
    "MX": "mail goes to the address of the name itself, if it has one (RFC 5321 5.1)",
    "SRV": "mail programs do not find their settings by it",
    "TLSA": "DANE stays off",
}
# And for texts, by what is in their name, or by how they begin.
_WITHOUT_TEXT = {
    "_acme-challenge": "no certificate can be had by a DNS challenge",
    "_domainkey": "others cannot check the DKIM signature of your mail",
    "_dmarc": "DMARC stays off",
    "_mta-sts": "MTA-STS stays off",
    "_smtp._tls": "nobody sends TLS reports",
    "v=spf1": "SPF stays off, and others distrust your mail",
}


def split(records: Iterable[RRset], config: Config) -> tuple[list[RRset], list[RRset]]:
    """Part the records that their zone's provider holds from those that it cannot."""
    records = list(records)
    lost = [rrset for rrset in records if lack(rrset, config)]
    return [rrset for rrset in records if rrset not in lost], lost


def lack(rrset: RRset, config: Config) -> str:
    """Why its zone's provider cannot hold a record, in words; empty: it can."""
    return config.domains[rrset.key.zone].lack(rrset.key.fqdn, rrset.key.type)


def loss(rrset: RRset, lack: str = "this provider cannot hold it") -> str:
    """Say what is lost with a record.

    :param lack: why it is lost.
    """
    why = _WITHOUT.get(rrset.key.type, "")
    if rrset.key.type == "TXT":
        begins = next(iter(sorted(rrset.values)), "")
        why = next(
            (words for mark, words in _WITHOUT_TEXT.items() if mark in rrset.key.name or begins.startswith(mark)), ""
        )
    return f"no {rrset.key.type} at {rrset.key.fqdn}: {why or 'it is not published'} ({lack})"


def slow(provider: ProviderConfig) -> str:
    """Say how long a changed address takes to be known, where that is long; else empty."""
    if provider.min_ttl <= LONG_TTL:
        return ""
    return (
        f"the smallest TTL here is {provider.min_ttl} s: after a change the world may look for the old address "
        f"for up to {provider.min_ttl} s"
    )


def notes(lost: Iterable[RRset], config: Config) -> dict[str, list[str]]:
    """All there is to say, by zone."""
    found: dict[str, list[str]] = {zone: [] for zone in config.domains}
    for rrset in lost:
        found[rrset.key.zone].append(loss(rrset, lack(rrset, config)))
    zone = address_keys(config)[0].zone
    found[zone] += [words for words in [slow(config.domains[zone])] if words]
    return found
