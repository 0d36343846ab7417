"""The records that the zones should hold: from the configuration, the roles' fragments and the address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hearthmail.ddns.errors import ConfigError

if TYPE_CHECKING:
    from hearthmail.ddns.config import Config

# Seconds. Address records must follow a change at once; the rest changes with the playbook only.
ADDRESS_TTL = 60
DEFAULT_TTL = 3600


class Key(NamedTuple):
    """Where an RRset stands: the name is relative to the zone, empty at the apex."""

    zone: str
    name: str
    type: str

    @property
    def fqdn(self) -> str:
        """The full name, without the last dot."""
        return f"{self.name}.{self.zone}" if self.name else self.zone

    def __str__(self) -> str:
        return f"{self.fqdn} {self.type}"


@dataclass(frozen=True)
class RRset:
    """The values of one name and type. TXT values are the plain text, others are in presentation format."""

    key: Key
    ttl: int
    values: frozenset[str]

    def lines(self) -> list[str]:
        """As in a zone file, one line a value, sorted."""
        printed = (rdata_text(self.key.type, value) for value in sorted(self.values))
        return [f"{self.key.fqdn}. {self.ttl} IN {self.key.type} {value}" for value in printed]


def rdata_text(rdtype: str, value: str) -> str:
    """A value as in a zone file: TXT in quoted strings of at most 255 characters (RFC 1035 3.3)."""
    if rdtype != "TXT":
        return value
    return " ".join(f'"{value[start : start + 255]}"' for start in range(0, max(len(value), 1), 255))


def canonical(rdtype: str, text: str) -> str:
    """Bring a value into the one form in which values are compared.

    TXT stays as it is. Types that dnspython knows are parsed and printed again, in lower case where the
    value holds names or addresses (RFC 4343: names compare without case).

    :raises ConfigError: when the value does not fit the type.
    """
    if rdtype == "TXT":
        return text
    # Here, because the controller's plugins make records too, and may lack this library.
    import dns.exception
    import dns.name
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    try:
        rdata = dns.rdata.from_text(
            dns.rdataclass.IN, dns.rdatatype.from_text(rdtype), text, origin=dns.name.root, relativize=False
        )
        printed = rdata.to_text()
    except (dns.exception.DNSException, ValueError) as error:
        raise ConfigError(
            f"The value {text!r} is not a valid {rdtype} record: {error}.",
            "Correct the fragment that holds it.",
        ) from error
    return printed if rdtype == "CAA" else printed.lower()


def parse_fragment(source: str, data: Any, zones: Iterable[str]) -> list[RRset]:
    """Check one fragment: a JSON list of `{"zone", "name", "type", "ttl", "values"}`.

    :param source: where it comes from, for messages.
    :param zones: the zones that the agent is in charge of.
    :raises ConfigError: naming the fragment and the entry.
    """
    known = set(zones)
    rrsets = []
    try:
        for entry in data:
            key = Key(entry["zone"].lower().rstrip("."), entry.get("name", "").lower(), entry["type"].upper())
            values = frozenset(canonical(key.type, value) for value in entry["values"])
            if key.zone not in known:
                raise ConfigError(
                    f"Fragment {source}: zone {key.zone} is none of {', '.join(sorted(known))}.",
                    "Add the domain to mail_domains, or take the record out.",
                )
            if key.type == "CNAME" and not key.name:
                raise ConfigError(
                    f"Fragment {source}: {key} at the apex of the zone.",
                    "RFC 1034 3.6.2 forbids it: use A and AAAA.",
                )
            if not values:
                raise ConfigError(f"Fragment {source}: {key} has no value.", "Leave the entry out instead.")
            if key.type == "TXT" and any(not value.isascii() or set(value) & set('"\\') for value in values):
                raise ConfigError(
                    f"Fragment {source}: {key} holds a quote, a backslash or a letter outside ASCII.",
                    "Write TXT values as plain ASCII text.",
                )
            rrsets.append(RRset(key, int(entry.get("ttl", DEFAULT_TTL)), values))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"Fragment {source} is not a list of records: {error!r}.", "Run the playbook: its role writes it."
        ) from error
    return rrsets


def read_fragments(directory: Path, zones: Iterable[str], ahead: Mapping[str, Any] | None = None) -> list[RRset]:
    """Read the records of all roles and join those that stand in the same place.

    :param ahead: fragments by role that are taken instead of, or besides, the files: what a playbook is about to
        write. Zones in them which the agent is not yet in charge of are left out.
    :raises ConfigError: when any of them is malformed; a broken fragment must not look like "no records".
    """
    zones = list(zones)
    parts: dict[str, Any] = {}
    for path in sorted(directory.glob("*.json")):
        try:
            parts[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"Fragment {path} cannot be read: {error}.", "Run the playbook: its role writes it."
            ) from error
    for role, entries in (ahead or {}).items():
        parts[role] = [entry for entry in entries if entry["zone"].lower().rstrip(".") in zones]
    return join(rrset for source in sorted(parts) for rrset in parse_fragment(source, parts[source], zones))


def join(rrsets: Iterable[RRset]) -> list[RRset]:
    """Unite RRsets of the same key: all values, the smallest TTL."""
    joined: dict[Key, RRset] = {}
    for rrset in rrsets:
        before = joined.get(rrset.key)
        joined[rrset.key] = (
            RRset(rrset.key, min(rrset.ttl, before.ttl), rrset.values | before.values) if before else rrset
        )
    return [joined[key] for key in sorted(joined)]


def address_keys(config: Config) -> tuple[Key, Key]:
    """The places of the box's own A and AAAA record."""
    zone, name = config.hostname_zone, config.hostname_label
    return Key(zone, name, "A"), Key(zone, name, "AAAA")


def desired_records(config: Config, fragments: Iterable[RRset], ipv4: str | None, ipv6: str | None) -> list[RRset]:
    """All records that should be there: the box's address and what the roles hand in.

    :param ipv4: the public address, or None: then no A record is asked for.
    :param ipv6: the address to which inbound connections were shown to work, or None.
    """
    own = [
        RRset(key, ADDRESS_TTL, frozenset({canonical(key.type, address)}))
        for key, address in zip(address_keys(config), (ipv4, ipv6), strict=True)
        if address and key.type in config.domains[key.zone].holds
    ]
    rrsets = join([*fragments, *own])
    return [RRset(rrset.key, max(rrset.ttl, config.domains[rrset.key.zone].min_ttl), rrset.values) for rrset in rrsets]


def fingerprint(config: Config, fragments: Iterable[RRset]) -> str:
    """A hash of everything that is to be published but for the address: has the playbook changed anything?"""
    text = json.dumps(
        [
            config.hostname,
            sorted((zone, provider.name, provider.type) for zone, provider in config.domains.items()),
            [[*rrset.key, rrset.ttl, sorted(rrset.values)] for rrset in join(fragments)],
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()
