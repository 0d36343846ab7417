"""The talking part of `dyndns2`: an octoDNS provider that reads by DNS and writes by one kind of HTTP request."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import requests
from octodns.provider.base import BaseProvider
from octodns.record import Record
from octodns.record.rr import Rrset

from hearthmail.ddns import authoritative
from hearthmail.ddns.errors import DnsError, ProviderError, StopError, WaitError
from hearthmail.ddns.merge import Merge
from hearthmail.ddns.providers.dyndns2 import Outcome, Query, Service, outcomes, queries, quoted, way_out
from hearthmail.ddns.providers.dyndns2_fit import fit, hosts, sendable
from hearthmail.ddns.providers.limits import patience
from hearthmail.ddns.records import Key, RRset

if TYPE_CHECKING:
    from hearthmail.ddns.publish import Job

# No service needs more of an answer; what is longer is a web page.
LONGEST_ANSWER = 8192
# A day: a time further away is a mistake.
LONGEST_WAIT = 86400


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds of a Retry-After field (RFC 9110 10.2.3), at least 1 and at most a day; None without one."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip()):
        seconds = float(value)
    else:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 1.0), LONGEST_WAIT)


def ranked(rrset: RRset) -> frozenset[str]:
    """Its values; those of MX with the preferences 10, 20 ...: the protocol tells only which one comes first."""
    if rrset.key.type != "MX":
        return rrset.values
    pairs = sorted((int(value.split()[0]), value.split()[1].rstrip(".")) for value in rrset.values)
    return frozenset(f"{10 * place} {name}." for place, (_, name) in enumerate(pairs, start=1))


def _as_utf8(text: str) -> str:
    return text.encode().decode("latin-1")


# octoDNS has no types.
class Dyndns2Provider(BaseProvider):  # type: ignore[misc]
    """Names at a service with Dyn's update protocol.

    :param settled: requests which the service answered with "no change" earlier: they are not sent again.
    """

    SUPPORTS_GEO = False
    SUPPORTS_DYNAMIC = False
    SUPPORTS_ROOT_NS = False

    def __init__(self, name: str, service: Service, names: tuple[str, ...], options: Mapping[str, Any]) -> None:
        self.log = logging.getLogger(f"Dyndns2Provider[{name}]")
        self.SUPPORTS = {"A", *(["AAAA"] if service.ipv6 else []), *(["MX"] if service.mx else [])}
        super().__init__(name)
        self.service = service
        self.names = names
        self.timeout = float(options["timeout"])
        self.nameservers = tuple(options.get("nameservers") or ())
        self._credentials = (str(options["username"] or ""), str(options["password"]))
        self.settled: frozenset[str] = frozenset()
        self.unchanged: set[str] = set()
        # What the name servers say of each place, all of them together.
        self._seen: dict[Key, RRset] = {}
        # What of that may be sent: only what is ours, once it is written.
        self._ours: Mapping[Key, frozenset[str]] = {}
        self.pause = 0.0
        self.find_servers = authoritative.find_servers
        self.question = authoritative.ask

    # Reading --------------------------------------------------------------------------------------------------

    def populate(self, zone: Any, target: bool = False, lenient: bool = False) -> bool:
        """Ask the authoritative servers for the names that the account may hold.

        :raises DnsError: when no server answers.
        """
        apex = zone.name.rstrip(".")
        ours = [name for name in self.names if f".{name}".endswith(f".{apex}")]
        keys = [Key(apex, name.removesuffix(apex).rstrip("."), kind) for name in ours for kind in sorted(self.SUPPORTS)]
        if not keys:
            return True
        servers = self.find_servers(apex, self.nameservers)
        view = authoritative.observe(servers, keys, self.question)
        for key in keys:
            answers = [answer for told in view.answers.values() if (answer := told.get(key)) is not None]
            if not answers:
                raise DnsError(
                    f"None of the name servers of {apex} answers for {key} ({', '.join(servers)}).",
                    "It is tried again; what stands there must be known before anything is sent.",
                )
            # A server that lags must not hide what stands there.
            self._seen[key] = RRset(key, answers[0].ttl, frozenset().union(*map(ranked, answers)))
            self._add(zone, self._seen[key], lenient)
        return True

    def _add(self, zone: Any, rrset: RRset, lenient: bool) -> None:
        if not rrset.values:
            return
        made = Rrset(f"{rrset.key.fqdn}.", rrset.key.type, rrset.ttl, sorted(rrset.values))
        zone.add_record(Record.from_rrset(zone, made, lenient=True, source=self), lenient=lenient)

    def supports(self, record: Any) -> bool:
        """Whether the account may hold it: only names that exist there can be written.

        :raises ProviderError: when the name is not among them.
        """
        name = record.fqdn.rstrip(".")
        if record._type in self.SUPPORTS and name not in self.names:
            raise ProviderError(
                self.id,
                record.zone.name.rstrip("."),
                f"the entry does not say that the account holds {name}.",
                f"Add it to dns_providers.{self.id}.hostnames if it does.",
            )
        return bool(super().supports(record))

    # Writing --------------------------------------------------------------------------------------------------

    def fit(self, job: Job, outcome: Merge) -> None:
        """Leave out what the protocol cannot express, and keep in mind what is ours: nothing else is sent."""
        fit(self.service, job, outcome, self._seen)
        self._ours = sendable(self.service, outcome, self._seen)

    def _include_change(self, change: Any) -> bool:
        """Leave out what differs in nothing but the TTL: the protocol has none."""
        if change.existing is None or change.new is None:
            return True
        return bool(change.existing.values != change.new.values)

    def _apply(self, plan: Any) -> None:
        """Send the whole of every name in which something changes.

        :raises StopError: the service wants a person to correct something first.
        :raises WaitError: the service wants us to wait.
        :raises ProviderError: anything else.
        """
        zone = plan.desired.name.rstrip(".")
        self.unchanged, self.pause = set(), 0.0
        changed = {Key(zone, change.record.name, change.record._type) for change in plan.changes}
        try:
            todo = queries(self.service, hosts(self.service, changed, self._ours))
        except ValueError as error:
            raise ProviderError(
                self.id, zone, f"{error}.", "Use a provider with an interface for whole zones, or leave it out."
            ) from error
        left = [query for query in todo if query.key not in self.settled]
        if not left:
            raise ProviderError(
                self.id,
                zone,
                "it says that it holds this already, but the name servers answer otherwise.",
                f"It is not asked again within a day. Look there at {', '.join(todo[0].names)}.",
            )
        for query in left:
            self._send(zone, query)

    def _send(self, zone: str, query: Query) -> None:
        found = outcomes(self.service, query, *self._ask(zone, query), secrets=self._secrets)
        worst = next(
            (one for kind in ("stop", "wait", "ignored", "unknown") for one in found if one.kind == kind), None
        )
        if worst:
            raise self._error(zone, query, found, worst)
        if all(one.kind == "nochg" for one in found):
            self.unchanged.add(query.key)
        self.pause = self.service.pause

    def _error(self, zone: str, query: Query, found: list[Outcome], worst: Outcome) -> ProviderError:
        about = query.names[found.index(worst)] if len(found) > 1 else ", ".join(query.names)
        if worst.kind == "stop":
            return StopError(
                self.id, zone, f"{self.service.title} answers {worst.code} for {about}.", way_out(worst.code, self.id)
            )
        if worst.kind == "wait":
            said = f"{self.service.title} answers {worst.code}: it wants us to wait."
            return WaitError(self.id, zone, said, f"Nothing is sent to it for {worst.seconds:.0f} s.", worst.seconds)
        if worst.kind == "ignored":
            asked = ", ".join(query.addresses)
            said = f"{self.service.title} answers `{worst.code}`, but was asked for {asked}: it ignores us."
            return WaitError(self.id, zone, said, f"Nothing is sent to it for {worst.seconds:.0f} s.", worst.seconds)
        said = f"{self.service.title} answers what the protocol does not know: `{worst.code}`."
        return ProviderError(self.id, zone, said, f"Check dns_providers.{self.id}.url; otherwise it is tried again.")

    def _ask(self, zone: str, query: Query) -> tuple[int, float | None, str]:
        """One request: the status, the seconds of Retry-After, the text."""
        username, password = self._credentials
        # Dyn and No-IP want a product with its version and somebody to write to.
        headers = {"User-Agent": f"Hearthmail hearth-ddns/Linux-0.1.0 postmaster@{zone}", "Accept": "text/plain"}
        parameters = [*query.parameters, *([(self.service.secret, password)] if self.service.secret else [])]
        # requests writes Latin-1; passwords are UTF-8 (RFC 7617 2.1).
        authentication = None if self.service.secret else (_as_utf8(username or query.names[0]), _as_utf8(password))
        try:
            with requests.get(
                self.service.url,
                params=parameters,
                auth=authentication,
                headers=headers,
                timeout=patience(self.timeout),
                allow_redirects=False,
                stream=True,
            ) as answer:
                body = next(answer.iter_content(LONGEST_ANSWER), b"").decode("utf-8", "replace")
                wait = retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
                return answer.status_code, wait, body
        except requests.RequestException as error:
            # Its text holds the whole address, and with some services the password in it. No cause either.
            raise ProviderError(
                self.id,
                zone,
                f"{self.service.title} cannot be asked: {self._reason(error)}.",
                f"It is tried again. Check dns_providers.{self.id}.url and the network.",
            ) from None

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, requests.Timeout):
            return f"no answer within {self.timeout:g} s"
        # requests and urllib3 wrap what happened in layers of their own, whose texts hold the address.
        below: list[BaseException] = [error]
        for layer in below:
            inner = (getattr(layer, "reason", None), *layer.args, layer.__cause__, layer.__context__)
            below += [one for one in inner if isinstance(one, BaseException) and one not in below]
        system = [one for one in below if isinstance(one, OSError) and one.strerror]
        text = str(getattr(system[-1], "verify_message", "") or system[-1].strerror) if system else ""
        return f"{type(error).__name__} {quoted(text, self._secrets)}".strip()

    @property
    def _secrets(self) -> tuple[str, ...]:
        password = self._credentials[1]
        return tuple(filter(None, (password, quote(password, safe=""), quote_plus(password))))


def make_provider(name: str, service: Service, names: tuple[str, ...], options: Mapping[str, Any]) -> Dyndns2Provider:
    """Make the octoDNS provider; nobody is asked yet."""
    return Dyndns2Provider(name, service, names, options)
