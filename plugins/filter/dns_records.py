"""Filters that give the roles their DNS records: the agent's own functions (`hearthmail.ddns.recordset`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# The programs of the box are no package on the controller.
sys.path.append(str(Path(__file__).resolve().parents[2] / "src"))
from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.recordset import Box, fragment, records_of_role, site_from_model


def mail_records(
    domains: Sequence[str], hostname: str, outbound: str, relay: Mapping[str, Any] | None, ttl: int
) -> list[dict[str, Any]]:
    """The DNS records which say where a domain's mail goes to and who may send it: the fragment of role postfix.

    `outbound` and `relay` are as in the site's model. Raises ValueError, with the way out, for what does not fit.
    """
    model = {
        "hostname": hostname,
        "domains": [{"name": name} for name in sorted(domains)],
        "outbound": outbound,
        "relay": relay,
        "ttl": ttl,
    }
    try:
        return fragment(records_of_role("postfix", site_from_model(model), Box()))
    except AgentError as error:
        raise ValueError(str(error)) from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name the filters."""
        return {"mail_records": mail_records}
