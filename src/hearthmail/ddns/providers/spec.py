"""What the agent has to know about a type of provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ProviderSpec:
    """One type of provider.

    :param type: its name in `dns_providers.<name>.type`.
    :param required: the keys of an entry that cannot be left out.
    :param optional: the keys that can be left out, with their defaults. Every type also knows `nameservers` and
        `min_ttl` (see `hearthmail.ddns.config.ProviderConfig`).
    :param make: makes an octoDNS provider from the entry's name and its keys; None: a person enters the records.
    :param explain: the way out for an HTTP status with which the provider refuses.
    """

    type: str
    required: tuple[str, ...]
    optional: Mapping[str, Any]
    make: Callable[[str, Mapping[str, Any]], Any] | None
    explain: Mapping[int, str]
