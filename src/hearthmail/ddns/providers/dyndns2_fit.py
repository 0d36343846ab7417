"""What of a zone's changes Dyn's update protocol can bring about. Pure functions.

A request says all that a name holds: it cannot change one record and leave the others out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.merge import Merge, withhold
from hearthmail.ddns.providers.dyndns2 import Host, Service, mx_parameters
from hearthmail.ddns.records import Key

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
    return rdtype == "MX" or service.apart or not (host.ipv4 or host.ipv6)


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


def fit(service: Service, job: Job, outcome: Merge) -> None:
    """Take out of an outcome what the protocol cannot express."""
    gone = [change.key for change in outcome.changes if change.after is None]
    for key in [key for key in gone if stays(service, host_of(key.zone, key.name, outcome.owned), key.type)]:
        withhold(outcome, key, kept(service), job.owned)
    entry = f"dns_providers.{job.provider.name}"
    for key in [change.key for change in outcome.changes if change.key.type == "MX"]:
        lack = mx_lack(service, host_of(key.zone, key.name, outcome.owned), entry)
        if lack:
            withhold(outcome, key, lack, job.owned)
