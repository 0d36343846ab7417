"""What the agent, the site's preflight and the documentation have to know about a type of DNS provider.

Plain values, without any library of others: the controller's plugins read them too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Every type that one of our records has. A provider that cannot hold one of them says so in `ProviderSpec.holds`.
ALL_TYPES = frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "SRV", "TLSA", "TXT"})


@dataclass(frozen=True)
class Option:
    """One key of an entry of `dns_providers`.

    :param name: the key.
    :param meaning: what it is and where a person finds it, as a sentence.
    :param example: a value as it could be written; a secret's example is a reference to the vault.
    :param required: whether it cannot be left out.
    :param default: what counts when it is left out.
    :param secret: whether it must never be shown.
    :param kind: what it may be: `text`, `url` (`http(s)://host:port`), `address` (a URL with a path), `host` (a name or
        an address), `port`, `seconds` (1 to 120), `count`, `yes_no`, `choice` (of `choices`), `choices` (a list of
        them), `names` (a list of domain names). The preflight checks it.
    :param choices: what can be chosen from.
    """

    name: str
    meaning: str
    example: str
    required: bool = True
    default: Any = None
    secret: bool = False
    kind: str = "text"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProviderSpec:
    """One type of provider.

    :param type: its name in `dns_providers.<name>.type`.
    :param title: its name as people know it.
    :param page: the page that documents its interface or its credentials.
    :param options: the keys of an entry. Every type also knows `nameservers`, `min_ttl` and `daily_writes`
        (see `hearthmail.ddns.config.ProviderConfig`).
    :param holds: the types of records that it can hold, of `ALL_TYPES`.
    :param min_ttl: the smallest TTL that it accepts, in seconds; 0: none is known.
    :param min_ttl_varies: whether `min_ttl` is only what is usual, so that a person may write a smaller one.
    :param daily_writes: address changes that it takes in a day; 0: no limit is known.
    :param make: makes an octoDNS provider from the entry's name and its keys; None: a person enters the records.
    :param explain: the way out for an HTTP status with which the provider refuses.
    :param holds_of: what an entry with these keys can hold, where that depends on them; otherwise it is `holds`.
    :param lacks: why an entry of that name, with these keys, cannot hold a type that it holds elsewhere at this full
        name; empty: it can. Without it the name makes no difference.
    :param check: raises ConfigError where an entry's name and keys are not right together; the preflight asks it too.
    :param further: a regular expression for keys which an entry may have besides `options`; each is a secret.
    :param keeps_ttl: whether it keeps the TTL that it is given. Where it does not, a TTL is never a difference.
    :param reads: whether it can be asked what it holds. Where it cannot, the name servers are asked, and what they say
        of records of ours is told, and not believed: see `hearthmail.ddns.publish.as_remembered`.
    :param scope: how a person gets a credential that can do as little as possible, in sentences.
    :param limits: what else a person should know: its rate limits, what it cannot do; in sentences.
    :param debian_packages: what must be installed on the box beside the agent's own libraries.
    :param min_python: the oldest Python with which its package runs.
    """

    type: str
    title: str
    page: str
    options: tuple[Option, ...]
    make: Callable[[str, Mapping[str, Any]], Any] | None = None
    holds: frozenset[str] = ALL_TYPES
    min_ttl: int = 0
    min_ttl_varies: bool = False
    daily_writes: int = 0
    explain: Mapping[int, str] = field(default_factory=dict)
    scope: str = ""
    limits: str = ""
    debian_packages: tuple[str, ...] = ()
    min_python: tuple[int, int] = (3, 11)
    holds_of: Callable[[Mapping[str, Any]], frozenset[str]] | None = None
    keeps_ttl: bool = True
    reads: bool = True
    further: str = ""
    lacks: Callable[[str, Mapping[str, Any], str], str] | None = None
    check: Callable[[str, Mapping[str, Any]], object] | None = None

    def held(self, options: Mapping[str, Any]) -> frozenset[str]:
        """The types of records that an entry with these keys can hold."""
        return self.holds_of(options) if self.holds_of else self.holds

    @property
    def required(self) -> tuple[str, ...]:
        """The keys that cannot be left out."""
        return tuple(option.name for option in self.options if option.required)

    @property
    def defaults(self) -> dict[str, Any]:
        """What counts for the keys that can be left out."""
        return {option.name: option.default for option in self.options if not option.required}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys whose values must never be shown. Of an entry with `further` keys see `secrets_of`."""
        return tuple(option.name for option in self.options if option.secret)

    def secrets_of(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The keys of an entry whose values must never be shown."""
        known = {option.name for option in self.options}
        others = (key for key in options if key not in known and self.further and re.fullmatch(self.further, key))
        return (*self.secrets, *others)
