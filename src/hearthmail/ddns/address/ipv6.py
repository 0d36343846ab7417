"""The box's own IPv6 address: which of several is the stable one, and whether mail comes in on it."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hearthmail.ddns.address.background import in_background
from hearthmail.ddns.address.classify import unfit
from hearthmail.ddns.address.echo import LIMIT, Ask, echo_address
from hearthmail.ddns.address.echo import ask as ask_echo
from hearthmail.ddns.address.memory import RouterMemory
from hearthmail.ddns.address.web import get
from hearthmail.ddns.config import AddressConfig
from hearthmail.ddns.errors import AddressError
from hearthmail.ddns.state import Ipv6Proof

# Seconds; the reach service connects back before it answers.
REACH_TIMEOUT = 20
# Seconds for which a comparison of several prefixes holds, unless the box's addresses change.
COMPARISON_HOLDS = 300
# Seconds after which a proof is tried anew, and after which one that was refused then is tried once more.
RENEWAL = 86400
DOUBT = 3600

# Flags of an address in /proc/net/if_inet6 (linux/if_addr.h).
_TEMPORARY, _DADFAILED, _DEPRECATED, _TENTATIVE, _PERMANENT = 0x01, 0x08, 0x20, 0x40, 0x80


def read_table() -> str:
    """The kernel's list of IPv6 addresses; empty on a box without IPv6.

    :raises OSError: when it cannot be read.
    """
    try:
        return Path("/proc/net/if_inet6").read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def stable_addresses(
    table: str,
    published: str | None,
    allow_documentation: bool = False,
    prefix: ipaddress.IPv6Network | None = None,
    alive: Collection[str] = (),
) -> list[str]:
    """The box's stable public IPv6 addresses, the best first.

    Never one that is temporary (RFC 8981), deprecated, tentative or not public. The order: under the prefix that the
    router has at present; seen by the world; published already; set by hand (it is meant to stay).

    :param table: the text of /proc/net/if_inet6.
    :param published: the one that is published; it stays as long as nothing speaks against it.
    :param prefix: the router's present prefix, where it is known.
    :param alive: the own addresses from which the world was reached, where several prefixes were compared.
    """
    found = []
    for line in table.splitlines():
        text, _index, _length, _scope, flags, _device = line.split()
        address = ipaddress.IPv6Address(int(text, 16))
        bits = int(flags, 16)
        if bits & (_TEMPORARY | _DADFAILED | _DEPRECATED | _TENTATIVE) or unfit(address, allow_documentation):
            continue
        elsewhere = prefix is not None and address not in prefix
        dead = bool(alive) and str(address) not in alive
        found.append((elsewhere, dead, str(address) != published, not bits & _PERMANENT, int(address), str(address)))
    return [one[-1] for one in sorted(found)]


def prefixes(addresses: Iterable[str]) -> set[ipaddress.IPv6Network]:
    """The /64 networks of addresses: a network at home has that length (RFC 4862)."""
    return {ipaddress.IPv6Network((int(ipaddress.IPv6Address(one)) >> 64 << 64, 64)) for one in addresses}


def compare_prefixes(
    addresses: Collection[str],
    config: AddressConfig,
    memory: RouterMemory,
    ask: Ask = ask_echo,
    limit: float = LIMIT,
    now: Callable[[], float] = time.monotonic,
) -> frozenset[str]:
    """From which of several own addresses the world is reached, when they are of more than one prefix.

    After a change of prefix without notice (RFC 8978) the old address looks as good as the new one for days. Echo
    services are asked from each: when two of different operators see exactly that address, its prefix is alive.

    :returns: those addresses; empty when there is nothing to compare or nothing to conclude.
    """
    if len(prefixes(addresses)) < 2 or not config.echo_urls:
        return frozenset()
    compared = frozenset(addresses)
    if compared == memory.compared6 and now() - memory.compared6_at < COMPARISON_HOLDS:
        return memory.alive6

    def seen(source: str) -> Callable[[], str]:
        def question() -> str:
            documentation = config.allow_documentation
            return str(
                echo_address(
                    config.echo_urls, 6, None, source=source, allow_documentation=documentation, ask=ask, limit=limit
                )
            )

        return question

    asked = {address: in_background(seen(address)) for address in sorted(compared)}
    alive = set()
    for address, future in asked.items():
        try:
            # The services' own limit is inside.
            if future.result(limit + 1) == address:
                alive.add(address)
        except (AddressError, TimeoutError):
            continue
    memory.alive6, memory.compared6, memory.compared6_at = frozenset(alive), compared, now()
    return memory.alive6


def ask_reach(url: str, address: str) -> dict[str, Any]:
    """Have the reach service connect back to us; see `prove_ipv6`."""
    answer = json.loads(get(url, address, REACH_TIMEOUT))
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
    `{"address": "...", "port": 25, "reachable": true}`. A success is remembered for the address, and tried anew once
    a day. After a failure it is asked again after 1, 2, 4, ... at most 30 minutes, or at once when a person is waiting.

    :param before: what is remembered.
    :param at_once: do not wait.
    """
    same = before if before.address == address else Ipv6Proof(address=address)
    if same.shown:
        return _renewed(url, same, ask, now)
    if not url:
        return Ipv6Proof(address, why="no reach service is configured (ddns_ipv6_check_url)")
    pause = min(60 * 2 ** (same.tries - 1), 1800) if same.tries else 0
    # If the clock was set back since, the pause is over.
    if not at_once and same.at <= now() < same.at + pause:
        return same
    reached, why = _reach(url, address, ask)
    if reached:
        return Ipv6Proof(address, shown=True, at=now())
    return Ipv6Proof(address, why=why, at=now(), tries=min(same.tries + 1, 10))


def _renewed(
    url: str, proof: Ipv6Proof, ask: Callable[[str, str], dict[str, Any]], now: Callable[[], float]
) -> Ipv6Proof:
    """A proof that holds, tried anew once a day: somebody may have closed the router's firewall since.

    It ends with two refusals in a row, an hour apart: one may be a restart. A service that cannot tell refuses nothing.
    """
    if not url or proof.at <= now() < proof.at + (DOUBT if proof.tries else RENEWAL):
        return proof
    reached, why = _reach(url, proof.address, ask)
    if reached is None:
        return replace(proof, at=now())
    if reached or not proof.tries:
        return replace(proof, at=now(), tries=0 if reached else 1)
    return Ipv6Proof(proof.address, why=why, at=now(), tries=1)


def _reach(url: str, address: str, ask: Callable[[str, str], dict[str, Any]]) -> tuple[bool | None, str]:
    """Whether the reach service can connect to an address, and why not. None: it cannot tell."""
    try:
        answer = ask(url, address)
        seen = ipaddress.ip_address(str(answer.get("address")))
    except (OSError, ValueError, RecursionError) as error:
        return None, f"the reach service does not answer over IPv6 ({type(error).__name__})"
    if seen != ipaddress.ip_address(address):
        return None, f"the reach service saw us as {seen}"
    if answer.get("reachable") is not True:
        return False, "the reach service cannot connect to port 25: open it for IPv6 in the router's firewall"
    return True, ""
