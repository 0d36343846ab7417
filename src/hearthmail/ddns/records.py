"""The records that the zones should hold: from the configuration, the roles' fragments and the address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
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


# The same few values are compared at each look.
@lru_cache(maxsize=1024)
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


class Fragments(NamedTuple):
    """What the roles hand in.

    :param rrsets: the records that can be understood.
    :param broken: what is wrong with the others. They are not known: nothing may go because it is not in `rrsets`.
    """

    rrsets: list[RRset]
    broken: list[ConfigError]


def parse_fragment(source: str, data: Any, zones: Iterable[str]) -> list[RRset]:
    """Check one fragment: a JSON list of `{"zone", "name", "type", "ttl", "values"}`.

    :param source: its file, or its role.
    :param zones: the zones that the agent is in charge of.
    :raises ConfigError: naming the fragment and the entry.
    """
    known = set(zones)
    rrsets = []
    try:
        for entry in data:
            key = Key(entry["zone"].lower().rstrip("."), entry.get("name", "").lower(), entry["type"].upper())
            values = _canonical_values(source, key.type, entry["values"])
            if key.zone not in known:
                raise _unknown_zone(source, key.zone, known)
            if key.type == "CNAME" and not key.name:
                raise ConfigError(
                    f"Fragment {source}: {key} at the apex of the zone.",
                    "RFC 1034 3.6.2 forbids it: use A and AAAA. " + _anew(source),
                )
            if not values:
                raise ConfigError(
                    f"Fragment {source}: {key} has no value.", "Leave the entry out instead. " + _anew(source)
                )
            if key.type == "TXT" and any(not value.isascii() or set(value) & set('"\\') for value in values):
                raise ConfigError(
                    f"Fragment {source}: {key} holds a quote, a backslash or a letter outside ASCII.",
                    "Write TXT values as plain ASCII text. " + _anew(source),
                )
            rrsets.append(RRset(key, int(entry.get("ttl", DEFAULT_TTL)), values))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ConfigError(f"Fragment {source} is not a list of records: {error!r}.", _anew(source)) from error
    return rrsets


def _canonical_values(source: str, rdtype: str, values: Iterable[str]) -> frozenset[str]:
    try:
        return frozenset(canonical(rdtype, value) for value in values)
    except ConfigError as error:
        raise ConfigError(f"Fragment {source}: {error.problem}", _anew(source)) from error


def _unknown_zone(source: str, zone: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"Fragment {source}: zone {zone} is none of {', '.join(sorted(known))}.",
        "Add the domain to mail_domains if it is missing there. " + _anew(source),
    )


def _anew(source: str) -> str:
    """The way out of whatever is wrong with a fragment. Its name is that of its role, which is the role's tag too."""
    role = Path(source).stem
    return f"Run the playbook with `--tags {role}`: role {role} writes it anew. One made by hand: correct or remove it."


def read_fragments(directory: Path, zones: Iterable[str], ahead: Mapping[str, Any] | None = None) -> list[RRset]:
    """Read the records of all roles and join those that stand in the same place.

    :param ahead: as for `collect_fragments`.
    :raises ConfigError: when any of them is malformed; a broken fragment must not look like "no records".
    """
    found = collect_fragments(directory, zones, ahead)
    if found.broken:
        raise found.broken[0]
    return found.rrsets


def collect_fragments(directory: Path, zones: Iterable[str], ahead: Mapping[str, Any] | None = None) -> Fragments:
    """Read the records of all roles, as far as they can be understood, and join those that stand in the same place.

    :param ahead: fragments by role that are taken instead of, or besides, the files: what a playbook is about to
        write. Zones in them which the agent is not yet in charge of are left out.
    """
    zones, ahead = list(zones), ahead or {}
    rrsets: list[RRset] = []
    broken: list[ConfigError] = []
    parts: dict[str, Any] = {}
    for path in sorted(directory.glob("*.json")):
        if path.stem in ahead:
            continue
        try:
            parts[str(path)] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            broken.append(ConfigError(f"Fragment {path} cannot be read: {error}.", _anew(str(path))))
    for role, entries in ahead.items():
        parts[role] = [entry for entry in entries if _zone(entry) in ("", *zones)]
    for source, entries in parts.items():
        understood = _understand(source, entries, zones)
        rrsets += understood.rrsets
        broken += understood.broken
    return Fragments(join(rrsets), broken)


def _understand(source: str, data: Any, zones: Collection[str]) -> Fragments:
    """A fragment without the domains that we are not in charge of: a person may just have taken one off the box.

    Of one that is wrong otherwise nothing is believed.
    """
    strange = sorted({_zone(entry) for entry in data} - {"", *zones}) if isinstance(data, list) else []
    broken = [_unknown_zone(source, zone, zones) for zone in strange]
    if strange:
        data = [entry for entry in data if _zone(entry) not in strange]
    try:
        return Fragments(parse_fragment(source, data, zones), broken)
    except ConfigError as error:
        return Fragments([], [*broken, error])


def _zone(entry: Any) -> str:
    """The zone of a fragment's entry; empty when it names none, of which `parse_fragment` complains."""
    zone = entry.get("zone") if isinstance(entry, dict) else None
    return zone.lower().rstrip(".") if isinstance(zone, str) else ""


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
