"""A domain's records for a person: as a zone file, as a table to type in at a provider's page, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hearthmail.ddns.records import RRset, rdata_text

HINTS = (
    "A name (after MX, SRV, CNAME) ends with a dot: leave it out where the page adds it. @ is the domain itself.",
    "A long TXT value is one value: where the page takes 255 characters at most, ask its help how to enter more.",
)


def zone_file(zone: str, rrsets: Iterable[RRset]) -> str:
    """The records as a zone file (RFC 1035 5.1) without SOA and NS, which are the provider's."""
    lines = [f"$ORIGIN {zone}."]
    for rrset in sorted(rrsets, key=lambda one: one.key):
        name = rrset.key.name or "@"
        lines += [
            f"{name} {rrset.ttl} IN {rrset.key.type} {rdata_text(rrset.key.type, value)}"
            for value in sorted(rrset.values)
        ]
    return "".join(f"{line}\n" for line in lines)


def rows(rrsets: Iterable[RRset]) -> list[dict[str, Any]]:
    """One row a value: `name` relative to the zone, `type`, `ttl`, `priority` (MX, SRV; else None), `value`.

    A page that asks for weight and port of an SRV record takes them from `value`: weight, port, target.
    """
    found = []
    for rrset in sorted(rrsets, key=lambda one: one.key):
        for value in sorted(rrset.values):
            priority, rest = None, value
            if rrset.key.type in ("MX", "SRV"):
                first, rest = value.split(" ", 1)
                priority = int(first)
            found.append(
                {
                    "name": rrset.key.name or "@",
                    "type": rrset.key.type,
                    "ttl": rrset.ttl,
                    "priority": priority,
                    "value": rest,
                }
            )
    return found


def table(zone: str, rrsets: Iterable[RRset]) -> str:
    """The records as columns, to type in at a provider's page."""
    heads = ("name", "type", "ttl", "priority", "value")
    cells: list[Sequence[str]] = [[head.upper() for head in heads]]
    cells += [["" if row[head] is None else str(row[head]) for head in heads] for row in rows(rrsets)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads) - 1)]
    lines = [f"{zone}:"]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*padded, row[-1]]).rstrip())
    return "".join(f"{line}\n" for line in lines)
