"""Services outside that answer with the address that they see: over HTTP(S) and by DNS.

Any of them may be wrong, bought or forged; so an address counts only when two of different operators say it. Answers by
DNS are not authenticated, and routers and ISPs that redirect port 53 answer in everybody's place with the address of
their own resolver: therefore all DNS services together have one voice.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from hearthmail.ddns.address.background import in_background, tell_mistake
from hearthmail.ddns.address.classify import IPAddress, unfit
from hearthmail.ddns.address.web import get
from hearthmail.ddns.errors import AddressError, ConfigError

# Seconds for all services together: they are asked at the same time.
LIMIT = 5.0

Family = Literal[4, 6]
ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - the source of a question: any own address of that family

# Names that belong to one operator though they do not look like it.
_OPERATORS = {
    "icanhazip.com": "cloudflare.com",
    "whoami.cloudflare": "cloudflare.com",
    "one.one": "cloudflare.com",
    "1.1.1.1": "cloudflare.com",
    "1.0.0.1": "cloudflare.com",
}
_TYPES = ("A", "AAAA", "TXT")
_CANDIDATE = {4: re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), 6: re.compile(r"[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+")}


@dataclass(frozen=True)
class Echo:
    """One service, as it is written in `ddns_echo_urls`.

    :param server: the DNS server's address; None for a web service.
    :param voice: services with the same one do not confirm each other.
    """

    url: str
    operator: str
    server: IPAddress | None = None
    name: str = ""
    rdtype: str = ""
    rdclass: str = "IN"

    @property
    def voice(self) -> str:
        """Who speaks: the operator, or DNS as a whole."""
        return "DNS" if self.server else self.operator

    @property
    def safe(self) -> bool:
        """Whether nobody on the way can speak with its voice. That of DNS is worth little, and counts for little."""
        return self.server is not None or urlsplit(self.url).scheme == "https"


def parse(url: str) -> Echo:
    """Read an entry of `ddns_echo_urls`: `https://host/path`, or `dns://server/name/type`, or with `/CH` behind it.

    :raises ConfigError: saying what is wrong with it.
    """
    way_out = (
        "Write https://host/path, or dns://server/name/type with the server's address and the type A, AAAA or TXT, "
        "e.g. dns://208.67.222.222/myip.opendns.com/A."
    )
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise ConfigError(f"ddns_echo_urls: {url!r} is no URL ({error}).", way_out) from error
    if not host:
        raise ConfigError(f"ddns_echo_urls: {url!r} names no host.", way_out)
    if parts.scheme in ("http", "https"):
        return Echo(url, _operator(host))
    if parts.scheme != "dns":
        raise ConfigError(f"ddns_echo_urls: {url!r} is neither https:// nor dns://.", way_out)
    try:
        server = ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigError(f"ddns_echo_urls: in {url!r} the server {host} is no IP address.", way_out) from error
    name, rdtype, *rest = [*parts.path.strip("/").split("/"), ""]
    rdclass = (rest[0] if rest else "") or "IN"
    if not name or rdtype not in _TYPES or rdclass not in ("IN", "CH") or len(rest) > 2 or parts.query:
        raise ConfigError(f"ddns_echo_urls: {url!r} is no question to a DNS server.", way_out)
    return Echo(url, _operator(name), server, name, rdtype, rdclass)


def _operator(host: str) -> str:
    """Who runs a host: the last two labels of its name. Where that is too short, two operators are taken for one."""
    host = host.lower().rstrip(".")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = ".".join(host.split(".")[-2:])
    return _OPERATORS.get(host, host)


def ask(echo: Echo, source: str, limit: float) -> IPAddress:
    """Ask one service from an own address, which settles the address family.

    :param source: an own address, or "0.0.0.0" or "::".
    :raises OSError: when it does not answer.
    :raises ValueError: when its answer holds no address of that family.
    """
    family = ipaddress.ip_address(source).version
    text = _ask_dns(echo, source, limit) if echo.server else get(echo.url, source, limit)
    match = _CANDIDATE[family].search(text)
    if not match:
        raise ValueError(f"no IPv{family} address in the answer")
    return ipaddress.ip_address(match[0])


def _ask_dns(echo: Echo, source: str, limit: float) -> str:
    import dns.exception
    import dns.message
    import dns.query
    import dns.rcode

    query = dns.message.make_query(echo.name, echo.rdtype, rdclass=echo.rdclass)
    port = urlsplit(echo.url).port or 53
    try:
        answer = dns.query.udp(query, str(echo.server), timeout=limit, source=source, port=port)
    except dns.exception.DNSException as error:
        raise OSError(f"{type(error).__name__}") from error
    if answer.rcode() != dns.rcode.NOERROR:
        raise OSError(dns.rcode.to_text(answer.rcode()))
    return " ".join(
        record.to_text() for found in answer.answer if found.rdtype == query.question[0].rdtype for record in found
    )


Ask = Callable[[Echo, str, float], IPAddress]


def echo_address(
    urls: Iterable[str],
    family: Family,
    published: str | None,
    *,
    source: str = "",
    allow_documentation: bool = False,
    ask: Ask = ask,
    limit: float = LIMIT,
) -> IPAddress:
    """Ask all services at once, and believe what two of different operators say, if nothing else is said by two.

    :param urls: the services; DNS servers of the other family are left out.
    :param published: the address that the world knows; a single service may confirm it, when no other is configured.
    :param source: the own address to ask from; by default any of the family.
    :raises AddressError: when they do not agree or do not answer; the text tells what each of them said.
    """
    services = list({echo.url: echo for echo in map(parse, urls)}.values())
    services = [echo for echo in services if echo.server is None or echo.server.version == family]
    answers, failures = _collect(services, source or ANY[family], ask, limit)
    votes: dict[IPAddress, set[str]] = {}
    for echo in services:
        if (address := answers.get(echo.url)) is not None:
            if reason := unfit(address, allow_documentation):
                failures.append(f"{_label(echo)} says {address}, {reason}")
                del answers[echo.url]
            else:
                votes.setdefault(address, set()).add(echo.voice)
    agreed = [address for address, voices in votes.items() if len(voices) >= 2]
    if len(agreed) == 1:
        return agreed[0]
    spoken = [f"{_label(echo)} says {answers[echo.url]}" for echo in services if echo.url in answers]
    said = "; ".join(spoken + failures)
    if len(votes) == 1 and len({echo.voice for echo in services}) == 1 and not failures:
        (address,) = votes
        if str(address) == published:
            return address
        raise AddressError(
            f"A single echo service cannot bring in a new address ({said}).",
            "Add one of another operator to ddns_echo_urls.",
        )
    raise AddressError(
        f"No two echo services agree: {said or 'none is configured'}.", "Nothing is changed; it is tried again."
    )


def _label(echo: Echo) -> str:
    return f"{echo.name} at {echo.server}" if echo.server else urlsplit(echo.url).hostname or echo.url


def _collect(services: Sequence[Echo], source: str, ask: Ask, limit: float) -> tuple[dict[str, IPAddress], list[str]]:
    """All answers that come in time, by URL, and what became of the others."""

    def start(echo: Echo) -> Callable[[], IPAddress]:
        return lambda: ask(echo, source, limit)

    asked = {echo.url: in_background(start(echo)) for echo in services}
    wait(asked.values(), timeout=limit)
    answers, failures = {}, []
    for echo in services:
        future = asked[echo.url]
        if not future.done():
            failures.append(f"{_label(echo)}: no answer within {limit:g} s")
            continue
        try:
            answers[echo.url] = future.result()
        except Exception as error:  # noqa: BLE001 - what one service sends must not end the look
            if not isinstance(error, (OSError, ValueError)):
                tell_mistake(f"The question to {_label(echo)}", error)
            # requests' own texts are long, and name objects in memory.
            reason = str(error) if type(error) in (OSError, ValueError) else type(error).__name__
            failures.append(f"{_label(echo)}: {reason}")
    return answers, failures
