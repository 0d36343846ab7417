"""The router's WAN address by NAT-PMP (RFC 6886 section 3.2), through `natpmpc` of Debian's package of that name.

PCP (RFC 6887) has no question for the address alone: it is part of the answer to a mapping, which the router would
open. Routers that speak PCP are asked by NAT-PMP or UPnP, which they speak beside it; see docs/decisions.md.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from hearthmail.ddns.errors import AddressError

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]

# The second form is Debian 13's, which takes it on itself to refuse addresses that it does not like.
_ADDRESS = re.compile(
    r"^Public IP address : (\S+)$|^readnatpmpresponseorretry\(\) failed : invalid Public IP address (\S+)$",
    re.MULTILINE,
)
_FAILURE = re.compile(r"^readnatpmpresponseorretry\(\) failed : (.+)$", re.MULTILINE)


def parse(output: str) -> str:
    """What the router says, from what `natpmpc` prints.

    :returns: the address; it may be a private one, or 0.0.0.0 while the router has none.
    :raises AddressError: when there is none in it.
    """
    if match := _ADDRESS.search(output):
        return match[1] or match[2]
    why = _FAILURE.search(output)
    if why and "network failure" in why[1]:
        # Result code 3 (RFC 6886 section 3.5): the router has no address from the ISP.
        return "0.0.0.0"  # noqa: S104 - not bound to: the answer of a router without a connection
    raise AddressError(f"The router does not answer by NAT-PMP ({why[1] if why else 'no answer'}).", "")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def ask(gateway: str, limit: float, run: Run = _run) -> str:
    """Ask by NAT-PMP.

    :param limit: in seconds; by itself natpmpc goes on for two minutes. `timeout` ends it even when we are gone.
    :returns: what the router says.
    :raises AddressError: when it does not answer.
    """
    try:
        done = run(["timeout", f"{limit:g}", "natpmpc", "-g", gateway])
    except OSError as error:
        raise AddressError(f"natpmpc cannot be started ({error}).", "") from error
    if done.returncode == 127:
        raise AddressError("natpmpc is not installed.", "Run the playbook: role ddns installs it.")
    return parse(done.stdout)
