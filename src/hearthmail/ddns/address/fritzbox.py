"""The WAN address from a FRITZ!Box, without login, through fritzconnection.

AVM's interface is UPnP's on a fixed port, so it needs no search; it also tells the IPv6 prefix of the home. The box
answers when "Transmit status information over UPnP" is on (its default).
Source: AVM, "TR-064 - First Steps" and "IGD1/IGD2"; service WANIPConnection with AVM's X_AVM_DE_GetIPv6Prefix.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import Any
from xml.etree.ElementTree import ParseError

from hearthmail.ddns.errors import AddressError

PORT = 49000


def ask(
    gateway: str, handles: dict[str, Any], limit: float, port: int = PORT
) -> tuple[str, ipaddress.IPv6Network | None]:
    """Ask a FRITZ!Box. Its description is read once and kept.

    :param handles: what is kept between two questions.
    :param limit: seconds for each answer.
    :returns: what it says is its WAN address, and the IPv6 prefix that it has for the home.
    :raises AddressError: when there is no FRITZ!Box that answers.
    """
    from fritzconnection.core.exceptions import FritzConnectionException

    # Of a stranger's XML, anything may be missing.
    broken = (FritzConnectionException, OSError, ParseError, AttributeError, KeyError, TypeError, ValueError)
    try:
        # Taken out while it is in use: a question that takes too long is left behind, with its thread.
        soaper, service = handles.pop("fritzbox", None) or _describe(gateway, port, limit)
        answer = str(soaper.execute(service, "GetExternalIPAddress", {})["NewExternalIPAddress"])
    except broken as error:
        raise AddressError(f"The router does not answer as a FRITZ!Box does ({type(error).__name__}).", "") from error
    try:
        prefix = _prefix(soaper.execute(service, "X_AVM_DE_GetIPv6Prefix", {}))
    except broken:
        # Without IPv6, and on models that do not know the question. The address is what matters.
        prefix = None
    handles["fritzbox"] = (soaper, service)
    return answer, prefix


def _describe(gateway: str, port: int, limit: float) -> tuple[Any, Any]:
    """Read the one service that we need. FritzConnection() would read all of them: 40 files, seconds, megabytes."""
    import requests
    from fritzconnection.core.devices import DeviceManager
    from fritzconnection.core.soaper import Soaper

    # It logs on a level of its own what it raises as well: most routers are no FRITZ!Box.
    logging.getLogger("fritzconnection").setLevel(logging.CRITICAL)
    session = requests.Session()
    session.trust_env = False
    address = f"http://{gateway}"
    manager = DeviceManager(timeout=limit, session=session)
    manager.add_description(f"{address}:{port}/igddesc.xml")
    manager.scan()
    service = manager.services["WANIPConn1"]
    service.load_scpd(address, port, timeout=limit, session=session)
    return Soaper(address, port, "", "", timeout=limit, session=session), service


def _prefix(answer: dict[str, Any]) -> ipaddress.IPv6Network | None:
    length = int(answer["NewPrefixLength"])
    prefix = ipaddress.IPv6Network((answer["NewIPv6Prefix"], length), strict=False)
    return prefix if length and int(answer["NewPreferedLifetime"]) else None
