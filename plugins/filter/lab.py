"""Filters of the lab: how a node's data becomes podman's arguments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lab_network_option(network: Mapping[str, str]) -> str:
    """Turn one entry of a node's `lab_networks` into podman's `--network` value.

    `ip` and `ip6` are optional: without them podman gives the next free address. The MAC follows from `ip`:
    a machine keeps it over a restart, or its neighbours would write to the old one for a while.
    """
    options = [f"{key}={network[key]}" for key in ("ip", "ip6") if key in network]
    if "ip" in network:
        options.append("mac=02:68:" + ":".join(f"{int(part):02x}" for part in network["ip"].split(".")))
    options.append(f"interface_name={network['interface']}")
    return f"{network['name']}:{','.join(options)}"


def lab_image_names(images: Mapping[str, Any], common: Sequence[Any]) -> dict[str, str]:
    """Name each image after the hash of what it is made from: its recipe and `common`, the parts that all share."""
    names = {}
    for key, recipe in images.items():
        text = json.dumps([recipe, list(common)], sort_keys=True, default=str)
        names[key] = f"localhost/hearthmail-{key}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return names


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name the filters."""
        return {"lab_network_option": lab_network_option, "lab_image_names": lab_image_names}
