"""What of a zone's changes Dyn's update protocol can bring about. Pure functions.

A request says all that a name holds: it cannot change one record and leave the others out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.merge import SINGLE_TYPES, Change, Conflict, Merge, object_to, withhold
from hearthmail.ddns.providers.dyndns2 import Host, Service, mx_parameters
from hearthmail.ddns.records import Key, RRset

if TYPE_CHECKING:
    from hearthmail.ddns.publish import Job


def host_of(zone: str, name: str, ours: Mapping[Key, frozenset[str]]) -> Host:
    """What a name should hold, of the values that are ours.

    :param name: relative to the zone.
    :raises ValueError: when the protocol cannot express it.
    """
    key = Key(zone, name, "A")
    addresses = {}
    for rdtype in ("A", "AAAA"):
        values = sorted(ours.get(key._replace(type=rdtype), ()))
        if len(values) > 1:
            raise ValueError(f"it holds one {rdtype} record a name, not {len(values)} ({key.fqdn})")
        addresses[rdtype] = values[0] if values else ""
    by_rank = sorted((int(value.split()[0]), value.split()[1]) for value in ours.get(key._replace(type="MX"), ()))
    exchanges = tuple(exchange.rstrip(".") for _, exchange in by_rank)
    return Host(key.fqdn, addresses["A"], addresses["AAAA"], exchanges)


def mx_lack(service: Service, host: Host, entry: str) -> AgentError | None:
    """Why the MX records of a name cannot be sent; None: they can.

    :param entry: the key of the provider in the site.
    """
    if not host.ipv4 and not host.ipv6:
        return AgentError(
            "the protocol writes it together with an address of ours, and the name has none.",
            f"Enter it in the service's own pages, and leave {host.name} out of {entry}.hostnames: then it rests.",
        )
    try:
        mx_parameters(service, host)
    except ValueError as error:
        return AgentError(f"{error}.", "Enter them in the service's own pages.")
    return None


def stays(service: Service, host: Host, rdtype: str) -> bool:
    """Whether a record stands on although it is taken out of what a name should hold: no request says "none".

    :param host: what the name should hold after it.
    """
    return rdtype == "MX" or not service.takes_back or not (host.ipv4 or host.ipv6)


def kept(service: Service) -> AgentError:
    """What to say about such a record."""
    return AgentError(
        f"{service.title} cannot take it back by this protocol, so it stands there still.",
        "Delete it in the service's own pages.",
    )


def hosts(service: Service, changed: Iterable[Key], ours: Mapping[Key, frozenset[str]]) -> list[Host]:
    """What the names in which something changes should hold.

    :param ours: all that is ours in the zone, once it is written.
    """
    changed = sorted(changed)
    if service.apart:
        # The other family is in no need of a request, which would be one that changes nothing.
        ours = {key: values for key, values in ours.items() if key in changed}
    names = dict.fromkeys((key.zone, key.name) for key in changed)
    return [host_of(zone, name, ours) for zone, name in names]


def foreign(key: Key, seen: Mapping[Key, RRset], *ours: Mapping[Key, frozenset[str]]) -> frozenset[str]:
    """The values which the name servers answer and which are none of ours."""
    there = seen[key].values if key in seen else frozenset()
    return there.difference(*(one.get(key, frozenset()) for one in ours))


def left(outcome: Merge) -> dict[Key, frozenset[str]]:
    """What is ours, but for what only stands there still because it cannot be taken back."""
    return {key: values for key, values in outcome.owned.items() if key not in outcome.withheld}


def fit(service: Service, job: Job, outcome: Merge, seen: Mapping[Key, RRset]) -> None:
    """Take out of an outcome what the protocol cannot express, and what would take away what others have.

    :param seen: what the name servers answer. It may be forged: it can stop a request, and never gets into one.
    """
    gone = [change.key for change in outcome.changes if change.after is None]
    for key in [key for key in gone if stays(service, host_of(key.zone, key.name, outcome.owned), key.type)]:
        withhold(outcome, key, kept(service), job.owned)
    entry = f"dns_providers.{job.provider.name}"
    for key in [change.key for change in outcome.changes if change.key.type == "MX"]:
        lack = mx_lack(service, host_of(key.zone, key.name, left(outcome)), entry)
        if lack:
            withhold(outcome, key, lack, job.owned)
    if job.adopt:
        take_over(service, job, outcome, seen)
    else:
        spare_others(service, job, outcome, seen)
    outcome.changes = [_alone(change, outcome) for change in outcome.changes]


def spare_others(service: Service, job: Job, outcome: Merge, seen: Mapping[Key, RRset]) -> None:
    """Make a conflict of each change that would take away what others have."""
    why = f"{service.title} is told all that the name holds at once, so an update would take it away"
    beside = {change.key: _beside(job, outcome, seen, change) for change in outcome.changes}
    for change in list(outcome.changes):
        key = change.key
        # The addresses go with every request for the name.
        addresses = [key._replace(type=rdtype) for rdtype in ("A", "AAAA")]
        there = {one: beside[one] for one in (*addresses, key) if beside.get(one)}
        there |= _wiped(service, job, outcome, seen, key)
        if there:
            object_to(outcome, key, [RRset(one, seen[one].ttl, there[one]) for one in there], why, job.owned)
    if not job.in_person:
        return
    # Told while somebody is there, not at night when the address changes.
    for key, there in _in_the_way(service, job, outcome, seen).items():
        wanted = [line for rrset in job.desired if rrset.key == key for line in rrset.lines()]
        lines = [line for one, values in there.items() for line in RRset(one, seen[one].ttl, values).lines()]
        outcome.conflicts.append(Conflict(key, tuple(lines), tuple(wanted), why))


def take_over(service: Service, job: Job, outcome: Merge, seen: Mapping[Key, RRset]) -> None:
    """Have the addresses of others go that would be in the way of the next update: a person has said that they may."""
    for there in _in_the_way(service, job, outcome, seen).values():
        outcome.changes += [Change(one, seen[one], None) for one in there]


def _wiped(
    service: Service, job: Job, outcome: Merge, seen: Mapping[Key, RRset], key: Key
) -> dict[Key, frozenset[str]]:
    """The addresses of others which a request for a name would take away: no place of ours, whatever stands in it."""
    if service.apart:
        return {}
    # A request without an IPv4 address stands, in this protocol, for that of whoever sends it.
    types = ("A", "AAAA") if service.takes_back else ("A",)
    places = [key._replace(type=rdtype) for rdtype in types]
    others = {one: foreign(one, seen, outcome.owned, job.withdrawn) for one in places if not job.owned.get(one)}
    return {one: values for one, values in others.items() if values}


def _in_the_way(
    service: Service, job: Job, outcome: Merge, seen: Mapping[Key, RRset]
) -> dict[Key, dict[Key, frozenset[str]]]:
    """What the next update of our addresses would take away, by the place of ours, where nothing changes now."""
    busy = {(change.key.zone, change.key.name) for change in outcome.changes}
    busy |= {(conflict.key.zone, conflict.key.name) for conflict in outcome.conflicts}
    ours = [key for key in sorted(outcome.owned) if key.type in SINGLE_TYPES and (key.zone, key.name) not in busy]
    found = {key: _wiped(service, job, outcome, seen, key) for key in ours if outcome.owned[key]}
    return {key: there for key, there in found.items() if there}


def _beside(job: Job, outcome: Merge, seen: Mapping[Key, RRset], change: Change) -> frozenset[str]:
    """What others have in the very place of a change, beside ours: a request holds ours alone."""
    if change.after is None:
        return frozenset()
    values = change.after.values - outcome.owned.get(change.key, frozenset())
    if change.key.type == "MX" and not job.in_person:
        # The merge has gone by memory, and did not see them.
        values |= foreign(change.key, seen, job.owned, outcome.owned)
    return values


def _alone(change: Change, outcome: Merge) -> Change:
    """A change without what others have in the place: a person has said that it may go."""
    if change.after is None or change.after.values <= outcome.owned[change.key]:
        return change
    outcome.notes = [note for note in outcome.notes if not note.startswith(f"{change.key}: ")]
    return replace(change, after=replace(change.after, values=outcome.owned[change.key]))


def sendable(service: Service, outcome: Merge, seen: Mapping[Key, RRset]) -> dict[Key, frozenset[str]]:
    """What is ours and can be sent with any change of its name.

    An MX that stays as it is goes along; but not where others have one beside it, because a request without `mx` lets
    all of them be, or where the protocol cannot express it.
    """
    changed, ours = {change.key for change in outcome.changes}, left(outcome)

    def goes_along(key: Key) -> bool:
        if key.type != "MX" or key in changed:
            return True
        return not foreign(key, seen, ours) and not mx_lack(service, host_of(key.zone, key.name, ours), "")

    return {key: values for key, values in ours.items() if goes_along(key)}
