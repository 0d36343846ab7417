"""Asking the router for the address of its line: by UPnP, by NAT-PMP, as a FRITZ!Box.

The protocol by which it answered last is asked first, alone. Otherwise all are asked at once, and the first in the
order of the configuration that answers is believed. One that the router has never answered by rests for 10 minutes;
one by which it did answer is asked each time, so that a router that starts again is heard at once.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from hearthmail.ddns.address import fritzbox, natpmp, upnp
from hearthmail.ddns.address.background import in_background, tell_mistake
from hearthmail.ddns.address.interface import default_gateway
from hearthmail.ddns.address.memory import RouterMemory
from hearthmail.ddns.config import AddressConfig
from hearthmail.ddns.errors import AddressError

# Seconds for one protocol, and for which one that the router does not speak is not asked.
LIMIT = 5.0
REST = 600.0


@dataclass(frozen=True)
class RouterAnswer:
    """What the router says.

    :param prefix6: the IPv6 prefix that it has for the home, where the protocol tells.
    """

    ipv4: ipaddress.IPv4Address
    protocol: str
    prefix6: ipaddress.IPv6Network | None = None


class NoWanAddressError(AddressError):
    """The router answers, but has no IPv4 address: it is offline, or IPv4 goes through a tunnel (DS-Lite)."""


# (gateway, memory, configuration, seconds) -> what the router says, and its IPv6 prefix. Raises AddressError.
Said = tuple[str, "ipaddress.IPv6Network | None"]
Protocol = Callable[[str, RouterMemory, AddressConfig, float], Said]

PROTOCOLS: Mapping[str, Protocol] = {
    "upnp": lambda gateway, memory, config, _limit: (upnp.ask(gateway, memory.handles, config.ssdp_port), None),
    "natpmp": lambda gateway, _memory, _config, limit: (natpmp.ask(gateway, limit), None),
    "fritzbox": lambda gateway, memory, _config, limit: fritzbox.ask(gateway, memory.handles, limit),
}


def _answer(protocol: str, said: Said) -> RouterAnswer:
    text, prefix = said
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise NoWanAddressError(f"The router's answer by {protocol} is no address: {text[:50]!r}.", "") from error
    if address.is_unspecified:
        raise NoWanAddressError("The router has no IPv4 address on its line: it says 0.0.0.0.", "")
    return RouterAnswer(address, protocol, prefix)


def ask_router(
    config: AddressConfig,
    memory: RouterMemory,
    gateway: Callable[[], ipaddress.IPv4Address | None] = default_gateway,
    protocols: Mapping[str, Protocol] = PROTOCOLS,
    limit: float = LIMIT,
    now: Callable[[], float] = time.monotonic,
) -> RouterAnswer:
    """Ask the router, within `limit` seconds; within twice that when it no longer answers as it did last time.

    :param memory: read and changed.
    :raises NoWanAddressError: when it has no address.
    :raises AddressError: when it does not answer; the text is the same as long as the reason is.
    """
    router = config.router or str(gateway() or "")
    if not router:
        raise AddressError("There is no default route over a router.", "")
    memory.about(router)
    why = dict(memory.mute_why)

    def ask(names: Iterable[str]) -> RouterAnswer | None:
        def start(name: str) -> Future[Said]:
            return in_background(lambda: protocols[name](router, memory, config, limit))

        end = time.monotonic() + limit
        asked = {name: start(name) for name in names}
        for name, future in asked.items():
            try:
                said = future.result(max(end - time.monotonic(), 0))
            except TimeoutError:
                why[name] = f"No answer by {name} within {limit:g} s."
            except AddressError as error:
                why[name] = str(error).strip()
            except Exception as error:  # noqa: BLE001 - one protocol's library must not end the look
                tell_mistake(f"The question by {name}", error)
                why[name] = f"The question by {name} broke off: {type(error).__name__}."
            else:
                # It speaks this protocol, even if it has nothing good to say.
                memory.last = name
                memory.mute_until.pop(name, None)
                memory.mute_why.pop(name, None)
                return _answer(name, said)
            if name != memory.last:
                memory.mute_until[name], memory.mute_why[name] = now() + REST, why[name]
        return None

    first = [memory.last] if memory.last in config.router_protocols else []
    awake = [name for name in config.router_protocols if memory.mute_until.get(name, now()) <= now()]
    rest = [name for name in awake if name not in first]
    answer = ask(first) if first else None
    answer = answer or ask(rest)
    if answer:
        return answer
    said = " ".join(why[name] for name in config.router_protocols if name in why)
    raise AddressError(
        f"The router {router} does not tell its address. {said}",
        "Switch UPnP or NAT-PMP on in it, or rely on echo services (ddns_echo_urls).",
    )
