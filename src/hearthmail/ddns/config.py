"""The agent's configuration: `/etc/hearthmail/ddns.json`, written by the role `ddns`, readable by root only."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.providers import SPECS

CONFIG_PATH = Path("/etc/hearthmail/ddns.json")
FRAGMENTS_PATH = Path("/etc/hearthmail/records.d")

# In the order they are asked: the first one that knows the address wins.
SOURCES = ("interface", "router", "echo")
# How the router may be asked, in the order in which answers are preferred.
ROUTER_PROTOCOLS = ("upnp", "natpmp", "fritzbox")


@dataclass(frozen=True)
class ProviderConfig:
    """One entry of `dns_providers`: its type, and its credentials and options as they were written."""

    name: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def nameservers(self) -> tuple[str, ...]:
        """Servers to compare with, instead of those that the zone's NS records name."""
        return tuple(self.options.get("nameservers", ()))

    @property
    def min_ttl(self) -> int:
        """The smallest TTL that the provider accepts, in seconds: by its type, or the person's own if that is larger.

        Where it differs from zone to zone (deSEC), the person's own counts as it is.
        """
        own = int(self.options.get("min_ttl") or 0)
        spec = SPECS[self.type]
        return own if own and spec.min_ttl_varies else max(own, spec.min_ttl)

    @property
    def holds(self) -> frozenset[str]:
        """The types of records that it can hold."""
        return SPECS[self.type].held(self.options)

    def lack(self, name: str, rdtype: str) -> str:
        """Why it cannot hold a type of record at a full name, in words; empty: it can."""
        if rdtype not in self.holds:
            return "this provider cannot hold it"
        lacks = SPECS[self.type].lacks
        return lacks(self.name, self.options, name) if lacks else ""

    @property
    def daily_writes(self) -> int:
        """Writes in 24 h, challenges apart: a person's own number, or that of the type; 0: as many as there are."""
        own = self.options.get("daily_writes")
        return SPECS[self.type].daily_writes if own is None else int(own)


@dataclass(frozen=True)
class AddressConfig:
    """How the public address is found; see `hearthmail.ddns.address`.

    :param router: the router's IPv4 address, instead of the default route's gateway.
    """

    sources: tuple[str, ...] = SOURCES
    echo_urls: tuple[str, ...] = ()
    ipv6_check_url: str = ""
    allow_documentation: bool = False
    ssdp_port: int = 1901
    router: str = ""
    router_protocols: tuple[str, ...] = ROUTER_PROTOCOLS


@dataclass(frozen=True)
class Config:
    """Everything the agent is told: the box's name, the zones and where they lie, how to find the address."""

    hostname: str
    domains: Mapping[str, ProviderConfig]
    address: AddressConfig
    # Off for measurements only: see `hearthmail.ddns.limits`.
    write_limits: bool = True

    @property
    def hostname_zone(self) -> str:
        """The zone that holds the box's own name: the longest domain that is its suffix."""
        zones = [zone for zone in self.domains if f".{self.hostname}".endswith(f".{zone}")]
        if not zones:
            raise ConfigError(
                f"The box's name {self.hostname} is in none of the domains {', '.join(self.domains)}.",
                "Set mail_hostname to a name in one of mail_domains.",
            )
        return max(zones, key=len)

    @property
    def hostname_label(self) -> str:
        """The box's name relative to its zone; empty when it is the zone's apex."""
        return self.hostname.removesuffix(self.hostname_zone).removesuffix(".")


def parse(data: Any) -> Config:
    """Check the configuration and give it types.

    :raises ConfigError: naming the key that is wrong.
    """
    try:
        providers = {
            name: ProviderConfig(name, entry["type"], {k: v for k, v in entry.items() if k != "type"})
            for name, entry in data["providers"].items()
        }
        domains = {}
        for domain in data["domains"]:
            if domain["dns"] not in providers:
                raise ConfigError(
                    f"Domain {domain['name']} names the DNS provider {domain['dns']}, "
                    f"but dns_providers has only {', '.join(providers) or 'nothing'}.",
                    "Add it to dns_providers, or correct `dns` in mail_domains.",
                )
            domains[domain["name"].lower().rstrip(".")] = providers[domain["dns"]]
        raw = data.get("address", {})
        address = AddressConfig(
            sources=tuple(raw.get("sources", SOURCES)),
            echo_urls=tuple(raw.get("echo_urls", ())),
            ipv6_check_url=raw.get("ipv6_check_url") or "",
            allow_documentation=bool(raw.get("allow_documentation", False)),
            ssdp_port=int(raw.get("ssdp_port", 1901)),
            router=raw.get("router") or "",
            router_protocols=tuple(raw.get("router_protocols", ROUTER_PROTOCOLS)),
        )
        write_limits = bool(data.get("limits", {}).get("enabled", True))
        config = Config(data["hostname"].lower().rstrip("."), domains, address, write_limits)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"The configuration is not complete: {error!r}.", "Run the playbook again: role ddns writes it."
        ) from error
    for provider in {domain_provider.name: domain_provider for domain_provider in domains.values()}.values():
        _check_provider(provider)
    _check_address(config.address)
    if not config.hostname_zone:
        raise ConfigError("A domain has an empty name.", "Correct mail_domains.")
    return config


def _check_address(address: AddressConfig) -> None:
    # That package needs this module's types.
    from hearthmail.ddns.address import echo

    if unknown := set(address.sources) - set(SOURCES):
        raise ConfigError(
            f"Unknown source of the address: {', '.join(sorted(unknown))}.",
            f"ddns_address_sources takes {', '.join(SOURCES)}.",
        )
    if unknown := set(address.router_protocols) - set(ROUTER_PROTOCOLS):
        raise ConfigError(
            f"Unknown way to ask the router: {', '.join(sorted(unknown))}.",
            f"ddns_router_protocols takes {', '.join(ROUTER_PROTOCOLS)}.",
        )
    try:
        ipaddress.IPv4Address(address.router or "0.0.0.0")  # noqa: S104 - stands for "none"
    except ValueError as error:
        raise ConfigError(
            f"ddns_router is {address.router}, no IPv4 address.", "Write the router's address at home, or nothing."
        ) from error
    for url in address.echo_urls:
        if not echo.parse(url).safe and not address.allow_documentation:
            raise ConfigError(
                f"ddns_echo_urls: {url!r} is asked without TLS, so a captive portal or anybody on the way can answer.",
                "Write https:// if the service has it, or take it out (ddns_allow_documentation, for labs, allows it).",
            )


def _check_provider(provider: ProviderConfig) -> None:
    for option in ("min_ttl", "daily_writes"):
        value = provider.options.get(option)
        if value is not None and not str(value).isdecimal():
            raise ConfigError(
                f"DNS provider {provider.name} has the {option} {value!r}.",
                f"Write dns_providers.{provider.name}.{option} as a whole number, 0 or more.",
            )
    spec = SPECS.get(provider.type)
    if spec is None:
        raise ConfigError(
            f"DNS provider {provider.name} has the type {provider.type}, which is not known.",
            f"Known types: {', '.join(sorted(SPECS))}.",
        )
    missing = [key for key in spec.required if not provider.options.get(key)]
    if missing:
        raise ConfigError(
            f"DNS provider {provider.name} ({provider.type}) lacks "
            f"{', '.join(f'dns_providers.{provider.name}.{key}' for key in missing)}.",
            f"Write it into the site (secrets into the vault file); {spec.page} tells where it comes from.",
        )


def load(path: Path = CONFIG_PATH) -> Config:
    """Read the configuration.

    :raises ConfigError: when it is missing or malformed.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}.", "Run the playbook: role ddns writes it (root only)."
        ) from error
    return parse(data)
