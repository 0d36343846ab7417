"""Filters of the mail roles: what the site says becomes what Postfix and the firewall read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What a VPN's interface is called: WireGuard, OpenVPN, Tailscale.
VPN_INTERFACES = ("wg*", "tun*", "tailscale*")


def nft_sources(access: str) -> list[str]:
    """Turn `lan`, `vpn` or `world` into the beginnings of nftables rules, one rule each.

    Each ends with a space or is empty, so that `tcp dport 993 accept` can follow. Who may reach a service over the
    VPN may reach it from the LAN as well. The sets of the LAN are the firewall's. Raises ValueError for another word.
    """
    lan = ["ip saddr @lan4 ", "ip6 saddr @lan6 "]
    sources = {"lan": lan, "vpn": lan + [f'iifname "{name}" ' for name in VPN_INTERFACES], "world": [""]}
    if access not in sources:
        raise ValueError(f"access {access!r}: write lan, vpn or world")
    return sources[access]


def port_holders(listeners: Sequence[Mapping[str, Any]]) -> str:
    """Name the programs that hold ports, from entries of listen_ports_facts: `exim4 (process 612) holds port 25`."""
    programs: dict[tuple[str, int], set[int]] = {}
    for entry in listeners:
        key = (str(entry.get("name") or "an unknown program"), int(entry.get("pid") or 0))
        programs.setdefault(key, set()).add(int(entry["port"]))
    phrases = []
    for (name, pid), ports in sorted(programs.items()):
        process = f" (process {pid})" if pid else ""
        word = "ports" if len(ports) > 1 else "port"
        phrases.append(f"{name}{process} holds {word} {', '.join(map(str, sorted(ports)))}")
    return "; ".join(phrases)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name the filters."""
        return {
            "nft_sources": nft_sources,
            "port_holders": port_holders,
        }
