"""One look for both addresses: which source is asked when, whom it is believed, and what follows when nobody knows."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hearthmail.ddns.address import echo as echo_services
from hearthmail.ddns.address import interface, ipv6, router
from hearthmail.ddns.address.classify import IPAddress, is_carriers, unfit
from hearthmail.ddns.address.memory import EchoResult, RouterMemory
from hearthmail.ddns.config import AddressConfig
from hearthmail.ddns.errors import AddressError, CarrierNatError
from hearthmail.ddns.state import Ipv6Proof

# Seconds for which the echo services' answer holds for a caller that looks more often; a person's look asks anew.
ECHO_PAUSE = 60
# Seconds for which a published IPv6 address may be missing on the box (a restarting router) before its record goes.
IPV6_GRACE = 300


@dataclass(frozen=True)
class Sources:
    """The places where a look touches the world; the tests put their own there."""

    own_ipv4: Callable[[], ipaddress.IPv4Address | None] = interface.own_ipv4
    ask_router: Callable[[AddressConfig, RouterMemory], router.RouterAnswer] = router.ask_router
    ask_echo: echo_services.Ask = echo_services.ask
    ipv6_table: Callable[[], str] = ipv6.read_table
    ask_reach: Callable[[str, str], dict[str, Any]] = ipv6.ask_reach
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Ipv4:
    """What a look for the IPv4 address brought.

    :param problem: why there is none; empty when there is one.
    :param reasons: source -> why it did not help.
    :param carrier_nat: the line has no public IPv4 address at all.
    :param prefix6: the router's IPv6 prefix, when it was told on the way.
    """

    address: str | None = None
    source: str = ""
    problem: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)
    carrier_nat: bool = False
    prefix6: ipaddress.IPv6Network | None = None


@dataclass(frozen=True)
class Found:
    """What a look at the addresses brought.

    :param ipv4: the public address; None: not found, and `ipv4_problem` says why.
    :param ipv6: the address that may be published; None: none, and `ipv6_problem` says why.
    :param ipv4_reasons: source -> why it did not help, for those that were asked before one knew.
    :param ipv6_reasons: the same for IPv6.
    :param carrier_nat: the line is known to have no public IPv4 address.
    :param ipv6_known: false when the box could not be looked at, or what is published is waited for.
    """

    ipv4: str | None
    ipv4_source: str
    ipv4_problem: str
    ipv6: str | None
    ipv6_problem: str
    ipv6_proof: Ipv6Proof
    ipv6_gone_since: float
    ipv4_reasons: Mapping[str, str] = field(default_factory=dict)
    ipv6_reasons: Mapping[str, str] = field(default_factory=dict)
    carrier_nat: bool = False
    ipv6_known: bool = True

    @property
    def unknown(self) -> tuple[str, ...]:
        """The families of which nothing is known now, so that nothing of them may change."""
        ipv4 = ("ipv4",) if self.ipv4 is None and not self.carrier_nat else ()
        return ipv4 if self.ipv6_known else (*ipv4, "ipv6")


def carrier_nat(address: IPAddress, reason: str, whose: str) -> CarrierNatError:
    """The message for a line without a public IPv4 address.

    :param whose: "router" or "box": who has that address.
    """
    subject = "The router's own WAN address" if whose == "router" else "The box's own address"
    sources = "[interface, echo]" if whose == "router" else "[echo]"
    return CarrierNatError(
        f"{subject} is {address}, {reason}: the line is behind the ISP's NAT or a second router, "
        "so no mail can come in over IPv4.",
        "Ask the ISP for a public address; or receive by a machine elsewhere (role edge) and send with "
        "mail_outbound: relay. If a second router of yours forwards the ports to this one, set "
        f"ddns_address_sources: {sources}. IPv6 is not concerned.",
    )


def find_ipv4(
    config: AddressConfig,
    published: str | None,
    sources: Sources,
    memory: RouterMemory,
    at_once: bool = False,
) -> Ipv4:
    """Find the public IPv4 address: the first source in the configured order that knows wins.

    :param published: the address that the world knows.
    :param memory: read and changed.
    :param at_once: ask anew what was asked a moment ago.
    """
    reasons: dict[str, str] = {}
    behind_carrier: CarrierNatError | None = None
    without_wan = False
    for source in config.sources:
        try:
            if source == "interface":
                mine = sources.own_ipv4()
                if mine is None:
                    raise AddressError("The box has no IPv4 route.", "")
                if reason := unfit(mine, config.allow_documentation):
                    if is_carriers(mine):
                        behind_carrier = carrier_nat(mine, reason, "box")
                    raise AddressError(f"The box's own address {mine} is {reason}.", "")
                memory.echo = None
                return Ipv4(str(mine), source, reasons=reasons)
            if source == "router":
                answer = sources.ask_router(config, memory)
                memory.echo = None
                if reason := unfit(answer.ipv4, config.allow_documentation):
                    # The address that the world sees does not lead here: nobody else is asked.
                    problem = carrier_nat(answer.ipv4, reason, "router")
                    reasons[source] = problem.problem
                    return Ipv4(None, "", str(problem), reasons, True, answer.prefix6)
                return Ipv4(str(answer.ipv4), source, reasons=reasons, prefix6=answer.prefix6)
            if behind_carrier:
                break
            if without_wan:
                raise AddressError("The echo services are not asked: what they see is not the router's address.", "")
            return Ipv4(str(_echo(config, published, sources, memory, at_once)), source, reasons=reasons)
        except AddressError as error:
            # Then what the world sees is an ISP's NAT (DS-Lite), another line, or it was too early to ask.
            without_wan = without_wan or isinstance(error, router.NoWanAddressError)
            reasons[source] = error.problem
    if behind_carrier:
        return Ipv4(None, "", str(behind_carrier), reasons, True)
    said = " ".join(f"{source}: {reason}" for source, reason in reasons.items())
    return Ipv4(
        None,
        "",
        f"The public IPv4 address is not known. {said} "
        + (
            "Wait until the router is online. If it is: IPv4 goes through the ISP's NAT (DS-Lite), ask the ISP for a "
            "public address; or the router cannot tell it, then set ddns_address_sources: [interface, echo]."
            if without_wan
            else "Switch UPnP or NAT-PMP on in the router, or give echo services of two operators in ddns_echo_urls."
        ),
        reasons,
    )


def _echo(
    config: AddressConfig, published: str | None, sources: Sources, memory: RouterMemory, at_once: bool
) -> IPAddress:
    """Ask the echo services, or take what they said a moment ago: they belong to others, who want to be spared."""
    last = memory.echo
    if last is None or at_once or sources.monotonic() - last.at >= ECHO_PAUSE:
        last = EchoResult(sources.monotonic())
        try:
            last.address = echo_services.echo_address(
                config.echo_urls, 4, published, allow_documentation=config.allow_documentation, ask=sources.ask_echo
            )
        except AddressError as error:
            last.error = error
        memory.echo = last
    if last.address is None:
        raise last.error or AddressError("The echo services were not asked.", "")
    return last.address


def look(
    config: AddressConfig,
    published4: str | None,
    published6: str | None,
    proof: Ipv6Proof,
    gone_since: float,
    probe: bool,
    at_once: bool = False,
    memory: RouterMemory | None = None,
    sources: Sources | None = None,
) -> Found:
    """Find both addresses. Never raises for what it does not find, and then says of which family nothing is known.

    :param published4: the IPv4 address that we published.
    :param published6: the IPv6 address that we published.
    :param proof: what is remembered about inbound IPv6.
    :param gone_since: since when the published IPv6 address is missing; 0 when it is not.
    :param probe: whether the reach service may be asked now.
    :param at_once: a person waits, or something has happened: what rests after failures is asked too.
    :param memory: what a caller that looks again and again keeps between its looks, and which is changed here.
    """
    memory = memory if memory is not None else RouterMemory()
    sources = sources or Sources()
    if at_once:
        memory.mute_until, memory.mute_why = {}, {}
    ipv4 = find_ipv4(config, published4, sources, memory, at_once)

    def found(address: str | None, reasons: Mapping[str, str], proof: Ipv6Proof, since: float, known: bool) -> Found:
        problem = "; ".join(reasons.values())
        return Found(
            *(ipv4.address, ipv4.source, ipv4.problem, address, problem, proof, since),
            *(ipv4.reasons, reasons, ipv4.carrier_nat, known),
        )

    def keep() -> str | None:
        """What is published, unless it must not be."""
        fit = published6 and not unfit(ipaddress.ip_address(published6), config.allow_documentation)
        return published6 if fit else None

    try:
        table = sources.ipv6_table()
    except OSError as error:
        reasons = {"interface": f"the box's IPv6 addresses cannot be read ({type(error).__name__})"}
        return found(keep(), reasons, proof, gone_since, False)
    candidate = _ipv6_candidate(config, table, published6, ipv4.prefix6, memory, sources)
    if candidate is None:
        reasons = {"interface": "the box has no stable public IPv6 address"}
        if not keep():
            return found(None, reasons, proof, gone_since, True)
        now = sources.clock()
        # In the future: the clock was set back since.
        gone_since = min(gone_since or now, now)
        if now - gone_since >= IPV6_GRACE:
            return found(None, reasons, proof, gone_since, True)
        reasons = {"interface": f"{published6} is missing on the box; it is waited for"}
        return found(keep(), reasons, proof, gone_since, False)
    if probe:
        proof = ipv6.prove_ipv6(config.ipv6_check_url, candidate, proof, at_once, sources.ask_reach, sources.clock)
    if proof.shown and proof.address == candidate:
        return found(candidate, {}, proof, 0, True)
    why = proof.why if proof.address == candidate else "not tried yet"
    reasons = {"reach": f"inbound connections to {candidate} were not shown to work: {why}"}
    return found(None, reasons, proof, 0, True)


def _ipv6_candidate(
    config: AddressConfig,
    table: str,
    published: str | None,
    prefix: ipaddress.IPv6Network | None,
    memory: RouterMemory,
    sources: Sources,
) -> str | None:
    """The best of the box's addresses; None when it has none."""
    addresses = ipv6.stable_addresses(table, published, config.allow_documentation, prefix)
    if len(addresses) > 1:
        alive = ipv6.compare_prefixes(addresses, config, memory, sources.ask_echo, now=sources.monotonic)
        addresses = ipv6.stable_addresses(table, published, config.allow_documentation, prefix, alive)
    return addresses[0] if addresses else None
