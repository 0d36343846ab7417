"""The router's WAN address by UPnP IGD (WANIPConnection:1, GetExternalIPAddress), through miniupnpc."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlsplit

from hearthmail.ddns.errors import AddressError

# Milliseconds; SSDP lets a device wait up to one second before it answers.
DISCOVERY = 1000


def ask(gateway: str, handles: dict[str, Any], ssdp_port: int) -> str:
    """Ask by UPnP. The router's control URL is kept, so that only the first question has to search for it (1 s).

    :param handles: what is kept between two questions.
    :param ssdp_port: our UDP port for the router's answers; the firewall lets them in there only.
    :returns: what it says, which need not be an address.
    :raises AddressError: when the gateway does not answer by UPnP.
    """
    # Taken out while it is in use: a question that takes too long is left behind, with its thread.
    known = handles.pop("upnp", None)
    if known is not None:
        # miniupnpc raises bare Exception. Whatever it was (another port, a restart): the search tells.
        with contextlib.suppress(Exception):
            answer = str(known.externalipaddress())
            handles["upnp"] = known
            return answer
    upnp = _search(gateway, ssdp_port)
    try:
        answer = str(upnp.externalipaddress())
    except Exception as error:
        raise AddressError(f"The router does not tell its address by UPnP: {error}.", "") from error
    handles["upnp"] = upnp
    return answer


def _search(gateway: str, ssdp_port: int) -> Any:
    try:
        import miniupnpc
    except ImportError as error:
        raise AddressError("python3-miniupnpc is not installed.", "Run the playbook: role ddns installs it.") from error
    upnp = miniupnpc.UPnP()
    upnp.discoverdelay = DISCOVERY
    upnp.localport = ssdp_port
    # Without a useful text when nobody answers.
    try:
        upnp.discover()
    except Exception as error:
        raise AddressError("No router answers to UPnP.", "") from error
    try:
        control_url = upnp.selectigd()
    except Exception as error:
        raise AddressError(f"The router does not tell its address by UPnP: {error}.", "") from error
    try:
        host = urlsplit(str(control_url)).hostname
    except ValueError as error:
        # Anything at home can send any text.
        raise AddressError(f"A device answers to UPnP with an address that is none: {error}.", "") from error
    # Anything at home can answer the search. Only the router knows the WAN address.
    if host != gateway:
        raise AddressError(
            f"{host} answers to UPnP, but the router is {gateway}.", f"If it is the router, set ddns_router: {host}."
        )
    return upnp
