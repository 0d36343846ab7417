"""Dyn's update protocol (https://help.dyn.com/perform-update/), which many services speak, each a little differently.

It has no way to read: what stands is asked of the authoritative servers. It has no way to set a TTL either.
This module is pure: what to ask for, and what an answer means. `dyndns2_client` does the talking.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.providers.spec import Option, ProviderSpec

# Dyn's limit of names in one request.
MAX_HOSTS = 20
# Seconds after `911` and `dnserr`, and after an answer that says that we are ignored.
PATIENCE = 1800
# Seconds after "too many requests" without a time in it.
SLOW_DOWN = 300


@dataclass(frozen=True)
class Service:
    """How one service speaks the protocol.

    :param url: where requests go; empty: the entry names it.
    :param page: where it documents this.
    :param hosts: names in one request; 0: the account stands for the name, none is sent.
    :param ipv4: the parameter with the IPv4 address.
    :param ipv6: the parameter with the IPv6 address; the same as `ipv4`: both in one list; empty: it takes none.
    :param apart: each family in a request of its own: there one does not wipe the other.
    :param clear_ipv6: send an empty parameter when there is no IPv6 address, so that no old one stays.
    :param mx: whether it takes `mx`.
    :param backmx: what `backmx` is: `flag` (YES: the name itself comes first, `mx` after it), `host` (a second
        name), or nothing.
    :param extra: further parameters.
    :param secret: the parameter with the password, instead of Basic authentication.
    :param codes: its own answers, as those of the protocol.
    :param pause: seconds for which it takes nothing more after an update.
    :param login: whose name the user name is: the account's, or that of the hostname, when the entry names none.
    """

    title: str
    url: str
    page: str
    hosts: int = 1
    ipv4: str = "myip"
    ipv6: str = "myip"
    apart: bool = False
    clear_ipv6: bool = False
    mx: bool = False
    backmx: Literal["", "flag", "host"] = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    codes: Mapping[str, str] = field(default_factory=dict)
    pause: int = 0
    login: Literal["account", "host"] = "account"

    @property
    def takes_back(self) -> bool:
        """Whether a request without an address of a family takes away the one that stands. Where each family has a
        parameter of its own, no service's page says so.
        """
        return not self.apart and (self.ipv4 == self.ipv6 or self.clear_ipv6)


# What is not written on the page of a service is not used. The empty name is any service with a `url` of its own.
SERVICES: dict[str, Service] = {
    "": Service("the service", "", "https://help.dyn.com/perform-update/", hosts=MAX_HOSTS, mx=True, backmx="flag"),
    "noip": Service(
        "No-IP",
        "https://dynupdate.no-ip.com/nic/update",
        "https://www.noip.com/integrate/request",
        hosts=MAX_HOSTS,
        ipv6="myipv6",
    ),
    "dynu": Service(
        "Dynu",
        "https://api.dynu.com/nic/update",
        "https://www.dynu.com/DynamicDNS/IP-Update-Protocol",
        hosts=MAX_HOSTS,
        ipv6="myipv6",
        codes={"unknown": "badauth", "servererror": "911"},
    ),
    "dyn": Service(
        "Dyn",
        "https://members.dyndns.org/v3/update",
        "https://help.dyn.com/perform-update/",
        hosts=MAX_HOSTS,
    ),
    "strato": Service(
        "Strato",
        "https://dyndns.strato.com/nic/update",
        "https://www.strato.de/faq/domains/so-einfach-richten-sie-dyndns-fuer-ihre-domains-ein/",
    ),
    "inwx": Service(
        "INWX",
        "https://dyndns.inwx.com/nic/update",
        "https://kb.inwx.com/",
        hosts=0,
        ipv6="myipv6",
    ),
    "ovh": Service(
        "OVH DynHost",
        "https://dns.eu.ovhapis.com/nic/update",
        "https://docs.ovh.com/gb/en/domains/hosting_dynhost/",
        apart=True,
        extra={"system": "dyndns"},
    ),
    "desec": Service(
        "deSEC",
        "https://update.dedyn.io/",
        "https://desec.readthedocs.io/en/latest/dyndns/update-api.html",
        ipv4="myipv4",
        ipv6="myipv6",
        clear_ipv6=True,
        # https://desec.readthedocs.io/en/latest/rate-limits.html: dyndns, 1/min for a domain.
        pause=60,
        login="host",
    ),
    "he": Service(
        "Hurricane Electric",
        "https://dyn.dns.he.net/nic/update",
        "https://dns.he.net/docs.html",
        apart=True,
        login="host",
    ),
    "visualdns": Service(
        "VisualDNS",
        "https://www.visualdns.net/nic/update",
        "https://www.visualdns.net/dynamic-dns/",
        ipv6="",
        mx=True,
        backmx="host",
        codes={"badip": "notfqdn", "badparam": "notfqdn"},
    ),
    "easydns": Service(
        "easyDNS",
        "https://api.cp.easydns.com/dyn/generic.php",
        "http://support.easydns.com/tutorials/dynamicUpdateSpecs.php",
        ipv6="",
        # Its `backmx` hires easyDNS' own backup server: it is never sent.
        mx=True,
        codes={
            "noerror": "good",
            "ok": "good",
            "noaccess": "badauth",
            "no_auth": "badauth",
            "noservice": "!donator",
            "no_service": "!donator",
            "illegal": "notfqdn",
            "toosoon": "toosoon",
            "too_freq": "toosoon",
        },
    ),
    "domaindiscount24": Service(
        "domaindiscount24",
        "https://dynamicdns.key-systems.net/update.php",
        "https://support.domaindiscount24.com/hc/en-gb/articles/4409759444625-Dynamic-DNS",
        # It takes `mx` too, but its page shows an address there, not a name: not used before it is clear.
        ipv4="ip",
        ipv6="ip",
        apart=True,
        secret="password",  # noqa: S106 - the parameter's name
        # Its page: further updates are refused for at least 30 minutes.
        pause=PATIENCE,
        login="host",
    ),
}


@dataclass(frozen=True)
class Host:
    """What one name should hold. `exchanges` are the names of its MX records, the preferred one first."""

    name: str
    ipv4: str = ""
    ipv6: str = ""
    exchanges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Query:
    """One request: the names, the addresses and the parameters in it."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def key(self) -> str:
        """What tells this request from another, without a secret in it."""
        return hashlib.sha256(json.dumps([self.names, self.parameters]).encode()).hexdigest()


Kind = Literal["good", "nochg", "ignored", "stop", "wait", "unknown"]


@dataclass(frozen=True)
class Outcome:
    """What an answer means for one name.

    :param code: the code of the protocol, or the beginning of an answer that is none.
    :param seconds: how long nothing may be sent, for `wait` and `ignored`.
    """

    kind: Kind
    code: str
    seconds: float = 0


# What a person has to do (https://help.dyn.com/return-codes/).
STOPS: dict[str, str] = {
    "badauth": "The user name or the password is wrong: correct `username` and `password`.",
    "!donator": "The account does not include what was asked for: change the account, or leave it out of the entry.",
    "notfqdn": "A name or value is not valid there: correct `hostnames`.",
    "nohost": "The name is not in this account: add it there, or correct `hostnames`.",
    "numhost": "It takes fewer names, or the name has no address record there yet: correct `hostnames`.",
    "abuse": "The name is blocked there: have it unblocked.",
    "badagent": "It does not accept this program: ask its support.",
}


def mx_parameters(service: Service, host: Host) -> tuple[tuple[str, str], ...]:
    """The parameters for a name's MX records.

    :raises ValueError: when the service cannot hold these.
    """
    names = host.exchanges
    if not names:
        return ()
    if service.mx and len(names) == 1:
        return (("mx", names[0]), ("backmx", "NO")) if service.backmx == "flag" else (("mx", names[0]),)
    if service.mx and len(names) == 2:
        if service.backmx == "host":
            return (("mx", names[0]), ("backmx", names[1]))
        if service.backmx == "flag" and names[0] == host.name:
            return (("mx", names[1]), ("backmx", "YES"))
    raise ValueError(f"it cannot hold these MX records of {host.name}: {', '.join(names)}")


def queries(service: Service, hosts: Iterable[Host]) -> list[Query]:
    """The requests for these names: as few as the service allows, both families together where it allows.

    :raises ValueError: when the protocol cannot express it.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Host]] = {}
    for host in hosts:
        if not host.ipv4 and not host.ipv6:
            raise ValueError(f"{host.name} has no address, and this protocol cannot write a name without one")
        for addresses in address_parameters(service, host):
            groups.setdefault((*addresses, *mx_parameters(service, host)), []).append(host)
    found = []
    for parameters, members in groups.items():
        size = service.hosts or 1
        for start in range(0, len(members), size):
            names = tuple(host.name for host in members[start : start + size])
            head = (("hostname", ",".join(names)),) if service.hosts else ()
            sent = [one for key, value in parameters if key in (service.ipv4, service.ipv6) for one in value.split(",")]
            everything = (*service.extra.items(), *head, *parameters)
            found.append(Query(names, tuple(filter(None, sent)), everything))
    return found


def address_parameters(service: Service, host: Host) -> list[tuple[tuple[str, str], ...]]:
    """The parameters with the addresses of a name, for each request that they take."""
    ipv6 = host.ipv6 if service.ipv6 else ""
    if not service.ipv6 and host.ipv6:
        raise ValueError(f"{service.title} takes no IPv6 address by this protocol ({host.name})")
    if service.apart:
        pairs = ((service.ipv4, host.ipv4), (service.ipv6, ipv6))
        return [((key, value),) for key, value in pairs if value]
    if service.ipv4 == service.ipv6:
        return [((service.ipv4, ",".join(filter(None, (host.ipv4, ipv6)))),)]
    both = [(service.ipv4, host.ipv4)] if host.ipv4 else []
    if ipv6 or service.clear_ipv6:
        both.append((service.ipv6, ipv6))
    return [tuple(both)]


def quoted(body: str, secrets: Iterable[str] = ()) -> str:
    """The first 80 characters of an answer, harmless to print, without our own secrets."""
    for secret in secrets:
        body = body.replace(secret, "***") if secret else body
    return "".join(one if one.isprintable() and one.isascii() else "?" for one in " ".join(body.split()))[:80]


def _addresses(words: Iterable[str]) -> set[str]:
    found = set()
    for word in re.split(r"[\s,]+", " ".join(words)):
        try:
            found.add(str(ipaddress.ip_address(word)))
        except ValueError:
            continue
    return found


def _outcome(service: Service, line: str, query: Query, secrets: Iterable[str]) -> Outcome:
    word, *rest = line.split() or [""]
    # "ILLEGAL INPUT" and "badparam:x": what follows the code is for a person.
    code = word.lower().rstrip(":")
    code = service.codes.get(code.partition(":")[0], code)
    if code in ("good", "nochg"):
        named = _addresses(rest)
        if named and not named & _addresses(query.addresses):
            return Outcome("ignored", quoted(line, secrets), PATIENCE)
        return Outcome("good" if code == "good" else "nochg", code)
    if code in STOPS:
        return Outcome("stop", code)
    if code in ("911", "dnserr", "toosoon"):
        return Outcome("wait", code, PATIENCE)
    return Outcome("unknown", quoted(line, secrets))


def _key_systems(body: str) -> str:
    """The answer of Key-Systems' servers (`code = 200`) as a code of the protocol."""
    found = re.search(r"^\s*code\s*=\s*(\d{3})\s*$", body, re.MULTILINE)
    if not found:
        return body
    number = found[1]
    return {"200": "good", "530": "badauth", "531": "badauth", "545": "nohost", "549": "nohost"}.get(number, body)


def outcomes(
    service: Service, query: Query, status: int, retry_after: float | None, body: str, secrets: Iterable[str] = ()
) -> list[Outcome]:
    """What an answer means, one outcome a name; only one where the answer is about the whole request.

    :param status: of HTTP.
    :param retry_after: seconds, if the answer names a time.
    :param secrets: what must not be quoted.
    """
    secrets = tuple(secrets)
    if status == 429 or (status == 503 and retry_after is not None):
        return [Outcome("wait", f"HTTP {status}", SLOW_DOWN if retry_after is None else retry_after)]
    if service.secret:
        body = _key_systems(body)
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    found = [_outcome(service, line, query, secrets) for line in lines[: len(query.names)] or [""]]
    if status == 200 and len(lines) > len(query.names) and all(one.kind in ("good", "nochg") for one in found):
        # One code for all names is usual; more lines than names is something else.
        return [Outcome("unknown", quoted(body, secrets))]
    if status == 200 or any(one.kind in ("stop", "wait") for one in found):
        return found
    if status in (401, 403):
        return [Outcome("stop", "badauth" if status == 401 else f"HTTP {status}")]
    return [Outcome("unknown", f"HTTP {status} {quoted(body, secrets)}".strip())]


def way_out(code: str, name: str) -> str:
    """What a person has to do about a stop code, for the entry of that name."""
    advice = STOPS.get(code, "It refuses: correct the entry's `username`, `password` and `hostnames`.")
    return (
        f"{advice} Nothing more is sent to it until dns_providers.{name} changes; "
        f"if nothing in it was wrong, count its `attempt` up once the cause is gone."
    )


def service_of(name: str, options: Mapping[str, Any]) -> Service:
    """The service that an entry means.

    :raises ConfigError: when it names none, or a URL that would send the password in the clear.
    """
    entry = f"dns_providers.{name}"
    preset = str(options.get("service") or "")
    if preset not in SERVICES:
        known = ", ".join(sorted(filter(None, SERVICES)))
        raise ConfigError(f"{entry}.service is {preset}, which is not known.", f"It takes {known}; or write `url`.")
    service = SERVICES[preset]
    url = str(options.get("url") or service.url)
    if not url:
        raise ConfigError(f"{entry} names neither a service nor a url.", f"Write {entry}.service or {entry}.url.")
    parts = urlsplit(url)
    schemes = ("https", "http") if options.get("plain_http") else ("https",)
    if parts.scheme not in schemes or not parts.hostname or parts.username or parts.query:
        raise ConfigError(
            f"{entry}.url is not an https address without a user name and without parameters.",
            "Write it as https://host/nic/update; user name and password have their own keys.",
        )
    return replace(service, url=url)


def hostnames(name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that the account holds.

    :raises ConfigError: when one is no full name.
    """
    given = options.get("hostnames") or ()
    names = given.replace(",", " ").split() if isinstance(given, str) else list(given)
    clean = tuple(str(one).lower().rstrip(".") for one in names)
    wrong = [one for one in clean if not re.fullmatch(r"([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]+", one)]
    if wrong or not clean:
        raise ConfigError(
            f"dns_providers.{name}.hostnames holds {', '.join(wrong) or 'nothing'}.",
            "Write the full names which the account may update, e.g. [mail.example.org].",
        )
    return clean


def holds_of(options: Mapping[str, Any]) -> frozenset[str]:
    """What an entry's service can hold."""
    service = SERVICES.get(str(options.get("service") or ""), SERVICES[""])
    return frozenset({"A"} | ({"AAAA"} if service.ipv6 else set()) | ({"MX"} if service.mx else set()))


def lacks(name: str, options: Mapping[str, Any], fqdn: str) -> str:
    """Why nothing can stand at a full name: the protocol writes the names of the account only."""
    try:
        return "" if fqdn in hostnames(name, options) else f"it is none of the names in dns_providers.{name}.hostnames"
    except ConfigError:
        # Told when the provider is made.
        return ""


def check(name: str, options: Mapping[str, Any]) -> tuple[Service, tuple[str, ...]]:
    """Take the service and the names from an entry.

    :raises ConfigError: naming the key that is wrong.
    """
    service = service_of(name, options)
    names = hostnames(name, options)
    if service.hosts == 0 and len(names) > 1:
        raise ConfigError(
            f"dns_providers.{name}.hostnames has {len(names)} names, but an account of {service.title} stands for one.",
            "Write one entry of dns_providers for each name.",
        )
    if service.login == "account" and not options.get("username"):
        raise ConfigError(
            f"DNS provider {name} (dyndns2) lacks username.",
            f"Write it into dns_providers.{name} (secrets into the vault file).",
        )
    return service, names


def make(name: str, options: Mapping[str, Any]) -> Any:
    """Make the provider.

    :raises ConfigError: naming the key that is wrong.
    """
    from hearthmail.ddns.providers.dyndns2_client import make_provider

    options = {**SPEC.defaults, **options}
    service, names = check(name, options)
    return make_provider(name, service, names, options)


SPEC = ProviderSpec(
    type="dyndns2",
    title="Dynamic DNS services (dyndns2)",
    page="https://help.dyn.com/perform-update/",
    options=(
        Option(
            "service",
            f"The service: {', '.join(f'`{key}` ({one.title})' for key, one in SERVICES.items() if key)}.",
            "noip",
            required=False,
            kind="choice",
            choices=tuple(filter(None, SERVICES)),
        ),
        Option(
            "url",
            "Where updates go, for any other service that speaks the protocol.",
            "https://dyn.example/nic/update",
            required=False,
            kind="address",
        ),
        Option(
            "username",
            "The user name. deSEC and Hurricane Electric take the hostname, which is the default there.",
            "hanako",
            required=False,
        ),
        Option(
            "password",
            "The password, update key or token; not that of the customer account where there is one for updates.",
            "{{ vault_dyndns_password }}",
            secret=True,
        ),
        Option(
            "hostnames",
            "The full names which the account may update; they must exist there.",
            "[mail.hearth.example]",
            kind="names",
        ),
        Option(
            "attempt",
            "Any number. Changing it lets the agent try again after the service told it to stop.",
            "2",
            required=False,
            default=1,
            kind="count",
        ),
        Option("timeout", "Seconds to wait for an answer.", "10", required=False, default=10, kind="seconds"),
        Option(
            "plain_http",
            "Allow a url without TLS, which shows the password to everybody on the way: for a lab only.",
            "false",
            required=False,
            default=False,
            kind="yes_no",
        ),
    ),
    make=make,
    check=check,
    holds=frozenset({"A", "AAAA", "MX"}),
    holds_of=holds_of,
    lacks=lacks,
    scope="Use the password, key or token that the service has for updates of the one name, where it has one; "
    "otherwise whoever has it can do all that the account can.",
    limits="The protocol writes addresses of the names in `hostnames`, and at some services the MX of a name whose "
    "address it writes: all other records are printed for a person to enter. TTLs are the service's. Services block "
    "who repeats an update that changes nothing, so none is sent. deSEC takes 1 update a minute for a domain; "
    "domaindiscount24 takes the next one after 30 minutes.",
    keeps_ttl=False,
    reads=False,
)
