"""Finding the box's public addresses. What is not known for sure is not known at all.

IPv4, in this order, the first that knows wins:

1. `interface`: the address from which the box itself talks to the world, when it is a public one.
2. `router`: the router's WAN address by UPnP IGD. A private or shared (100.64/10) one means carrier-grade NAT: then
   nothing else is asked, because the address that the world sees does not lead here.
3. `echo`: web services that answer with the caller's address. Two must agree. A single one may only confirm the
   address that is published already; it never brings in a new one.

IPv6: a stable address of the box (not temporary, deprecated or tentative), and only after a service outside has
connected to port 25 on it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hearthmail.ddns.config import AddressConfig
from hearthmail.ddns.errors import AddressError, CarrierNatError
from hearthmail.ddns.state import Ipv6Proof

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Seconds that a service may take, to connect and to answer. The reach service connects back before it answers.
TIMEOUT = 5
REACH_TIMEOUT = 20

_SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598
# RFC 5737, RFC 3849, RFC 9637; RFC 2544, RFC 5180
_DOCUMENTATION = tuple(
    ipaddress.ip_network(net)
    for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
)
_BENCHMARK = tuple(ipaddress.ip_network(net) for net in ("198.18.0.0/15", "2001:2::/48"))
# Useless for a mail server: DS-Lite and the like (RFC 6890), 6to4 and its relays, Teredo, ORCHID, NAT64.
_TRANSITION = tuple(
    ipaddress.ip_network(net)
    for net in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "2002::/16",
        "2001::/32",
        "2001:10::/28",
        "2001:20::/28",
        "64:ff9b::/96",
    )
)
_GLOBAL_UNICAST6 = ipaddress.ip_network("2000::/3")


def unfit(address: IPAddress, allow_documentation: bool = False) -> str | None:
    """Why an address must not be published; None when it is a public one.

    :param allow_documentation: take documentation and benchmark ranges as public: the lab lives there.
    """

    def within(networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
        return any(address in network for network in networks)

    if within(_DOCUMENTATION) or within(_BENCHMARK):
        return None if allow_documentation else "from a range for documentation or benchmarks"
    if within((_SHARED,)):
        return "from the ISP's shared range 100.64.0.0/10 (carrier-grade NAT)"
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return "not a host's address"
    if address.is_link_local:
        return "link-local"
    if within(_TRANSITION):
        return "from a range for protocols and tunnels"
    if not address.is_global or address.is_reserved:
        return "private or reserved"
    if address.version == 6 and address not in _GLOBAL_UNICAST6:
        return "outside of the global unicast range 2000::/3"
    return None


# IPv4 ---------------------------------------------------------------------------------------------------------


def own_ipv4() -> ipaddress.IPv4Address | None:
    """The address from which the box talks to the world; None without an IPv4 route. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # A root name server's address stands for "the world": connect() on UDP only looks up the route.
            probe.connect(("198.41.0.4", 53))
        except OSError:
            return None
        return ipaddress.IPv4Address(probe.getsockname()[0])


def router_ipv4(ssdp_port: int) -> ipaddress.IPv4Address:
    """Ask the router for its WAN address by UPnP IGD.

    :param ssdp_port: our UDP port for the router's answers; the firewall lets them in there only.
    :raises AddressError: when there is no such router, or it has no address.
    """
    way_out = "Switch UPnP on in the router, or rely on two echo services (ddns_echo_urls)."
    try:
        import miniupnpc
    except ImportError as error:
        raise AddressError("python3-miniupnpc is not installed.", "Run the playbook: role ddns installs it.") from error
    upnp = miniupnpc.UPnP()
    upnp.discoverdelay = 1000  # milliseconds; SSDP lets a device wait up to one second
    upnp.localport = ssdp_port
    # miniupnpc raises bare Exception, without a useful text when nobody answers.
    try:
        upnp.discover()
    except Exception as error:
        raise AddressError("No router answers to UPnP.", way_out) from error
    try:
        upnp.selectigd()
        answer = upnp.externalipaddress()
    except Exception as error:
        raise AddressError(f"The router does not tell its address by UPnP: {error}.", way_out) from error
    try:
        address = ipaddress.IPv4Address(answer)
    except ValueError as error:
        raise AddressError(f"The router's answer by UPnP is no address: {answer!r}.", way_out) from error
    if address.is_unspecified:
        raise AddressError("The router has no connection: its WAN address is 0.0.0.0.", "Wait until it is online.")
    return address


def _get(url: str, source: str, timeout: float) -> str:
    """GET a short text from a given own address, which also settles the address family."""
    import requests
    from requests.adapters import HTTPAdapter

    class Bound(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, source_address=(source, 0))

    with requests.Session() as session:
        # A proxy's address is not ours.
        session.trust_env = False
        session.mount("http://", Bound())
        session.mount("https://", Bound())
        answer = session.get(url, timeout=timeout, allow_redirects=False)
        answer.raise_for_status()
        return answer.text[:1000]


def _echo(url: str) -> ipaddress.IPv4Address:
    match = re.search(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", _get(url, "0.0.0.0", TIMEOUT))  # noqa: S104 - any own IPv4
    if not match:
        raise ValueError("no IPv4 address in the answer")
    return ipaddress.IPv4Address(match[0])


def echo_ipv4(
    urls: Iterable[str],
    published: str | None,
    ask: Callable[[str], ipaddress.IPv4Address] = _echo,
) -> ipaddress.IPv4Address:
    """Ask echo services until two of different hosts agree.

    :param published: the address that the world knows; a single service may confirm it.
    :raises AddressError: when they do not agree or do not answer.
    """
    answers: dict[str, ipaddress.IPv4Address] = {}
    failures = []
    for url in urls:
        host = urlsplit(url).hostname or url
        if host in answers:
            continue
        try:
            answers[host] = ask(url)
        except (OSError, ValueError) as error:
            # requests' exceptions are OSErrors.
            failures.append(f"{host}: {type(error).__name__}")
            continue
        if list(answers.values()).count(answers[host]) >= 2:
            return answers[host]
    said = ", ".join([f"{host} says {address}" for host, address in answers.items()] + failures) or "none is configured"
    if len(answers) == 1 and not failures:
        (address,) = answers.values()
        if str(address) == published:
            return address
        raise AddressError(
            f"A single echo service cannot bring in a new address ({said}).",
            "Add a second one to ddns_echo_urls.",
        )
    raise AddressError(f"No two echo services agree: {said}.", "Nothing is changed; it is tried again.")


def carrier_nat(address: IPAddress, reason: str) -> CarrierNatError:
    """The message for a line whose router has no public address."""
    return CarrierNatError(
        f"The router's own WAN address is {address}, {reason}: the line is behind the ISP's NAT or a second router, "
        "so no mail can come in over IPv4.",
        "Ask the ISP for a public address; or receive by a machine elsewhere (role edge) and send with "
        "mail_outbound: relay. If a second router of yours forwards the ports to this one, set "
        "ddns_address_sources: [interface, echo].",
    )


def find_ipv4(
    config: AddressConfig,
    published: str | None,
    own: Callable[[], ipaddress.IPv4Address | None] = own_ipv4,
    router: Callable[[int], ipaddress.IPv4Address] = router_ipv4,
    ask: Callable[[str], ipaddress.IPv4Address] = _echo,
) -> tuple[str, str]:
    """Find the public IPv4 address.

    :returns: the address and the source that knew it.
    :raises CarrierNatError: when the router has no public address.
    :raises AddressError: when no source knows; the text holds what each of them said.
    """
    said = []
    for source in config.sources:
        try:
            if source == "interface":
                mine = own()
                if mine is None:
                    raise AddressError("The box has no IPv4 route.", "")
                if reason := unfit(mine, config.allow_documentation):
                    raise AddressError(f"The box's own address {mine} is {reason}.", "")
                return str(mine), source
            if source == "router":
                wan = router(config.ssdp_port)
                if reason := unfit(wan, config.allow_documentation):
                    raise carrier_nat(wan, reason)
                return str(wan), source
            seen = echo_ipv4(config.echo_urls, published, ask)
            if reason := unfit(seen, config.allow_documentation):
                raise AddressError(f"The echo services answer {seen}, which is {reason}.", "Remove them.")
            return str(seen), source
        except CarrierNatError:
            raise
        except AddressError as error:
            said.append(f"{source}: {error.problem}")
    raise AddressError(
        "The public IPv4 address is not known. " + " ".join(said),
        "Switch UPnP on in the router, or give two echo services in ddns_echo_urls.",
    )


# IPv6 ---------------------------------------------------------------------------------------------------------

# Flags of an address in /proc/net/if_inet6 (linux/if_addr.h).
_TEMPORARY, _DADFAILED, _DEPRECATED, _TENTATIVE, _PERMANENT = 0x01, 0x08, 0x20, 0x40, 0x80


def stable_ipv6(table: str, published: str | None, allow_documentation: bool = False) -> str | None:
    """Choose the box's stable public IPv6 address.

    :param table: the text of /proc/net/if_inet6.
    :param published: the one that is published; it stays as long as it is good.
    :returns: the address, or None when the box has none.
    """
    found = []
    for line in table.splitlines():
        text, _index, _length, _scope, flags, _device = line.split()
        address = ipaddress.IPv6Address(int(text, 16))
        bits = int(flags, 16)
        if bits & (_TEMPORARY | _DADFAILED | _DEPRECATED | _TENTATIVE) or unfit(address, allow_documentation):
            continue
        # One set by hand is meant to stay; so it comes before those made from the router's announcements.
        found.append((str(address) != published, not bits & _PERMANENT, int(address), str(address)))
    return min(found)[-1] if found else None


def own_ipv6(published: str | None, allow_documentation: bool) -> str | None:
    """The box's stable public IPv6 address; None when it has none."""
    try:
        table = Path("/proc/net/if_inet6").read_text(encoding="ascii")
    except OSError:
        return None
    return stable_ipv6(table, published, allow_documentation)


def ask_reach(url: str, address: str) -> dict[str, Any]:
    """Have the reach service connect back to us; see `prove_ipv6`."""
    import json

    answer = json.loads(_get(url, address, REACH_TIMEOUT))
    if not isinstance(answer, dict):
        raise ValueError("the answer is not a JSON object")
    return answer


def prove_ipv6(
    url: str,
    address: str,
    before: Ipv6Proof,
    at_once: bool,
    ask: Callable[[str, str], dict[str, Any]] = ask_reach,
    now: Callable[[], float] = time.time,
) -> Ipv6Proof:
    """Find out whether the world can connect to an IPv6 address, or remember it.

    The service behind `url` is asked from that address, connects back to port 25 and answers with JSON:
    `{"address": "...", "port": 25, "reachable": true}`. A success is remembered for the address. After a failure
    it is asked again after 1, 2, 4, ... at most 30 minutes, or at once when a person is waiting.

    :param before: what is remembered.
    :param at_once: do not wait.
    """
    same = before if before.address == address else Ipv6Proof(address=address)
    if same.shown:
        return same
    if not url:
        return Ipv6Proof(address, why="no reach service is configured (ddns_ipv6_check_url)")
    if same.tries and not at_once and now() - same.at < min(60 * 2 ** (same.tries - 1), 1800):
        return same
    why = ""
    try:
        answer = ask(url, address)
        seen = ipaddress.ip_address(str(answer.get("address")))
        if seen != ipaddress.ip_address(address):
            why = f"the reach service saw us as {seen}"
        elif answer.get("reachable") is not True:
            why = "the reach service cannot connect to port 25: open it for IPv6 in the router's firewall"
    except (OSError, ValueError) as error:
        why = f"the reach service does not answer over IPv6 ({type(error).__name__})"
    if not why:
        return Ipv6Proof(address, shown=True, at=now())
    return Ipv6Proof(address, why=why, at=now(), tries=min(same.tries + 1, 10))


@dataclass(frozen=True)
class Found:
    """What a look at the addresses brought.

    :param ipv4: the public address; None: not found, and `ipv4_problem` says why.
    :param ipv6: the address that may be published; None: none, and `ipv6_problem` says why.
    """

    ipv4: str | None
    ipv4_source: str
    ipv4_problem: str
    ipv6: str | None
    ipv6_problem: str
    ipv6_proof: Ipv6Proof
    ipv6_gone_since: float


# Seconds for which a published IPv6 address may be missing on the box (a restarting router) before its record goes.
IPV6_GRACE = 300


def look(
    config: AddressConfig,
    published4: str | None,
    published6: str | None,
    proof: Ipv6Proof,
    gone_since: float,
    probe: bool,
    at_once: bool = False,
) -> Found:
    """Find both addresses. Never raises for what it does not find.

    :param published4: the IPv4 address that we published.
    :param published6: the IPv6 address that we published.
    :param proof: what is remembered about inbound IPv6.
    :param gone_since: since when the published IPv6 address is missing; 0 when it is not.
    :param probe: whether the reach service may be asked now.
    :param at_once: ask it without waiting after failures.
    """
    ipv4, source, problem4 = None, "", ""
    try:
        ipv4, source = find_ipv4(config, published4)
    except AddressError as error:
        problem4 = str(error)
    ipv6, problem6 = None, ""
    candidate = own_ipv6(published6, config.allow_documentation)
    if candidate is None:
        problem6 = "the box has no stable public IPv6 address"
        if published6:
            gone_since = gone_since or time.time()
            if time.time() - gone_since < IPV6_GRACE:
                ipv6, problem6 = published6, f"{published6} is missing on the box; it is waited for"
    else:
        gone_since = 0
        with contextlib.suppress(ValueError):
            if probe:
                proof = prove_ipv6(config.ipv6_check_url, candidate, proof, at_once)
        if proof.shown and proof.address == candidate:
            ipv6 = candidate
        else:
            why = proof.why if proof.address == candidate else "not tried yet"
            problem6 = f"inbound connections to {candidate} were not shown to work: {why}"
    return Found(ipv4, source, problem4, ipv6, problem6, proof, gone_since)
