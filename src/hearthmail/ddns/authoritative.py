"""Asking the zone's authoritative servers: is what the world sees what it should be?"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver

from hearthmail.ddns.errors import ConfigError, DnsError
from hearthmail.ddns.merge import SHARED_TYPES, SINGLE_TYPES
from hearthmail.ddns.records import Key, RRset, canonical

# Seconds for one question to one server.
TIMEOUT = 3


@dataclass
class View:
    """What the servers of a zone answer.

    :param answers: by server and place; None: the server did not give an authoritative answer.
    """

    answers: dict[str, dict[Key, RRset | None]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)


def find_servers(zone: str, configured: Iterable[str] = ()) -> list[str]:
    """The addresses of the zone's authoritative servers, from the configuration or from its NS records.

    :raises DnsError: when they cannot be looked up.
    """
    addresses: list[str] = []
    try:
        resolver = dns.resolver.Resolver()
        resolver.lifetime = 2 * TIMEOUT
        names = list(configured) or _name_servers(resolver, zone)
        for name in names:
            addresses += [name] if _is_address(name) else _addresses(resolver, name)
    except (dns.exception.DNSException, OSError) as error:
        raise DnsError(
            f"The name servers of {zone} cannot be looked up: {error}.",
            "Check that the box resolves names (`dig NS` of the zone), and that the domain is delegated.",
        ) from error
    if not addresses:
        raise DnsError(f"No name server of {zone} has an address.", "Check the zone's NS records.")
    return sorted(set(addresses))


def _name_servers(resolver: dns.resolver.Resolver, zone: str) -> list[str]:
    """The names of its servers. A name at a dynamic DNS service is no zone of its own: then those of the service."""
    try:
        return [str(one.target) for one in resolver.resolve(f"{zone}.", "NS")]
    except dns.resolver.NoAnswer:
        above = zone.partition(".")[2]
        if not above:
            raise
        return _name_servers(resolver, above)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _addresses(resolver: dns.resolver.Resolver, name: str) -> list[str]:
    """IPv4 where there is any: the box may have no IPv6."""
    for rdtype in ("A", "AAAA"):
        try:
            return [one.address for one in resolver.resolve(name, rdtype)]
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            continue
    return []


def ask(server: str, key: Key) -> RRset | None:
    """One question to one server.

    :returns: the RRset; with no values when the server knows that there is none; None when its answer does not
        count: lame, or not authoritative (some routers answer in the servers' place).
    :raises OSError, dns.exception.DNSException: when it does not answer.
    :raises EOFError: when its answer was cut short (TC), and it closes the connection by which the whole one is asked.
    """
    query = dns.message.make_query(key.fqdn, key.type, use_edns=0, payload=1232)
    query.flags &= ~dns.flags.RD
    answer, _ = dns.query.udp_with_fallback(query, server, timeout=TIMEOUT)
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not answer.flags & dns.flags.AA:
        return None
    found = next(
        (
            rrset
            for rrset in answer.answer
            if rrset.rdtype == dns.rdatatype.from_text(key.type)
            and rrset.name.to_text(omit_final_dot=True).lower() == key.fqdn
        ),
        None,
    )
    if found is None:
        return RRset(key, 0, frozenset())
    if key.type == "TXT":
        values = [b"".join(rdata.strings).decode("utf-8", "replace") for rdata in found]
    else:
        values = [_lenient(key.type, rdata.to_text()) for rdata in found]
    return RRset(key, found.ttl, frozenset(values))


def _lenient(rdtype: str, text: str) -> str:
    try:
        return canonical(rdtype, text)
    except ConfigError:
        return text


def observe(servers: Iterable[str], keys: Iterable[Key], question: Callable[[str, Key], RRset | None] = ask) -> View:
    """Ask every server for every place. A server that does not answer once is not asked again."""
    view = View()
    keys = list(keys)
    for server in servers:
        view.answers[server] = {}
        for key in keys:
            try:
                view.answers[server][key] = question(server, key)
            except (OSError, EOFError, dns.exception.DNSException):
                view.silent.add(server)
                del view.answers[server]
                break
    return view


def differences(
    view: View, desired: Iterable[RRset], unwanted: Mapping[Key, frozenset[str]], exact_ttl: bool = False
) -> list[str]:
    """What any server answers otherwise than it should, in words; empty when all is right.

    :param unwanted: our values that should be gone.
    """
    found = []
    for server, answers in sorted(view.answers.items()):
        for want in desired:
            there = answers.get(want.key)
            if there is None:
                continue
            foreign = there.values - want.values
            wrong = not want.values <= there.values
            # What may stand beside our values is the merge's affair; but a second address needs a look.
            alone = want.key.type in SINGLE_TYPES and bool(foreign)
            ttl = exact_ttl and not foreign and want.key.type not in SHARED_TYPES and there.ttl != want.ttl
            if wrong or alone or ttl:
                found.append(f"{server} answers {want.key} {', '.join(sorted(there.values)) or 'nothing'}")
        for key, values in sorted(unwanted.items()):
            there = answers.get(key)
            if there and there.values & values:
                found.append(f"{server} still answers {key} {', '.join(sorted(there.values & values))}")
    return found


def astray(view: View, desired: Iterable[RRset]) -> dict[Key, bool]:
    """Whether every server answers a place without our values; left out where a silent one may know better."""
    found = {}
    for want in desired:
        answers = [told.get(want.key) for told in view.answers.values()]
        if any(answer is not None and want.values <= answer.values for answer in answers):
            found[want.key] = False
        elif answers and not view.silent and all(answer is not None for answer in answers):
            found[want.key] = True
    return found


def wait_until_right(
    servers: Iterable[str],
    desired: Iterable[RRset],
    unwanted: Mapping[Key, frozenset[str]],
    limit: float = 30,
    question: Callable[[str, Key], RRset | None] = ask,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[str], float]:
    """Ask again until every server that answers is right.

    :param limit: seconds.
    :returns: what is still wrong, and the seconds it took.
    """
    servers, desired = list(servers), list(desired)
    begin = clock()
    pause = 0.1
    while True:
        view = observe(servers, [rrset.key for rrset in desired] + list(unwanted), question)
        wrong = differences(view, desired, unwanted) if view.answers else ["no name server answers"]
        taken = clock() - begin
        if not wrong or taken + pause > limit:
            return wrong, taken
        sleep(pause)
        pause = min(pause * 2, 2)
